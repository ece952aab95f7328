"""Notebook 12: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "12_estimate_and_decide.ipynb"
COSINE, NAMES = ["cosine", "kolmogorov", "check-cosine"], ["lifetimes", "check-names"]
BOUND, STEIN = ["asymmetry", "check-bound"], ["shrink", "figure-shrink", "check-stein"]
RULES = ["rules", "priors", "check-headline"]
NEYMAN, LEARN = ["neyman-pearson", "check-neyman"], ["generalise", "check-generalise"]
EVERY_BRANCH_TWICE = (COSINE, "branches / (2 * pi)", "branches / pi")
HALF_OF_THE_EVENTS = (BOUND, "uniform(1, N_SETS, N)", "uniform(1, N_SETS, N // 2)")
NO_ROOT = (LEARN, "eps * (1 + np.sqrt(1 + 2 * errors / eps))", "eps")  # as if errors did not vary
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "area under two branches": EVERY_BRANCH_TWICE,
    "area under one branch": EVERY_BRANCH_TWICE,
    "distance of F(y) from uniform, times the root of n": (
        COSINE,
        "u = 1 - np.arccos(y) / pi",  # one branch
        "u = 1 - np.arccos(y) / (2 * pi)",
    ),
    "the same if cosines were uniform": (
        COSINE,
        "np.cos(2 * pi * uniform(0, N_MC))",  # they are
        "2 * uniform(0, N_MC) - 1",
    ),
    "best lifetime times best rate": (
        NAMES,
        "rate_fit = rate[(n * np.log(rate)",  # the mode of a posterior that is flat in tau
        "rate_fit = rate[((n - 2) * np.log(rate)",
    ),
    "log-ratio of t minus that of log t": (
        NAMES,
        "- stats.gumbel_l.logpdf(np.log(t), log(3))",  # two hypotheses in two variables
        "- stats.expon.logpdf(t, scale=3)",
    ),
    "posterior mode, flat in tau": (NAMES, "-n * np.log(tau)", "-(n + 1) * np.log(tau)"),
    "posterior mode, flat in the rate": (
        NAMES,
        "- 2 * np.log(tau)",  # the Jacobian of the logarithm
        "- np.log(tau)",
    ),
    "bias of counting, in standard errors": (
        BOUND,
        "np.sign(c)",  # forward begins one percent too early
        "np.sign(c + 0.01)",
    ),
    "variance of the fit over the bound": HALF_OF_THE_EVENTS,
    "variance of counting over its formula": HALF_OF_THE_EVENTS,
    "efficiency of counting": (
        ["check-bound"],
        "fitted.var() / counted.var()",
        "counted.var() / fitted.var()",
    ),
    "risks against toys, worst in standard errors": (
        STEIN,
        "1 - (n - 2) / (m * square)",  # two too much
        "1 - n / (m * square)",
    ),
    "largest James-Stein risk of ten means": (
        STEIN,
        '"James-Stein": 8',  # twice the right a: worth nothing
        '"James-Stein": 16',
    ),
    "three means, by an integral": (
        STEIN,
        "stats.ncx2.pdf(q, 3, 10)",  # the mean of K for the noncentrality
        "stats.ncx2.pdf(q, 3, 5)",
    ),
    "the slide at the origin, against none": (
        STEIN,
        ", 1 - (n - 2) / square",  # corrected
        ", 1 - (n - 2) / (m * square)",
    ),
    "rules that are admissible or Bayes, not both": (
        RULES,
        "np.arange(1, 46)",  # few opinions
        "np.arange(1, 46, 9)",
    ),
    "rules that are Bayes or on the hull, not both": (
        RULES,
        "< -1e-9).all(1)",  # faces that look down in one of the states
        "< -1e-9).any(1)",
    ),
    "admissible rules": (
        RULES,
        "-optimize.linprog(gain, A_eq=equal, b_eq=np.r_[risk[rule], 1]).fun",  # pure rules only
        "(risk[rule] - risk)[(risk <= risk[rule]).all(1)].sum(1).max()",
    ),
    "excess risk of always claiming, for a believer": (
        RULES,
        "np.array([0, 1, 0]) @ risk.T",  # one who believes in background
        "np.array([1, 0, 0]) @ risk.T",
    ),
    "what domination takes off always claiming": (RULES, "-np.ones(3)", "-np.ones(3) / 3"),
    "cut of the grid search, worst error": (
        NEYMAN,
        "(beta + weights * alpha)",  # the errors exchanged
        "(alpha + weights * beta)",
    ),
    "cut of the implied prior, worst error": (
        NEYMAN,
        "1 / (1 + weights)",  # the prior of the other hypothesis
        "weights / (1 + weights)",
    ),
    "false-alarm rate, lambda three": (
        NEYMAN,
        "alpha, beta = stats.norm.sf(cut)",  # of a test with two sides
        "alpha, beta = 2 * stats.norm.sf(cut)",
    ),
    "risks of the thresholds, worst in standard errors": (
        LEARN,
        "0.1 + 0.8 * np.abs(",  # a wrong label cannot turn an error into a success
        "0.1 + np.abs(",
    ),
    "runs in which a threshold breaks the bound": NO_ROOT,
    "runs in which the best coin breaks it": NO_ROOT,
    "the same with the number of rules forgotten": (
        LEARN,
        "for k in (100_000, 1)",  # remembered
        "for k in (100_000, 100_000)",
    ),
    "exercise 1: factor": (
        ["solution-1", "check-exercise-1"],
        "(1 - c) ** 2 * 2**2",  # the bias, not its square
        "(1 - c) * 2",
    ),
    "exercise 2: risk of the positive part": (
        ["solution-2", "check-exercise-2"],
        'toys["positive", 0]',  # not clipped
        'toys["right", 0]',
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 12."""

    name = NOTEBOOK
    faults = FAULTS
