"""Notebook 32: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "32_parametrise_a_classifier.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 10_000, "full": 250_000': '"teaching": 4_000, "full": 250_000',
    '"teaching": 50_000, "full": 200_000': '"teaching": 10_000, "full": 200_000',
    '"teaching": 1_000, "full": 10_000': '"teaching": 200, "full": 10_000',
    "N_FRESH = 250_000": "N_FRESH = 50_000",
    '"teaching": 1_000, "full": 5_000': '"teaching": 400, "full": 5_000',
}
NOT_CALIBRATED = ('"calibrated": calibrated}', '"calibrated": raw}')
TWICE = (  # every event counts so
    "s * (raw(theta, rows) - raw(near.expand_as(theta), rows)) + n * t",
    "2 * (s * (raw(theta, rows) - raw(near.expand_as(theta), rows)) + n * t)",
)
A_PRIOR = (  # pulls the fit to the truth
    "square().sum(1) / 2",
    "square().sum(1) / 2 - ((theta - truth) / sigma).square().sum(1) / 2",
)
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "AUC at the unseen mass, parametrised minus dedicated": (
        ["areas", "check-masses"],
        "torch.cat(pair, 1)",  # asked about another mass
        "torch.cat([test[1500][0], pair[1]], 1)",
    ),
    "AUC at the unseen mass, parametrised minus blind": (
        ["areas", "check-masses"],
        "parametrised(torch.cat(pair, 1))",  # the mass is no input
        "blind(pair[1])",
    ),
    "AUC at the unseen mass, parametrised minus misinformed": (
        ["areas", "check-masses"],
        "test[1500][0]",  # told the right mass after all
        "test[1000][0]",
    ),
    "AUC at the unseen mass, exact minus parametrised": (
        ["areas", "check-masses"],
        "area(best, some)",  # background over signal
        "area(-best, some)",
    ),
    "AUC at the unseen mass, packaged minus by hand": (
        ["areas", "check-masses"],
        "packaged(*test[1000])",
        "packaged(test[1500][0], test[1000][1])",
    ),
    "mean of r over background, unseen mass": (
        ["check-masses"],
        "scores[1000]",  # ratio inverted
        "(-scores[1000])",
    ),
    "squared error of log r over its variance": (
        ["check-network"],
        "torch.zeros_like(at)",  # another denominator
        "torch.ones_like(at)",
    ),
    "calibration by hand minus the package's": (
        ["check-network"],
        " + lines[0, 1]",  # the slope only
        "",
    ),
    "one fit, calibrated minus exact (sigma)": (["fits", "check-headline"], *NOT_CALIBRATED),
    "mean fit, calibrated minus exact (sigma)": (["fits", "check-headline"], *NOT_CALIBRATED),
    "mean fit, raw minus exact (sigma)": (
        ["fits", "check-headline"],
        '"raw": raw',  # a network that needs no calibration
        '"raw": calibrated',
    ),
    "area of the 68.27 % region, calibrated over exact": (
        ["calibrate", "fits", "figure-headline", "check-headline"],
        *TWICE,
    ),
    "grid minus gradient (grid spacings)": (
        ["fits", "check-headline"],
        "grid_maximum(calibrated",  # of another function
        "grid_maximum(raw",
    ),
    "exact fit, gradient minus closed form (sigma)": (
        ["experiments", "fits", "check-headline"],
        *A_PRIOR,
    ),
    "coverage at 68.27 %, exact": (
        ["coverage", "check-coverage"],
        "2 * (fits[k].log_l",  # doubled twice
        "4 * (fits[k].log_l",
    ),
    "coverage at 68.27 %, calibrated": (["fits", "coverage", "check-coverage"], *NOT_CALIBRATED),
    "coverage at 68.27 %, alpha": (
        ["coverage", "check-coverage"],
        "profile_fit(calibrated, start, low, high)",  # beta is not profiled
        "profile_fit(calibrated, start, low, high, (0, 1))",
    ),
    "coverage at 68.27 %, raw": (
        ["check-coverage"],
        'cover["raw"]',
        'cover["calibrated"]',
    ),
    "second differences of -2 log L, common noise": (
        ["figure-break", "check-break"],
        '"common noise": fresh_events',
        '"common noise": lambda at: fresh_events(at, next(streams))',
    ),
    "second differences of -2 log L, fresh over common noise": (
        ["figure-break", "check-break"],
        "fresh_events(at, next(streams))",
        "fresh_events(at)",
    ),
    "exercise 1: coverage of displaced regions": (
        ["solution-1", "check-exercise-1"],
        "torch.tensor([1.0, 0.0])",  # not displaced
        "torch.tensor([0.0, 0.0])",
    ),
    "exercise 2: mean of r over background, 750 GeV": (
        ["solution-2", "check-exercise-2"],
        "torch.cat([leaked, background], 1)",  # the rule is kept
        "torch.cat([borrowed, background], 1)",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 32."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
