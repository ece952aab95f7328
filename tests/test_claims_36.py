"""Notebook 36: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "36_distil_the_matrix_element.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 6_000': '"teaching": 3_000',
    "range(5)": "range(2)",
}
UPSIDE_DOWN = (
    ["check-truth"],
    "r, inverse = exact[y == 0].exp()",
    "r, inverse = exact[y == 1].exp()",
)
LABELS = (
    ["check-headline"],
    "soft, hard, more_hard = verdict.values()",
    "hard, soft, more_hard = verdict.values()",
)
SAME = (["check-headline"], 'rms["soft targets"]', 'rms["labels"]')
LABELS_FIT = (["check-fraction"], '["soft targets"]', '["labels"]')
COLD = (["temperature", "check-temperature"], "return temperature**2 * bce", "return bce")
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "mean of r over background, pull from one": UPSIDE_DOWN,
    "mean of 1/r over signal, pull from one": (
        ["check-truth"],
        "(-exact[y == 1]).exp()",  # of background
        "(-exact[y == 0]).exp()",
    ),
    "AUC gained over the nearest pair mass": (
        ["check-truth"],
        "roc_auc_score(y, exact), ",  # the weight of one hypothesis alone
        "roc_auc_score(y, simulator.background_log_prob(x)), ",
    ),
    "temperature 1: gradient minus its formula": (
        ["temperature", "check-temperature"],
        "torch.sigmoid(v / temperature)",  # the target is the logit
        "(v / temperature)",
    ),
    "temperature 1000: gradient minus (z - v)/4, largest": COLD,
    "temperature 1000, single precision: seen over true difference": (
        ["check-temperature"],
        "torch.tensor([2.0, 2.1])",  # in double precision it is seen
        "torch.tensor([2.0, 2.1], dtype=torch.float64)",
    ),
    "soft targets: correlation with the exact log r": LABELS,
    "soft targets: AUC lost": LABELS,
    "soft targets: KS distance of the distributions": LABELS,
    "KS distance, labels over soft targets": (["check-headline"], "hard[2] / ", "soft[2] / "),
    "rms error, labels over soft targets": SAME,
    "rms error, eight times the labels over soft targets": SAME,
    "exact: mean fitted fraction, pull from the truth": (
        ["toys", "check-fraction"],
        "torch.log1p(grid[:, None] * (r - 1))",  # the ratio upside down
        "torch.log1p(grid[:, None] * (1 / r - 1))",
    ),
    "soft targets: bias over the statistical error": (
        ["toys", "check-fraction"],
        "best_fraction(z) for",  # a student that is over-confident
        "best_fraction(2 * z) for",
    ),
    "soft targets: scatter about the exact fit": LABELS_FIT,
    "distance from the exact fit, labels over soft targets": (
        ["check-fraction"],
        'ratio = both["labels"]',
        'ratio = both["soft targets"]',
    ),
    "times faster than the integral, counted up to a hundred": (
        ["time", "check-speed"],
        'students["soft targets"](x)',  # the integral itself
        "simulator.log_ratio(x[:300], mass[:300])",
    ),
    "doubled log r: change of the AUC": (["check-doubled"], "2 * exact", "-exact"),
    "doubled log r: KS distance of the distributions": (
        ["check-doubled"],
        "2 * exact",
        "1.01 * exact",
    ),
    "doubled log r: bias over the statistical error": (
        ["check-doubled"],
        "2 * exact",
        "1.01 * exact",
    ),
    "exercise 1: largest change of the student": (
        ["solution-1", "check-exercise-1"],
        "[0, 2, 1, 4, 3, 5]",  # the cosines stay behind
        "[0, 2, 1, 3, 4, 5]",
    ),
    "exercise 2: mean of the student's r over background": (
        ["solution-2", "check-exercise-2"],
        "simulator.sample_background(100_000, this.generator(4))",  # of signal
        "simulator.sample(torch.full((100_000, 1), 125.0), this.generator(4))",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 36."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
