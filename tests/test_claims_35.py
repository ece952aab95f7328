"""Notebook 35: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "35_measure_the_higgs_in_sixteen_dimensions.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 100_000': '"teaching": 40_000',
    '"teaching": 1_500': '"teaching": 600',
    '"teaching": 200_000': '"teaching": 60_000',
}
SCORE_AT_X = ("gold = six_numbers(ab,", "gold = six_numbers(eft.amplitudes(x),")
SCORE_AT_MEAN = ("eft.amplitudes(x)", "eft.amplitudes(0.8 * x)")  # the right score at x
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "log r by hand minus the package's": (
        ["six", "check-truth"],
        "C = 0.2 * torch",  # the variance of the cloud forgotten
        "C = torch",
    ),
    "gold minus six numbers, times a feature (standard errors)": (
        ["check-truth"],
        "six_numbers(ab,",  # gold at x instead of z
        "six_numbers(eft.amplitudes(x),",
    ),
    "morphed over exact density minus one, worst event": (
        ["check-morphing"],
        ".T * rates",  # the rates of the samples forgotten
        ".T",
    ),
    "2-D histogram: information on theta_1 over its integral": (
        ["fisher-of", "check-information"],
        *SCORE_AT_X,
    ),
    "STXS-like bins: information on theta_1 over its integral": (
        ["fisher-of", "check-information"],
        *SCORE_AT_X,
    ),
    "2-D histogram: times more data for theta_1": (
        ["fisher-of", "check-information"],
        '"2-D histogram": (fine, fine)',  # ten bins, not a hundred
        '"2-D histogram": (coarse, torch.zeros(1))',
    ),
    "mean squared error of log r, CARL over ALICE": (
        ["train", "figure-learned", "check-learned"],
        "(alice_of_six, mixed)",  # labels instead of gold
        "(carl, mixed)",
    ),
    "the same, SALLY's tangent over ALICE": (
        ["check-learned"],
        'mse["SALLY\'s tangent"] / mse["ALICE"]',  # the other way round
        'mse["ALICE"] / mse["SALLY\'s tangent"]',
    ),
    "SALLY: share of the information kept, the worse coupling": (
        ["check-learned"],
        "t_hat[:, k]",  # couplings exchanged
        "t_hat[:, 1 - k]",
    ),
    "ALICE: allowed area over the exact": (
        ["network", "train", "contours", "check-headline"],
        "theta), r_xz)",  # the ratio inverted
        "theta), -r_xz)",
    ),
    "SALLY's bins: allowed area over the exact": (
        ["contours", "check-headline"],
        "in_cells(*t_hat.T, *t_edges)",  # bins of two features
        "in_cells(*x[:, :2].T, *t_edges)",
    ),
    "2-D histogram: allowed area over the exact": (
        ["check-headline"],
        'wider["2-D histogram"]',
        'wider["SALLY\'s bins"]',
    ),
    "variance of the fits, ALICE over exact": (
        ["figure-toys", "check-toys"],
        '"ALICE": [200]',  # a quarter of the events
        '"ALICE": [50]',
    ),
    "variance of the fits, histogram over exact": (
        ["check-toys"],
        "histogram / base",
        "base / histogram",
    ),
    "the same with as many times more data": (
        ["figure-toys", "check-toys"],
        'I_0 / I_exact["2-D histogram"]',  # the ratio of informations inverted
        'I_exact["2-D histogram"] / I_0',
    ),
    "share of information in h, theta_1 within one half": (
        ["figure-local", "check-local"],
        "t[:, 0].contiguous()",  # a feature, not a score
        "x[:, 0].contiguous()",
    ),
    "share of information in h, theta_1 = 2": (
        ["figure-local", "check-local"],
        "t[:, 0].contiguous()",  # sufficient there
        "log_r(s, torch.tensor([[2.0, 0.0]]))",
    ),
    "claimed by SALLY, over the simulator's": (
        ["check-break"],
        "(t_hat.var(0)",  # the score of the wrong event
        "(at_x.var(0)",
    ),
    "claimed by the score at x, over the simulator's": (["check-break"], *SCORE_AT_MEAN),
    "squared error of the score at x": (["check-break"], *SCORE_AT_MEAN),
    "exercise 1: information in the number of events": (
        ["solution-1", "check-exercise-1"],
        "1 + 0.5 * ab",  # at theta = 0
        "1 + 0 * ab",
    ),
    "exercise 2: information on theta_2 in the best pair": (
        ["solution-2", "check-exercise-2"],
        "[1, 1]",  # the other coupling
        "[0, 0]",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 35."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
