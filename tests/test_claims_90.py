"""Notebook 90: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "90_choose_the_next_experiment.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 1_000_000': '"teaching": 500_000',
    '"teaching": 3_000': '"teaching": 2_500',
    "torch.linspace(80, 100, 21)": "torch.linspace(80, 100, 6)",
}
GOOD_VERDICT = (  # that of the network with symmetry and gold
    ["check-why"],
    "A = collider(",
    "bad_500, bad_2000, bad_gap, bad_boast = rms_500, rms_2000, gap, boast\nA = collider(",
)
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
    "plain: shift at 500 events, rms in exact sd": GOOD_VERDICT,
    "plain: shift at 2000 events, rms in exact sd": GOOD_VERDICT,
    "plain: largest difference of expected gain": GOOD_VERDICT,
    "gain promised beyond the log score, plain": GOOD_VERDICT,
    "gain promised beyond the log score, learned": (
        ["check-why"],
        'learned", boast',  # the plain classifier
        'learned", bad_boast',
    ),
    "exercise 1: share of the density left at the wall": (
        ["solution-1", "check-exercise-1"],
        "0.5",  # nothing is lost
        "1.0",
    ),
    "the same with the mirror": (
        ["check-exercise-1"],
        "2 * left",  # the mirror is forgotten
        "left",
    ),
    "exercise 2: best energy, P = 0.8": (
        ["solution-2", "check-exercise-2"],
        'best["P = 0.8"]',  # the right way round
        'best["P = -0.8"]',
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 90."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
