"""Notebook 42: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "42_play_the_adversarial_game.ipynb"
SMALLER = {  # shorter games, judged on fewer points
    '"teaching": 2_500, "full": 20_000': '"teaching": 1_400, "full": 20_000',
    '"teaching": 2_500, "full": 10_000': '"teaching": 1_000, "full": 10_000',
    '"teaching": 1_500': '"teaching": 1_000',
    "x_frozen, penalty=0.0, hidden=32,": "x_frozen, penalty=0.0, hidden=32, max_steps=700,",
    "made, penalty=0.0,": "made, penalty=0.0, max_steps=1_000,",
}
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "value of p/(p+q) minus (-log 4 + 2 JSD)": (
        ["exact", "check-optimum"],
        "(H[1] + H[2]) / 2",  # both entropies in full
        "(H[1] + H[2])",
    ),
    "best of a thousand others minus that value": (
        ["check-optimum"],
        "game_value(torch.logit(best_D), p, q)",  # D says how probable a fake is
        "game_value(-torch.logit(best_D), p, q)",
    ),
    "frozen generator, by hand: rms of D - p/(p+q)": (
        ["figure-frozen", "check-frozen"],
        "= D(t.float())[:, 0].double().sigmoid()",  # the labels exchanged
        "= (-D(t.float())[:, 0].double()).sigmoid()",
    ),
    "frozen generator, library: rms of D - p/(p+q)": (
        ["figure-frozen", "check-frozen"],
        "rival(t).double().sigmoid()",  # a logit taken for a probability
        "rival(t).double()",
    ),
    "frozen generator: V on fresh events minus the exact value": (
        ["check-frozen"],
        "logsigmoid(-D(x_frozen))",  # log D where log(1 - D) should be
        "logsigmoid(D(x_frozen))",
    ),
    "game: largest V(D, G) minus its bound": (
        ["check-game"],
        "V - bound for",  # the bound taken for a lower one
        "bound - V for",
    ),
    "game: Jensen-Shannon divergence at the end (nats)": (
        ["check-game"],
        "divergence(p, diary[N_STEPS][0])",  # stopped early
        "divergence(p, diary[50][0])",
    ),
    "game: V(D, G) at the end minus -log 4": (
        ["check-game"],
        "last_V + math.log(4)",  # one term of the two
        "last_V + math.log(2)",
    ),
    "W1 by quadrature minus that of the two samples": (
        ["wasserstein-exact", "check-wasserstein"],
        "W1 = (cell * (P - Q).abs()).sum()",  # the energy distance
        "W1 = (cell * (P - Q) ** 2).sum()",
    ),
    "critic's difference of means minus its exact value": (
        ["check-wasserstein"],
        "gap - W1 - excess",  # what the penalty allows is forgotten
        "gap - W1",
    ),
    "data against data: two-sample accuracy": (
        ["check-headline"],
        'accuracy["data"]',  # against a generator
        'accuracy["slow"]',
    ),
    "slow game: generator's loss minus the good game's": (
        ["check-break"],
        "worse - better",  # compared with zero
        "worse",
    ),
    "slow game: least share of a mode": (["check-break"], 'shares["slow"]', 'shares["GAN"]'),
    "slow game: two-sample accuracy": (["check-break"], 'accuracy["slow"]', 'accuracy["GAN"]'),
    "exercise 1: value without overlap": (
        ["solution-1", "check-exercise-1"],
        "solution_1 = 0.0",  # as if nobody could tell
        "solution_1 = -math.log(4)",
    ),
    "exercise 2: change of the two-sample accuracy by the repair": (
        ["check-exercise-2"],
        "gain = solution_2",  # before minus after
        "gain = -solution_2",
    ),
}
for name in ("GAN", "WGAN-GP"):  # the collapsed game in the place of the good one
    for claim, right in {
        "modes found": "found[name]",
        "least share of a mode": "shares[name]",
        "two-sample accuracy": "accuracy[name]",
    }.items():
        wrong = right.replace("name", '"slow"')
        FAULTS[f"{name}: {claim}"] = (["check-headline"], right, wrong)


class TestClaims(NotebookClaims):
    """Notebook 42."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
    left_out = ("figure-game", "figure-headline", "figure-losses")
