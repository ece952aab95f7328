"""Notebook 13: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "13_weigh_evidence_like_a_thermodynamicist.ipynb"
TABLE = ["data", "figure-energy", "test-table", "check-table"]
CAPACITY = ["partition-functions", "figure-headline", "experiments", "check-headline"]
AVERAGED = ["test-table", "experiments", "check-headline"]
GAS, HARMONIC = ["anneal", "cool", "check-annealing"], ["data", "harmonic", "check-harmonic"]
SIGN_OF_THE_SLIDE = (TABLE, "free = -log_z(N)", "free = log_z(N)")
# Metropolis steps at half the inverse temperature that the weights assume
TOO_HOT = (GAS, "toss(N_GAS).log() < N * (E - E_new)", "toss(N_GAS).log() < N / 2 * (E - E_new)")
OVER_THE_PRIOR = (  # the mean of L over the prior
    HARMONIC,
    "log(10_000) - inverse",
    "torch.stack([(-30 * sampled_energies(0 * thirty, tau, u)).logsumexp(0) for tau in taus])"
    " - log(10_000)",
)
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "slope of NF minus the mean energy, in errors": SIGN_OF_THE_SLIDE,
    "the slide's U against the mean energy, in errors": SIGN_OF_THE_SLIDE,
    "C minus N^2 Var(E), in errors": (TABLE, "heat = 30**2 *", "heat = 30 *"),
    "entropy plus the information gained": (TABLE, "30 * U - at_30", "at_30 - 30 * U"),
    "price of the sixth event, in errors": (
        TABLE,
        " + 1.5 * log(2 * pi * predictive)",  # a predictive density without its norm
        "",
    ),
    "regular: C of the bowl per parameter": (
        CAPACITY,
        "sqrt(pi) / (2 * a)",  # the norm of two parameters for one
        "sqrt(pi) / (2 * a**2)",
    ),
    "irregular: C of the wall per parameter": (
        CAPACITY,
        '"wall": lambda N: 2 * ',  # one end of two
        '"wall": lambda N: ',
    ),
    "singular: C of the cross, cold": (
        CAPACITY,
        "(s.log() - s - N",  # products as if they were uniform
        "(-s - N",
    ),
    "singular: smallest step of C on the way": (
        CAPACITY,
        "torch.arange(0.005, 60, 0.01",  # no model on the axes
        "torch.arange(0.005, 6, 0.01",
    ),
    "sloppy: C while one mode is frozen": (
        CAPACITY,
        "log_bowl(N, 1e-4)",  # the factor, not its square
        "log_bowl(N, 1e-2)",
    ),
    "sloppy: C when it has thawed": (
        CAPACITY,
        "log_bowl(N, 1e-4)",  # the square of the square
        "log_bowl(N, 1e-8)",
    ),
    "three means, averaged over data": (AVERAGED, "return 1.5 *", "return 0.5 *"),  # one mean
    "one end point, averaged over data": (
        AVERAGED,
        "torch.log(10 * (N - 1))",  # as if known to the root of N
        "torch.log(10 * (N - 1).sqrt())",
    ),
    **{
        f"{name}: annealed {what}": TOO_HOT
        for name in ("bowl", "sloppy bowl", "cross")
        for what in ("log Z minus the exact one", "C, largest error")
    },
    "harmonic mean minus exact log Z, widest prior": OVER_THE_PRIOR,
    "a decade of prior width costs the harmonic mean": OVER_THE_PRIOR,
    "a decade of prior width costs the exact log Z": (
        HARMONIC,
        "1.5 * torch.log1p(a)",  # one parameter
        "0.5 * torch.log1p(a)",
    ),
    "thermodynamic integration, largest error": (
        HARMONIC,
        "torch.logspace(-8, 0, 200",  # a ladder that begins when most is learned
        "torch.logspace(-2, 0, 200",
    ),
    "exercise 1: cost of doubling the data": (
        ["solution-1", "check-exercise-1"],
        "7 / 2 * log(2)",  # a whole unit per parameter
        "7 * log(2)",
    ),
    "exercise 2: capacity of the bent cross": (
        ["solution-2", "check-exercise-2"],
        "models[:, 1]) ** 2 / 2",  # the product, not its square
        "models[:, 1]).abs() / 2",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 13."""

    name = NOTEBOOK
    faults = FAULTS
