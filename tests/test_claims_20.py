"""Notebook 20: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "20_accept_or_reject.ipynb"
EQUALITY = ["reject", "check-mechanical"]
TOLERANCES = ["tolerances", "check-tolerance"]
SUMMARIES = ["three-summaries", "check-summaries"]
POPULATIONS = ["populate", "many", "figure-headline", "check-headline"]
POPULATIONS += ["figure-moments", "check-weights"]
ONE_READING = (TOLERANCES, "x.mean(1, keepdim=True)", "x[:, :1]")
REPAIRED = (TOLERANCES, "epsilon=e, **settings", 'epsilon=e, adjust="linear", **settings')
NOTHING_RAW = (TOLERANCES, '(None, "linear")', '("linear", "linear")')
NOTHING_REPAIRED = (TOLERANCES, '(None, "linear")', "(None, None)")
FAR_LAGS = (SUMMARIES, "for k in (1, 2)", "for k in (3, 4)")  # at which MA(2) has no covariance
NO_WEIGHTS = (POPULATIONS, "log_q if weigh else 0 * log_q", "0 * log_q")
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "final sizes by hand: p-value of chi-squared": (
        ["epidemic", "check-simulator"],
        "susceptible, ill = n, 1",  # two come
        "susceptible, ill = n, 2",
    ),
    "share that is kept minus the evidence, in standard errors": (
        EQUALITY,
        "x[:, 0] == 30",  # or a neighbour
        "(x[:, 0] - 30).abs() < 2",
    ),
    "mechanical rejection: lambda": (
        EQUALITY,
        "x[:, 0] == 30",  # or more
        "x[:, 0] >= 30",
    ),
    "tolerance 0.02: lambda": ONE_READING,
    "tolerance 0.1: lambda": ONE_READING,
    "tolerance 0.5: lambda": ONE_READING,
    "tolerance 1.0: lambda": REPAIRED,
    "tolerance 6.0: lambda": REPAIRED,
    "three tenths kept: mean below the posterior's by": NOTHING_RAW,
    "three tenths kept: sd at their epsilon": NOTHING_RAW,
    "adjusted: mean": NOTHING_REPAIRED,
    "adjusted: variance over the posterior's": NOTHING_REPAIRED,
    "autocovariances: area over the exact one": FAR_LAGS,
    "mean and variance: area over that of the autocovariances": FAR_LAGS,
    "the series itself: area over that of the autocovariances": FAR_LAGS,
    "our populations: median lambda": NO_WEIGHTS,
    "our populations: mean of P(r < 0.3)": NO_WEIGHTS,
    "package: lambda": (
        ["package-again", "check-headline"],
        "package = smc_abc",
        'package = patch("lfi_helpers.inference.smc.pmc_log_weight", unweighted)(smc_abc)',
    ),
    "cost of rejection over the package's": (
        ["check-headline"],
        'cost["rejection"][-1]',  # to twice the tolerance
        'cost["rejection"][-2]',
    ),
    "chain: lambda with its effective size": (
        ["check-chain"],
        "epsilon=0.05, step",  # a coarse chain
        "epsilon=0.5, step",
    ),
    "chain: effective draws per simulation over rejection's": (
        ["check-chain"],
        "gain = n_eff",  # every state counts
        "gain = 60_000",
    ),
    "without weights: lambda": (
        ["check-weights"],
        "gap(radius, w, radial_cdf)",  # with them
        "gap(*many[0], radial_cdf)",
    ),
    "without weights: effective share": (["check-weights"], "1 / (w @ w) / P", "n_eff / P"),
    "our populations: mean of r squared": NO_WEIGHTS,
    "heaviest particle over the average": NO_WEIGHTS,
    "error of P(r < 0.3) over the promised one": NO_WEIGHTS,
    "exercise 1: extrapolated over predicted": (
        ["solution-1", "check-exercise-1"],
        "np.pi * 0.01**2",  # the disk in its square
        "0.02**2",
    ),
    "exercise 2: share": (
        ["solution-2", "check-exercise-2"],
        "moons.prior",  # a prior that leaves a crescent out
        "torch.distributions.Independent("
        "torch.distributions.Uniform(-torch.ones(2), torch.zeros(2)), 1)",
    ),
}
PACKAGE = """
from unittest.mock import patch

def unweighted(theta, *_):
    return torch.zeros(len(theta))

package = smc_abc(*plain, n_particles=P, epsilons=schedule, seed=this.seed)
"""


class TestClaims(NotebookClaims):
    """Notebook 20."""

    name = NOTEBOOK
    faults = FAULTS
    more = {"package-again": PACKAGE}
