"""Notebook 61: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "61_learn_to_pivot.ipynb"
SMALLER = {
    "for weight in (1, 5, 20)}": "for weight in (20,)}",
    "for weight in (1, 5, 20):": "for weight in (20,):",
}
TRUTH, HEADLINE, TAGGER = ["check-truth"], ["check-headline"], ["check-tagger"]
EXCHANGED = (TRUTH, "best, pivot =", "pivot, best =")
ROWS = '("weight 0", "weight 20", "constant")'
NO_ADVERSARY = (HEADLINE, ROWS, '("weight 0", "weight 0", "constant")')
LAZY = (HEADLINE, ROWS, '("weight 0", "constant", "constant")')  # the trivial constant
PIVOTAL = (HEADLINE, ROWS, '("weight 20", "weight 20", "constant")')
FOUR = '("plain", "adversary", "distance", "moving cut")'
SCULPTING = (TAGGER, FOUR, '("plain", "plain", "plain", "plain")')  # nobody decorrelates
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "best pivot: KS between nuisances": EXCHANGED,
    "best pivot: loss of a fresh adversary": EXCHANGED,
    "best classifier: KS between nuisances": EXCHANGED,
    "AUC that independence costs": EXCHANGED,
    "KS, weight 20 over plain": NO_ADVERSARY,
    "weight 20: loss of a fresh adversary": NO_ADVERSARY,
    "weight 20: loss of the classifier": LAZY,
    "weight 20: AUC above best pivot": LAZY,
    "weight 0: loss of a fresh adversary": PIVOTAL,
    "weight 0: AUC lost to the best classifier": PIVOTAL,
    "constant: loss of a fresh adversary": (
        HEADLINE,
        ROWS,  # a classifier that is not constant
        '("weight 0", "weight 20", "weight 0")',
    ),
    "constant: loss of the classifier": (HEADLINE, ROWS, '("weight 0", "weight 20", "weight 0")'),
    "significance, weight 20 over plain": (
        ["ams", "check-ams"],
        "np.maximum(abs(b[1.0] - b[0.0]), abs(b[-1.0] - b[0.0]))",  # a background known exactly
        "0.0",
    ),
    "significance, weight 20 over best pivot": (
        ["check-ams"],
        'top["best pivot"]',  # the best classifier, which fans out
        'top["best classifier"]',
    ),
    "mass JSD, adversary over plain": SCULPTING,
    "mass JSD, distance over plain": SCULPTING,
    "efficiency, adversary over plain": (
        TAGGER,
        'tag["efficiency"] / sculpts',  # a constant tagger passes 5 % of everything
        "0.05 / sculpts",
    ),
    "efficiency, adversary over moving cut": (TAGGER, 'tag["efficiency"] / cut', "0.05 / cut"),
    "plain: spurious signal / error": (
        TAGGER,
        FOUR,  # a tagger that does not sculpt
        '("moving cut", "adversary", "distance", "moving cut")',
    ),
    "adversary: spurious signal / error": SCULPTING,
    "moving cut: spurious signal / error": SCULPTING,
    "frozen adversary: its own loss": (
        ["check-broken"],
        'own loss", believed',  # asks the fresh one
        'own loss", told["nll"]',
    ),
    "frozen adversary: loss of a fresh one": (
        ["check-broken"],
        'told["nll"], below',  # believes the one that was played against
        "believed, below",
    ),
    "exercise 1: AUC of the first feature": (
        ["solution-1", "check-exercise-1"],
        "x_test[:, 0]",  # the feature that the nuisance moves
        "x_test[:, 1]",
    ),
    "exercise 2: events found": (
        ["solution-2", "check-exercise-2"],
        "len(signal)",  # as if all signal passed
        "len(passed)",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 61."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
