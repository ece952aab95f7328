"""Notebook 45: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "45_tune_a_shower_with_a_recurrent_critic.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 160': '"teaching": 80',
    '"teaching": 11,': '"teaching": 7,',
}
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "multiplicities, log10 of the p-value of chi2": (
        ["observe", "check-truth"],
        "float(a)), this",  # a shower of a coupling that is 5 % larger
        "1.05 * float(a)), this",
    ),
    "exact estimate over truth": (
        ["exact", "check-truth"],
        "of_each).view",  # a rate without the colour factor
        "of_each * 4 / 3).view",
    ),
    "what angles and energies add to log L": (
        ["check-truth"],
        "x, whole, gain = rows[n < 20].flatten(1), n[n < 20], []",  # the first gluon not counted
        "x, whole, gain = rows[n < 20].flatten(1), n[n < 20] - 1, []",
    ),
    "multiplicity: minimum minus exact estimate (its errors)": (
        ["templates-code", "check-templates"],
        "radiate(v**2, N_DATA",  # a simulator that radiates 2 % less than it says
        "radiate(0.98 * v**2, N_DATA",
    ),
    "first angle: minimum minus exact estimate (its errors)": (
        ["templates-code", "check-templates"],
        "radiate(v**2, N_DATA",  # 10 % less
        "radiate(0.9 * v**2, N_DATA",
    ),
    "multiplicity: share of the information": (
        ["templates-code", "check-templates"],
        "(seen + T[name])",  # the error of the simulated histogram forgotten
        "T[name]",
    ),
    "first angle: share of the information": (
        ["templates-code", "check-templates"],
        '"first angle": first[:, 0]',  # the last row in place of the first: padding
        '"first angle": -rows[n > 0, -1, 0]',
    ),
    "first energy: share of the information": (
        ["templates-code", "check-templates"],
        '"first energy": first[:, 1]',  # of the softest gluon
        '"first energy": -rows[n > 0, :, 1].amin(1) * 20 / decades',
    ),
    "events in another order change the logit by": (
        ["critic-code", "check-critic"],
        ".sum(1)",  # events read one after another, each fading what came before
        ".double() @ 0.9 ** torch.arange(index.shape[1]).double()",
    ),
    "other padding changes the logit by": (
        ["critic-code", "check-critic"],
        "n[index.flatten()])",  # all twenty rows are read
        "n[index.flatten()] * 0 + 20)",
    ),
    "critic's minimum over the exact estimate": (
        ["check-headline"],
        "a_critic / a_exact",  # the objective maximised
        "search.x[search.y.argmin(), 0] ** 2 / a_exact",
    ),
    "AUC of batches at the truth": (
        ["check-headline"],
        "area[1.0, B]",  # a coupling that is 10 % too large
        "area[1.1, B]",
    ),
    "AUC of batches, coupling 1.1 times the truth": (
        ["check-headline"],
        "area[1.1, B]",  # judged one by one
        "area[1.1, 1]",
    ),
    "AUC of events, coupling 1.1 times the truth": (
        ["check-headline"],
        "area[1.1, 1]",  # four events at a time
        "auc(grown[1.1], 4)",
    ),
    "AUC of batches, coupling 1.5 times the truth": (
        ["check-headline"],
        "area[1.5, B]",  # observed and simulated exchanged
        "auc(grown[1.5][::-1], B)",
    ),
    "AUC of events, coupling 1.5 times the truth": (
        ["check-headline"],
        "area[1.5, 1]",  # two events at a time
        "auc(grown[1.5], 2)",
    ),
    "growth of zeta with the batch over its root": (
        ["check-batches"],
        "growth / sqrt(B)",  # as if the separation grew like the batch
        "growth / B",
    ),
    "gradient of batches minus B times that of events, relative": (
        ["critic-code", "check-batches"],
        ".sum(1)",  # the mean answer of a batch is not its log-odds
        ".mean(1)",
    ),
    "critic's log-ratio and n, correlation": (
        ["check-batches"],
        "np.corrcoef(g, count)",  # answers laid beside other events
        "np.corrcoef(g, n[:half])",
    ),
    "padding taken for physics: AUC at the truth": (
        ["break-padding", "check-break"],
        "masked_fill(rows[..., :1] == 0, filling), torch.full_like(n, 20)",  # read to the end n
        "masked_fill(rows[..., :1] == 0, filling), n",
    ),
    "exercise 1: AUC of events against themselves": (
        ["solution-1", "check-exercise-1"],
        "2 * answers(critic, radiate(a_true, N_DATA, 1))",  # an independent sample
        "answers(critic, judge_by, radiate(a_true, N_DATA, 1))",
    ),
    "exercise 2: events in a batch": (
        ["solution-2", "check-exercise-2"],
        " ** 2",  # the root forgotten
        "",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 45."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
