"""Notebook 90: each of its claims fails under a wrong implementation that is named here."""

import pytest
from notebook_claims import cells, run

NOTEBOOK = "90_choose_the_next_experiment.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 1_000_000': '"teaching": 500_000',
    '"teaching": 3_000': '"teaching": 2_500',
    "torch.linspace(80, 100, 21)": "torch.linspace(80, 100, 6)",
}
PLAIN = "bad_500, bad_2000, _, bad_gap, bad_boast = "
GOOD_VERDICT = "bad_500, bad_2000, _, bad_gap, bad_boast = rms_500, rms_2000, 0, gap, boast"
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "best energy per event, unpolarised": (
        ["check-information"],
        "best, best_time = (",  # event and time exchanged
        "best_time, best = (",
    ),
    "best energy per event, P = -0.8": (
        ["check-information"],
        "best, best_time = (",
        "best_time, best = (",
    ),
    "lowest best energy for beam time": (
        ["check-information"],
        "best, best_time = (",
        "best_time, best = (",
    ),
    "AUC of two worlds, charges swapped at random": (
        ["check-assumption"],
        "x.flip(1), x)",  # nothing is swapped
        "x, x)",
    ),
    "AUC of two worlds as they are": (
        ["check-assumption"],
        "x.flip(1), x)[:, 0]",  # a test that sees one component, across the beam
        "x.flip(1), x)[:, 0] * torch.tensor([1.0, 0, 0])",
    ),
    "shift of the posterior mean at 500 events, rms in exact sd": (
        ["accuracy", "check-accuracy"],
        "verdict(learned)",  # the sign of the label is flipped
        "verdict(lambda x, t, d: learned(x.flip(-2), t, d))",
    ),
    "shift at 2000 events and telling designs, rms in exact sd": (
        ["accuracy", "check-accuracy"],
        "verdict(learned)",  # the design is not given to the network
        "verdict(lambda x, t, d: learned(x, t, (90.0, 0.0)))",
    ),
    "width over the exact width, 5 % quantile": (
        ["accuracy", "check-accuracy"],
        "verdict(learned)",  # every event counts twice
        "verdict(lambda x, t, d: 2 * learned(x, t, d))",
    ),
    "width over the exact width, 95 % quantile": (
        ["accuracy", "check-accuracy"],
        "verdict(learned)",  # half of the events are lost
        "verdict(lambda x, t, d: learned(x, t, d) / 2)",
    ),
    "expected gain at four designs: largest difference": (
        ["accuracy", "check-accuracy"],
        "verdict(learned)",
        "verdict(lambda x, t, d: 2 * learned(x, t, d))",
    ),
    "exact gain of the chosen designs, mean share of the best": (
        ["exact-maps", "check-headline"],
        "gain(chosen[k])",  # no optimisation: any design
        "gain((96.0, 0.3))",
    ),
    "highest energy chosen, GeV": (
        ["check-headline"],
        "max(chosen)[0]",  # the talk's "just above"
        "max([*chosen, [92.0, 0.0]])[0]",
    ),
    "final width over that of random designs": (
        ["check-headline"],
        "[chosen] * 40 + darts",  # random ones, too
        "darts + darts",
    ),
    "final shift from the exact mean, in exact sd": (
        ["check-headline"],
        "after[f][-1].log()",  # one of them is read off the grid twenty places too far
        "after[f][-1].log().roll(0 if f is exact else 20)",
    ),
    "final width over the exact width": (
        ["check-headline"],
        "after[f][-1].log()",  # the last experiment counts twice in one of them
        "after[f][-1].log() * (1 if f is exact else 1.3)",
    ),
    "pull: learned result minus nature, in sd": (
        ["check-headline"],
        "theta_true.item()) / s",  # another world
        "0.2512) / s",
    ),
    "rounds that differ after the interruption": (
        ["check-resume"],
        "go_on(record=",  # the seed is not that of the record
        "go_on(seed=this.seed + 1, record=",
    ),
    "loss that ten percent of the slope cost": (
        ["check-why"],
        "f + 0.1 *",  # all of the slope
        "f + 1.0 *",
    ),
    "shift of 2000 events by it, in sd": (
        ["check-why"],
        "2000 * f @ p[120]",  # ten events in place of 2000
        "10 * f @ p[120]",
    ),
    "plain: shift at 500 events, rms in exact sd": (
        ["plain", "check-why"],
        PLAIN + "verdict(plain)",  # the network with symmetry and gold
        GOOD_VERDICT,
    ),
    "plain: shift at 2000 events, rms in exact sd": (
        ["plain", "check-why"],
        PLAIN + "verdict(plain)",
        GOOD_VERDICT,
    ),
    "plain: largest difference of expected gain": (
        ["plain", "check-why"],
        PLAIN + "verdict(plain)",
        GOOD_VERDICT,
    ),
    "gain promised beyond the log score, plain": (
        ["plain", "check-why"],
        PLAIN + "verdict(plain)",
        GOOD_VERDICT,
    ),
    "gain promised beyond the log score, learned": (
        ["check-why"],
        'learned", boast',  # the plain classifier
        'learned", bad_boast',
    ),
    "exercise 1: most to gain, nat": (["solution-1", "check-exercise-1"], "0).log()", "0).log2()"),
    "exercise 2: best energy, P = 0.8": (
        ["solution-2", "check-exercise-2"],
        "best[0.8]",  # the right way round
        "best[-0.8]",
    ),
}


@pytest.fixture(scope="module")
def notebook():
    """Run the whole notebook once, smaller, and keep its namespace."""
    text = cells(NOTEBOOK)
    for old, new in SMALLER.items():
        assert sum(old in cell for cell in text.values()) == 1, old
        text = {name: cell.replace(old, new) for name, cell in text.items()}
    space = {}
    holds = run(text, text, space)
    return text, space, holds


def test_every_claim_of_the_notebook_holds_and_has_a_fault(notebook):
    holds = notebook[2]
    assert [claim for claim, ok in holds.items() if not ok] == []
    assert sorted(holds) == sorted(FAULTS)


@pytest.mark.parametrize("claim", FAULTS)
def test_the_claim_fails_under_its_fault(claim, notebook):
    text, space, _ = notebook
    again, right, wrong = FAULTS[claim]
    assert any(right in text[name] for name in again), right
    broken = {name: text[name].replace(right, wrong) for name in again}
    # "plain" trains a network: its verdict alone is replaced
    if "plain" in again:
        again, broken = ["check-why"], {"check-why": f"{wrong}\n{text['check-why']}"}
    assert run(again, broken, dict(space))[claim] is False
