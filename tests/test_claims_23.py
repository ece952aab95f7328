"""Notebook 23: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "23_trace_a_program.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 40_000': '"teaching": 15_000',
    '"teaching": 20_000, "full": 200_000': '"teaching": 5_000, "full": 200_000',
    '"teaching": 400_000': '"teaching": 40_000',
    '"teaching": 550': '"teaching": 360',
    "bumpers.prior, 450, g": "bumpers.prior, 200, g",
    "N_LOCK // 3": "N_LOCK // 2",
    "in range(20_000)": "in range(10_000)",
    "4.0}, 600, seed": "4.0}, 400, seed",
    "one_chain.theta[300:": "one_chain.theta[200:",
    "agree, above=0.95": "agree, above=0.8",  # shorter walks, fewer worlds: noisier maps
    "agree_rare, above=0.93": "agree_rare, above=0.8",
}
INDEPENDENT = (["figure-truth", "check-headline"], "[[7, 5], [5, 7]]", "[[7, 0], [0, 7]]")
NO_WEIGHTS = (["check-headline"], "softmax(steered.log_weight", "softmax(0 * steered.log_weight")
NO_DATA = (["walk", "check-headline"], "gaussian, observed, N_WALK", "gaussian, {}, N_WALK")
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "mean number of passes": (  # the two readings counted as a pass
        ["trace", "check-lengths"],
        "len(recorder.run().draws) - 2",
        "len(recorder.run().draws)",
    ),
    "steered: effective runs": (  # no network
        ["check-headline"],
        "steered.ess / 10_000",
        "prior_runs.ess / N_RUNS",
    ),
    "steered: log evidence": INDEPENDENT,
    "steered: mean": NO_WEIGHTS,
    "steered: standard deviation": NO_WEIGHTS,
    "weighed: log evidence minus exact (standard errors)": INDEPENDENT,
    "weighed: effective runs": (
        ["check-headline"],
        "prior_runs.ess / N_RUNS",  # a network that was not claimed
        "steered.ess / 10_000",
    ),
    "walked: mean": NO_DATA,
    "walked: standard deviation": NO_DATA,
    "log q forgotten: effective runs": (
        ["check-gates"],
        "no_q.ess / 10_000",  # a proposal that wastes its runs
        "wrong_address.ess / 10_000",
    ),
    "log q forgotten: log evidence minus exact": (
        ["faults", "check-gates"],
        "d.log_prob for d",  # not forgotten
        "d.log_prob - d.log_proposal for d",
    ),
    "wrong address: effective runs": (["faults", "check-gates"], "(1, 0)", "(0, 1)"),
    "whole trace: log evidence": (
        ["aimed", "check-loop"],
        "0.25 + 0.5",  # the prior's density on [-1, 1] is 1/2, not 1
        "0.5 + 0.5",
    ),
    "last pass only: log evidence": (["aimed", "check-loop"], "draws[-2:]", "draws"),
    "last pass, corrected by acceptance: log evidence": (
        ["check-loop"],
        "log_evidence + log_correction",
        "log_evidence - log_correction",
    ),
    "map given four, walk and rejection: correlation": (
        ["check-bumpers"],
        "(maps.values(), rare)",  # rejection that keeps every world
        '((maps["walk"], bumper_map(worlds)), rare)',
    ),
    "map given eleven, two walks: correlation": (
        ["check-bumpers"],
        "(maps.values(), rare)",  # a walk that accepts everything
        "(maps.values(), (rare[0], bumper_map(worlds)))",
    ),
    "walked worlds with four balls in the box": (
        ["check-bumpers"],
        "walked[::20]",  # a walk that accepts everything
        "worlds[::20]",
    ),
    "one chain through the program: share with four": (
        ["world", "check-bumpers"],
        "rng.normal(count, 0.1)",  # a counter that miscounts by ten
        "rng.normal(count, 10.0)",
    ),
    "no data: mean number of bumpers": (
        ["lock-step", "check-bumpers"],
        " + torch.log((1 + 2 * n) / (1 + 2 * new[:, :1]))[:, 0]",  # no L / L'
        "",
    ),
    "exercise 1: evidence without rejected passes": (
        ["solution-1", "check-exercise-1"],
        "(1 / math.pi)",  # forgets that the circle is smaller than the square
        "(1 / 4)",
    ),
    "exercise 2: passes without L / L'": (
        ["solution-2", "check-exercise-2"],
        "2 * lengths + 2",  # every trace counts once
        "0 * lengths + 2",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 23."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
