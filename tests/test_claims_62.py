"""Notebook 62: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "62_learn_from_impure_samples.ipynb"
SMALLER = {'"teaching": 200_000': '"teaching": 100_000'}
INVERTED = (["exact", "check-theorem"], "mixed_log_ratio(exact", "-mixed_log_ratio(exact")
UPSIDE_DOWN = (["check-cwola"], "roc_auc_score(y, log_r)", "roc_auc_score(y, -log_r)")
NOT_MIXED = (  # taken for the ratio of the pure classes
    ["slices", "check-headline"],
    "learned[pair] - mixed_log_ratio(exact, *pair)",
    "learned[pair] - exact",
)
DOUBLED = (["slices", "check-headline"], "learned[pair] - mixed", "2 * learned[pair] - mixed")
SWAPPED_BAGS = (["mean-of-swapped", "check-headline"], "from_bags", "wrong['swapped']")
PROBABILITY = (["check-headline"], "((a_bags, c_bags), posterior)", "(posterior, posterior)")
UNTOUCHED = (  # the ratio of the mixtures taken for that of the pure classes
    ["unmixed", "check-unmixed"],
    "pure_log_ratio(learned[pair], *pair)",
    "learned[pair]",
)
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "formula for log r12 against the densities, largest difference": INVERTED,
    "smallest step of log r12 from one event to the next in r": INVERTED,
    "from r to r12 and back, largest difference of log r": (
        ["check-theorem"],
        "pure_log_ratio(log_r12, 0.8, 0.2)",  # fractions exchanged on the way back
        "pure_log_ratio(log_r12, 0.2, 0.8)",
    ),
    "smallest r12": (
        ["exact", "check-theorem"],
        "mixed_log_ratio(exact, 0.8, 0.2)",  # a pure sample 1
        "mixed_log_ratio(exact, 1.0, 0.2)",
    ),
    "largest r12": (
        ["exact", "check-theorem"],
        "mixed_log_ratio(exact, 0.8, 0.2)",  # a pure sample 2
        "mixed_log_ratio(exact, 0.8, 0.0)",
    ),
    "AUC with the fractions swapped": (
        ["check-theorem"],
        "mixed_log_ratio(exact, 0.2, 0.8)",  # not swapped
        "mixed_log_ratio(exact, 0.8, 0.2)",
    ),
    "AUC lost by pure samples": UPSIDE_DOWN,
    "AUC lost by 80/20": UPSIDE_DOWN,
    "AUC lost by 60/40": UPSIDE_DOWN,
    "50/50: rms of the learned log-ratio, which should be zero": (
        ["check-cwola"],
        "noise = learned[0.5, 0.5]",  # samples that differ a little
        "noise = learned[0.6, 0.4]",
    ),
    "pure samples: rms error of the learned log-ratio": DOUBLED,
    "80/20: rms error of the learned log-ratio": NOT_MIXED,
    "60/40: rms error of the learned log-ratio": NOT_MIXED,
    "bags: mean output on signal": (["check-headline"], "a_bags, near", "posterior[0], near"),
    "bags: mean output on background": (["check-headline"], "c_bags, near", "posterior[1], near"),
    "bags: loss over that of the best cut": PROBABILITY,
    "the exact probability: loss over that of the best cut": (
        ["check-headline"],
        "(a_bags, c_bags), posterior)",  # the probability sharpened to a cut
        "(a_bags, c_bags), mean_outputs((exact > 0).double()))",
    ),
    "AUC lost by bags": (["check-headline"], "- auc_bags", "- roc_auc_score(y, wrong['swapped'])"),
    "fractions 10 % too small: change of the AUC": (
        ["check-fractions"],
        'auc_wrong["all too small"]',
        'auc_wrong["swapped"]',
    ),
    "fractions swapped: AUC": (["check-fractions"], 'auc_wrong["swapped"],', "auc_bags,"),
    "80/20: median error of the un-mixed log r": UNTOUCHED,
    "60/40 over pure samples: median error of log r": (
        ["check-unmixed"],
        "error[0.6, 0.4] / error",  # as if purity did not matter
        "error[1.0, 0.0] / error",
    ),
    "pure samples: share of events without a ratio": (
        ["unmixed", "check-unmixed"],
        "pure_log_ratio(learned[pair], *pair)",  # un-mixed with fractions of other samples
        "pure_log_ratio(learned[pair], 0.8, 0.2)",
    ),
    "60/40: share of events without a ratio": (
        ["unmixed", "check-unmixed"],
        "pure_log_ratio(learned[pair], *pair)",  # the ratio of purer samples
        "pure_log_ratio(3 * learned[pair], *pair)",
    ),
    "80/20: difference of the passing shares, in standard errors": (
        ["check-cost"],
        "(0.8 - 0.2) * (a",  # forgets that sample 2 holds signal
        "0.8 * (a",
    ),
    "shifted background: AUC lost by the exact ratio": (
        ["broken", "check-broken"],
        "2.0, 0])",  # hardly any shift
        "0.2, 0])",
    ),
    "shifted background: learned AUC": (
        ["broken", "check-broken"],
        "x1 + (1 - y1)[:, None] * shift",  # not shifted
        "x1",
    ),
    "exercise 1: r12 of events with r = 4": (
        ["solution-1", "check-exercise-1"],
        "learned[0.6, 0.4]",  # that of purer samples
        "learned[0.8, 0.2]",
    ),
    "exercise 2: smallest loss of a constant": (
        ["solution-2", "check-exercise-2"],
        "loss_at(constant, constant).min()",  # the corner no function reaches
        "loss_at(constant, 0 * constant).min()",
    ),
    "exercise 3: fraction of sample 3": (
        ["solution-3", "check-exercise-3"],
        "0.2 + (0.8 - 0.2) *",  # as if samples 1 and 2 were pure
        "",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 62."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
