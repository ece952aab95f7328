"""Notebook 30: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "30_learn_a_likelihood_ratio.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 400_000': '"teaching": 160_000',
    '"teaching": 500_000': '"teaching": 100_000',
    "(630,), max_epochs=5": "(200,), max_epochs=5",
    "(48, 48, 48), max_epochs=5": "(48, 48, 48), max_epochs=11",
}
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "the package's machine 0 is the one by hand: largest difference": (
        ["by-hand", "check-exact"],
        "0.75**0.5 * z[:, 1]",  # the variance taken for the deviation
        "0.75 * z[:, 1]",
    ),
    "the package's log r is the formula: largest difference": (
        ["check-exact"],
        "np.log(4 / 3) / 2",  # the determinant, not its root
        "np.log(4 / 3)",
    ),
    "least lead of the ratio over its rivals, at any false-alarm rate": (
        ["check-neyman-pearson"],
        'curves["likelihood ratio"] - curve',  # a rival in the place of the ratio
        'curves["distance to the means"] - curve',
    ),
    "power gained over the best straight cut": (
        ["check-neyman-pearson"],
        'leads["distance to the means"]',
        'leads["likelihood ratio"]',
    ),
    "cross-entropy: largest distance from p0/(p0+p1)": (
        ["minimisers", "check-minimisers"],
        "-torch.log(s if y else 1 - s)",  # labels swapped
        "-torch.log(1 - s if y else s)",
    ),
    "squared error: largest distance from p0/(p0+p1)": (
        ["minimisers", "check-minimisers"],
        "(s - y) ** 2",  # another power
        "(s - y) ** 4",
    ),
    "absolute error: largest distance from p0/(p0+p1)": (
        ["minimisers", "check-minimisers"],
        "(s - y).abs()",
        "(s - y) ** 2",
    ),
    "the slide's p1/p0 where it is four": (
        ["check-slide"],
        "slide, right = 1 - 1 / s1",  # what was probably meant
        "slide, right = 1 / s1 - 1",
    ),
    "the slide's p1/p0, its largest value": (
        ["check-slide"],
        "slide, right = 1 - 1 / s1",
        "slide, right = 1 / s1 - 1",
    ),
    "s/(1-s) over the true p1/p0, worst point": (
        ["check-slide"],
        "s1 / (1 - s1)",  # upside down
        "(1 - s1) / s1",
    ),
    "logit from which the sigmoid is exactly one": (
        ["check-logit"],
        "torch.linspace(0, 30, 3001)",  # double precision
        "torch.linspace(0, 40, 4001, dtype=torch.float64)",
    ),
    "cross-entropy at a logit of ten thousand": (
        ["check-logit"],
        "softplus(large)",  # a silent clip
        "softplus(large.clamp(max=100))",
    ),
    "largest difference of our log r and the package's": (
        ["check-package"],
        "ours = learn(x0[:20_000], x1[:20_000]",  # labels swapped
        "ours = learn(x1[:20_000], x0[:20_000]",
    ),
    "mean squared error of log r over its variance": (
        ["check-headline"],
        "(learned - exact)",  # labels swapped
        "(-learned - exact)",
    ),
    "mean of the learned r over background events": (
        ["check-headline"],
        "r = learned[label == 0]",  # the other density on top
        "r = learned[label == 1]",
    ),
    "AUC of the learned ratio": (
        ["check-headline"],
        "roc_auc_score(label, learned)",
        "roc_auc_score(label, -learned)",
    ),
    "power at five per cent false alarms": (
        ["check-headline"],
        "power_at_5(learned)",  # one feature for two
        "power_at_5(-both[:, 0])",
    ),
    "power of the exact ratio": (
        ["check-headline"],
        'curves["likelihood ratio"][4]',  # at ten per cent
        'curves["likelihood ratio"][9]',
    ),
    "momenta, deep: AUC lost": (
        ["check-muons"],
        'lost["momenta, deep"]',  # one hidden layer
        'lost["momenta, shallow"]',
    ),
    "AUC lost, shallow over deep": (
        ["check-muons"],
        'lost["momenta, shallow"]',  # twice the same network
        'lost["momenta, deep"]',
    ),
    "m and c, shallow: AUC lost": (
        ["check-muons"],
        'lost["m and c, shallow"]',  # the angle forgotten
        'lost["m alone, exact"]',
    ),
    "m alone, exact: AUC lost": (
        ["check-muons"],
        'lost["m alone, exact"]',  # the angle known
        'lost["m and c, shallow"]',
    ),
    "median shift of log r, four to one": (
        ["check-prior"],
        "shifted.median()",  # class weights
        "repaired.median()",
    ),
    "mean of r over background events, four to one": (
        ["check-prior"],
        "mean_r = (shifted + exact)",
        "mean_r = (repaired + exact)",
    ),
    "AUC, four to one: it sees nothing": (
        ["check-prior"],
        "roc_auc_score(label, shifted + exact)",
        "roc_auc_score(label, shifted)",
    ),
    "median shift of log r with class weights": (
        ["check-prior"],
        "repaired.median()",  # none
        "shifted.median()",
    ),
    "exercise 1: events for odds of a thousand": (
        ["solution-1", "check-exercise-1"],
        "learned[label == 1]",  # the wrong direction of the divergence
        "-learned[label == 0]",
    ),
    "exercise 2: mean of r with the squared error": (
        ["solution-2", "check-exercise-2"],
        "squared[label == 0]",
        "squared[label == 1]",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 30."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
    left_out = ("figure-minimisers", "figure-headline", "figure-prior", "figure-muons")
