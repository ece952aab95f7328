"""Notebook 44: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "44_tune_a_simulator_adversarially.ipynb"
SMALLER = {  # the notebook's own cells with fewer critic steps between the proposals' steps
    '"teaching": 50,': '"teaching": 20,',
    '"warm_up": 1_000': '"warm_up": 500',
}
NOT_SCALED = ("/ sigma, ((loss", ", ((loss")  # d log q / d mu without its 1 / sigma
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "gradient by hand minus the package's": (
        ["score-by-hand", "unbiased", "check-baseline"],
        "- loss) / (M - 1)",  # a baseline that contains its own draw
        ") / M",
    ),
    "with baseline: mean gradient minus the exact one (sd)": (
        ["score-by-hand", "unbiased", "check-baseline"],
        *NOT_SCALED,
    ),
    "without baseline: mean gradient minus the exact one (sd)": (
        ["score-by-hand", "unbiased", "check-baseline"],
        *NOT_SCALED,
    ),
    "noise in mu, without over with baseline": (
        ["unbiased", "check-baseline"],
        "for b in (True, False)",  # the baseline does nothing
        "for b in (False, False)",
    ),
    "critics' gradient by hand minus that of autograd, relative": (
        ["critic-by-autograd", "check-critic"],
        "contiguous(), penalty=0.5",  # a loss averaged over both samples halves all but this
        "contiguous(), penalty=1.0",
    ),
    "right game: exp(mu)": (
        ["check-headline"],
        "history.mean[-LAST:, :, 0].mean(0).exp()",  # stopped early
        "history.mean[:LAST, :, 0].mean(0).exp()",
    ),
    "width, right game over no price": (
        ["check-headline"],
        'last_sd["right"]',  # the sign of the entropy
        'last_sd["wrong sign"]',
    ),
    "right game: share of the critic's difference that is left": (
        ["check-headline"],
        "history.gap[-LAST:]",  # stopped early
        "history.gap[:LAST]",
    ),
    "no baseline: width over that of the right game, late epochs": (
        ["check-break"],
        'late_sd["no baseline"]',
        'late_sd["right"]',
    ),
    "no baseline: exp(mu) minus that of the right game, late epochs": (
        ["check-break"],
        'late_lam["no baseline"]',
        'late_lam["right"]',
    ),
    "wrong sign: width over that without a price": (
        ["check-break"],
        'sd["wrong sign"]',  # no sign, no price
        'sd["no price"]',
    ),
    "wrong sign: average rate of the proposal": (
        ["check-break"],
        "history.sd**2 / 2",  # width for variance
        "history.sd",
    ),
    "5-D, price: first mean minus the best fit": (
        ["check-five"],
        "mean_5[0] - best",  # alpha and beta exchanged
        "mean_5[0].flip(0) - best",
    ),
    "5-D, price: second mean minus the best fit": (
        ["check-five"],
        "mean_5[0] - best",
        "mean_5[0].flip(0) - best",
    ),
    "5-D: width with the price over without, the larger": (
        ["check-five"],
        "sd_5[0] / sd_5[1]",  # no price
        "sd_5[1] / sd_5[1]",
    ),
    "one beam: asymmetry averaged over games": (
        ["beam", "check-beams"],
        "sqrt_s=2 * E",  # the energy of one beam is not that of the collision
        "sqrt_s=E",
    ),
    "one beam: largest error of sin^2 theta_W": (
        ["check-beams"],
        'off["one beam"][:, 1].max()',
        'off["two beams"][:, 1].median()',
    ),
    "two beams: median error of sin^2 theta_W": (
        ["check-beams"],
        'off["two beams"][:, 1].median()',
        'off["one beam"][:, 1].max()',
    ),
    "two beams: largest error of the energy (GeV)": (
        ["check-beams"],
        'off["two beams"][:, 0].max()',
        'off["one beam"][:, 0].max()',
    ),
    "two solutions: difference of both asymmetries": (
        ["check-beams"],
        "[42.7, 0.3824]",  # a mirror image on the wrong side
        "[42.7, 0.0976]",
    ),
    "exercise 1: exp(mu) of a proposal held wide": (
        ["solution-1", "check-exercise-1"],
        "-(0.5**2) / 2",
        "-(0.5**2)",
    ),
    "exercise 2: biased gradient over the exact one": (
        ["solution-2", "check-exercise-2"],
        "1 - 1 / 4",  # the leave-one-out baseline
        "1 - 0 / 4",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 44."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
