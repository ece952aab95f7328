"""Notebook 34: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "34_mine_gold.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 6, "full": 50': '"teaching": 2, "full": 50',
    "[200, 500, 1_000, 2_000, 5_000, 10_000]": "[1_000, 5_000, 10_000]",
}
EXCHANGED = (  # numerator and denominator
    ["train", "run-all", "figure-headline", "check-headline"],
    "mined_rows(thetas, *drawn)",
    "mined_rows(thetas, *drawn[::-1]); t_xz = -t_xz",
)
OTHER_BALLS = (["check-break"], "(t_xz, t_wrong)", "(t_wrong, t_xz)")
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "gold by hand minus the package's": (
        ["gold-by-hand", "check-gold"],
        "z[:, row] - row % 2",  # as if all rows were even
        "z[:, row]",
    ),
    "mean joint score minus t(x), worst place (standard errors)": (
        ["means-per-bin", "check-mean-score"],
        "t_xz, t)",  # the score at another theta
        "t_xz, t_ref)",
    ),
    "mean inverse ratio minus 1/r(x), worst place (standard errors)": (
        ["means-per-bin", "check-mean-score"],
        "(-log_r_xz).exp(), (-log_r).exp()",  # the ratio, not its inverse, over the numerator
        "log_r_xz.exp(), log_r.exp()",
    ),
    "difference of the ALICE above and the package's": (
        ["alice", "check-alice"],
        "s * s_hat.log() + (1 - s)",  # labels swapped
        "(1 - s) * s_hat.log() + s",
    ),
    "error of plain over ALICE at 5000 simulations": EXCHANGED,
    "error of plain over ROLR at 5000 simulations": EXCHANGED,
    "error of plain over CASCAL at 5000 simulations": EXCHANGED,
    "error of plain over RASCAL at 5000 simulations": EXCHANGED,
    "error of plain over ALICES at 5000 simulations": EXCHANGED,
    "error of SALLY over its floor, at the most simulations": (
        ["sally", "run-all", "figure-headline", "check-headline"],
        "h - h.exp()[ends].mean().log()",  # a density that is not normalised
        "h",
    ),
    "mean joint score of all right balls (standard errors)": OTHER_BALLS,
    "mean joint score of all wrong balls (standard errors)": OTHER_BALLS,
    "wrong mean minus t(x), worst place (standard errors)": (
        ["figure-wrong", "check-break"],
        "full_like(at, theta_ref)",  # the right balls
        "full_like(at, theta)",
    ),
    "exercise 1: steepness of the code over the text's": (
        ["solution-1", "check-exercise-1"],
        "min((1, 2, 4, 8)",  # the worst candidate
        "max((1, 2, 4, 8)",
    ),
    "exercise 2: slope of the score learned from x": (
        ["solution-2", "check-exercise-2"],
        "(z_toy - 0) / 2**2",  # the score at x instead of z
        "(x_toy - 0) / 2**2",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 34."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
    left_out = ("figure-one-ball", "figure-gold", "figure-learned")
