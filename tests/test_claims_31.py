"""Notebook 31: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "31_calibrate_a_classifier.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 50_000': '"teaching": 20_000',
    '"teaching": 700': '"teaching": 400',
    '"teaching": 800_000': '"teaching": 200_000',
    '("histogram", "platt", "kde")': '("kde",)',
}
DOUBLED = ("2 * (log_l.amax(1)", "4 * (log_l.amax(1)")  # -2 log Lambda, doubled once more
# learned with four times the numerator
PRIOR_ODDS = ("p: r.clipped(x)", "p: r.clipped(x) + log(4)")
NOT_CALIBRATED = ('rms["isotonic", "focal"]', 'rms["raw", "focal"]')
ALL_TO_THE_LEFT = (  # an event goes to one node, not to its two neighbours
    "counts.scatter_add_(1, node, 1 - share).scatter_add_(1, node + 1, share)",
    "counts.scatter_add_(1, node, torch.ones_like(share))",
)
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "composed from exact pairs, largest deviation": (
        ["check-compose"],
        "ratio[j, i] for j",  # numerator and denominator exchanged
        "ratio[i, j] for j",
    ),
    "log L, table minus events": (["counts", "check-compose"], *ALL_TO_THE_LEFT),
    "sd of the exact fits over the Fisher error": (
        ["exact", "check-compose"],
        "(5000 * (density",  # half of the events
        "(2500 * (density",
    ),
    "cross-entropy, isotonic: rms / sd": (["table", "check-headline"], *PRIOR_ODDS),
    "focal, isotonic: rms / sd": (["check-headline"], *NOT_CALIBRATED),
    "focal, raw: offset / sd": (
        ["check-headline"],
        'pull["raw", "focal"]',  # a loss that is calibrated
        'pull["raw", "cross-entropy"]',
    ),
    "focal: rms error, raw over isotonic": (
        ["check-headline"],
        'error["isotonic", "focal"]',  # calibration does nothing
        'error["raw", "focal"]',
    ),
    "cross-entropy, raw: rms error": (["table", "check-headline"], *PRIOR_ODDS),
    "focal, isotonic: mean of -2 log Lambda at the truth": (["counts", "check-wilks"], *DOUBLED),
    "focal, isotonic: log10 of the p-value of chi2": (["counts", "check-wilks"], *DOUBLED),
    "doubled by mistake: mean of -2 log Lambda": (
        ["check-wilks"],
        "2 * wilks.mean()",  # a list is repeated
        "torch.stack(list(wilks) * 2).mean()",
    ),
    "focal, raw: chi2 per bin": (
        ["check-information"],
        'misfit["raw", "focal"]',
        'misfit["raw", "cross-entropy"]',
    ),
    "focal, isotonic: chi2 per bin": (
        ["check-information"],
        'misfit["isotonic", "focal"]',
        'misfit["raw", "focal"]',
    ),
    "over-trained, isotonic: chi2 per bin": (
        ["check-information"],
        'misfit["isotonic", "over-trained"]',
        'misfit["raw", "over-trained"]',
    ),
    "focal, isotonic: share of information lost": (
        ["check-information"],
        'lost["focal"]',  # a score that folds
        'lost["over-trained"]',
    ),
    "over-trained, isotonic: share of information lost": (
        ["check-information"],
        'lost["over-trained"]',  # a score that does not
        'lost["cross-entropy"]',
    ),
    "isotonic: rms error, over-trained over focal": (
        ["check-information"],
        'error["isotonic", "over-trained"]',
        'error["isotonic", "cross-entropy"]',
    ),
    "two bandwidths: offset / sd": (
        ["kernels", "check-kernels"],
        "gaussian_kde(z)",  # the same for both
        "gaussian_kde(z, 0.15 / z.std())",
    ),
    "one bandwidth: rms / sd": (
        ["check-kernels"],
        'rms["kde", "focal"]',  # those of two
        "abs(offset)",
    ),
    "pair (2, 0) swapped: rms error": (
        ["check-orientation"],
        "{p: -pairs[p]}",  # not swapped
        "{p: pairs[p]}",
    ),
    "pair (0, 1) swapped: largest change of log r": (
        ["check-orientation"],
        "(swapped[0, 1]",  # the signal's pairs do matter
        "(swapped[2, 1]",
    ),
    "pair (0, 1): mean log-ratio": (["check-orientation"], "@ log_pair", "@ -log_pair"),
    "pair (2, 1): mean log-ratio": (["check-orientation"], "@ log_pair", "@ -log_pair"),
    "exercise 1: slope": (
        ["solution-1", "check-exercise-1"],
        "solution_1 = focal_ratio",  # that of the cross-entropy
        "solution_1 = (s / t)",
    ),
    "exercise 2: coverage of the interval": (
        ["solution-2", "check-exercise-2"],
        "(wilks < 1)",
        "(2 * wilks < 1)",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 31."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
