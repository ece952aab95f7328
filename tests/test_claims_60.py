"""Notebook 60: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "60_profile_a_nuisance.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 300': '"teaching": 100',
    '"teaching": 200_000': '"teaching": 60_000',
    "2 * N_SIM + 10_000": "2 * N_SIM + 2_000",
}
LEARNED = ["profile-learned", "table", "check-headline"]
PRIOR_ODDS = (LEARNED, "(features @ weights)", "(features @ weights + 0.7)")
NOT_PROFILED = (LEARNED, '"parametrise")', '"parametrise", nus=torch.zeros(1))')
NO_YIELDS = (  # the ratio of the expected numbers, where that of the densities is asked for
    ["templates", "table", "check-headline"],
    "(B * SIGNAL / BACKGROUND).log()",
    "B.log()",
)
GK = ["gk-fit", "figure-gk", "check-gk"]
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "coverage of the exact profile": (
        ["exact", "check-exact"],
        'log_ratio, "exact")',  # the nuisance is held at zero
        'log_ratio, "exact", nus=torch.zeros(1))',
    ),
    "log-density against pyhf": (
        ["check-pyhf"],
        "p.tolist()",  # strength and nuisance exchanged
        "p.flip(0).tolist()",
    ),
    "CLs at 0.1 against pyhf's": (
        ["check-limit"],
        "search.hypotest(0.1, empty)",  # the other tail
        "1 - search.hypotest(0.1, empty)",
    ),
    "pyhf's CLs at our upper limit": (
        ["check-limit"],
        "search.upper_limit(empty)",  # at 90 %
        "search.upper_limit(empty, level=0.1)",
    ),
    "parametrise, nu = 0: coverage minus exact": PRIOR_ODDS,
    "parametrise, nu = 0: width / exact": PRIOR_ODDS,
    "parametrise, nu = 0: offset / sd": PRIOR_ODDS,
    "parametrise, nu = 1: coverage minus exact": NOT_PROFILED,
    "parametrise, nu = 1: width / exact": NOT_PROFILED,
    "parametrise, nu = 1: offset / sd": NOT_PROFILED,
    "propagate, nu = 0: coverage minus exact": NO_YIELDS,
    "propagate, nu = 1: coverage minus exact": NO_YIELDS,
    "propagate, nu = 0: width / exact": (
        ["check-headline"],
        'rows["propagate", 0.0][1]',  # a classifier that loses nothing
        'rows["parametrise", 0.0][1]',
    ),
    "ignore, nu = 1: coverage": (
        ["exact", "check-headline"],
        '"ignore", nus=torch.zeros(1))',  # not ignored
        '"ignore")',
    ),
    "g-and-k: coverage minus exact": (
        GK,
        "x_ref), start, *box)",  # the skewness is held, not profiled
        "x_ref), start, *box, held=(1,))",
    ),
    "g-and-k: error / exact": (
        GK,
        "torch.asinh(events - 3)",  # a quarter of the events
        "torch.asinh(events[:, :25] - 3)",
    ),
    "g-and-k: offset / sd": (
        GK,
        "torch.asinh(events - 3)",  # another feature than the network was trained on
        "torch.asinh(events - 2)",
    ),
    "g-and-k, g held at 2: coverage": (GK, "held=(1,)", "held=()"),
    "two templates, nu = 2: coverage": (
        ["two-templates", "check-break"],
        "free.twice_nll < 1",  # two standard deviations
        "free.twice_nll < 4",
    ),
    "two templates, nu = 2: fitted nu": (
        ["two-templates", "check-break"],
        "1 - shape.poi",  # the strength
        "shape.poi",
    ),
    "nine templates, nu = 2: coverage": (
        ["templates", "check-break"],
        'log_ratio, "propagate", data, weight=counts)',  # the nuisance is held at zero
        'log_ratio, "propagate", data, counts, torch.zeros(1))',
    ),
    "exercise 1: share within two sigma": (
        ["solution-1", "check-exercise-1"],
        'cover("exact", 0.0, 4)',  # half of it
        'cover("exact", 0.0, 1)',
    ),
    "exercise 2: share covered": (
        ["solution-2", "check-exercise-2"],
        "norm.cdf(0.16, 0.45, 0.17)",  # without the bias
        "norm.cdf(0.16, 0.0, 0.17)",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 60."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
