"""Inference compilation: exact densities, unbiased weights, conjugate truth, enumeration."""

import math

import numpy as np
import pytest
import torch
from traced_programs import gaussian

from lfi_helpers.inference import compilation
from lfi_helpers.inference.compilation import Pool, compile_program
from lfi_helpers.inference.errors import (
    AddressChangedType,
    ObservationNotReached,
    UntracedRandomness,
)
from lfi_helpers.inference.importance import Weighted
from lfi_helpers.inference.proposals import ProposalNet, draw_u, log_density
from lfi_helpers.inference.tracing import Recorder
from lfi_helpers.run import generator

Z = 4.42  # two-sided, false alarm 1e-5
FAR = {"detector": [5.0, 6.0]}  # 1.8 prior-predictive standard deviations away
EXACT = -5.2394040  # log N((5, 6); (1, 1), 5 + 2 on the diagonal)


def boxes(rng):
    """Choose a box, count its balls, add a hidden weight; measure."""
    box = int(rng.choice(3, p=[0.6, 0.3, 0.1]))
    balls = int(rng.poisson(1 + 2 * box)) if box else int(rng.integers(1, 4))
    scale(rng, 3.0 * box + balls)
    return box, balls


def scale(rng, total):
    rng.normal(total, 1.0)


@pytest.fixture(scope="module")
def compiled():
    return compile_program(gaussian, FAR, n_traces=8000, n_steps=90, seed=1, progress=False)


def mixture(seed):
    g = generator(seed)
    raw = torch.randn(3, 1, 10, generator=g, dtype=torch.float64)
    return raw[0].softmax(1), raw[1].sigmoid(), 0.004 + 0.996 * (raw[2] - 2).sigmoid()


# --- the density of a proposal


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_density_integrates_to_one_and_intervals_to_their_mass(seed):
    parts = mixture(seed)

    u = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    q = log_density(parts, u, u).exp()
    assert float(q.mean()) == pytest.approx(1, abs=1e-6)
    edges = torch.tensor([0.0, 0.2, 0.21, 0.7, 1.0], dtype=torch.float64)
    parts = [part.expand(4, -1) for part in parts]
    mass = log_density(parts, edges[:-1], edges[1:]).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    part = float(q[(u > 0.2) & (u < 0.21)].sum()) / 400_000
    assert float(mass[1]) == pytest.approx(part, rel=1e-4)
    assert float(mass.min()) > 0.1 * 0.01 - 1e-12  # the prior's share


def test_draws_have_that_density():
    """Counts in 20 intervals of equal length: chi2 at 1e-5."""
    parts = mixture(3)
    edges = torch.linspace(0, 1, 21, dtype=torch.float64)
    mass = log_density([p.expand(20, -1) for p in parts], edges[:-1], edges[1:]).exp()
    u = draw_u([p.expand(20_000, -1) for p in parts], generator(4))
    expected = 20_000 * mass
    chi2 = ((torch.histc(u, 20, 0, 1) - expected) ** 2 / expected).sum()
    assert chi2 < 56.1  # chi2.isf(1e-5, 19) = 56.06


# --- against the truth


def test_weights_of_the_rejection_loop_are_unbiased(compiled):
    got = compiled.sample(FAR, 4000, seed=2)
    assert abs(got.log_evidence - EXACT) < Z * got.log_evidence_error
    w, mu = torch.softmax(got.log_weight, 0), got.theta[:, 0]
    mean = (1 / 5 + 11 / 2) / 1.2
    assert abs(float(w @ mu) - mean) < Z * float((w**2 * (mu - mean) ** 2).sum().sqrt())


def test_data_not_used_in_training_may_follow(compiled):
    """One network for all observations: it is asked for y = (2, 1) here."""
    got = compiled.sample({"detector": [2.0, 1.0]}, 3000, seed=3)
    exact = -math.log(2 * math.pi) - 0.5 * math.log(7**2 - 5**2) - 0.5 * 7 / 24
    assert abs(got.log_evidence - exact) < Z * got.log_evidence_error


def test_both_gates_are_needed(compiled):
    """Omitting log q keeps the effective number of draws; only log Z sees it."""
    traces = compiled.traces(FAR, 3000, seed=4)
    joint = [t.log_likelihood + sum(d.log_prob for d in t.draws.values()) for t in traces]
    theta = torch.tensor([[t.result] for t in traces])
    wrong = Weighted(theta, torch.tensor(joint, dtype=torch.float64))
    right = Weighted(theta, torch.tensor([t.log_weight for t in traces], dtype=torch.float64))
    assert wrong.ess > 0.3 * right.ess
    assert abs(wrong.log_evidence - EXACT) > Z * wrong.log_evidence_error
    assert abs(right.log_evidence - EXACT) < Z * right.log_evidence_error


def exact_boxes(y):
    """Enumerate the posterior over (box, balls)."""
    joint = {}
    for box, p in enumerate([0.6, 0.3, 0.1]):
        rate = 1 + 2 * box
        for balls in range(1, 4) if box == 0 else range(60):
            prior = (
                1 / 3
                if box == 0
                else math.exp(-rate + balls * math.log(rate) - math.lgamma(balls + 1))
            )
            z = y - 3.0 * box - balls
            joint[box, balls] = p * prior * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return joint


def test_discrete_draws_against_enumeration():
    compiled = compile_program(boxes, {"scale": 0.0}, n_traces=5000, n_steps=50, progress=False)
    assert len(compiled.places) == 3
    for y in (6.0, 9.0):
        joint, got = exact_boxes(y), compiled.sample({"scale": y}, 3000, seed=5)
        evidence = sum(joint.values())
        assert abs(got.log_evidence - math.log(evidence)) < Z * got.log_evidence_error
        last = sum(p for (box, _), p in joint.items() if box == 2) / evidence
        w, hit = torch.softmax(got.log_weight, 0), (got.theta[:, 0] == 2).double()
        error = float((w**2 * (hit - last) ** 2).sum().sqrt())
        assert abs(float(w @ hit) - last) < Z * error + 1e-12


def test_lock_step_equals_one_trace_at_a_time(compiled):
    """The proposal's log q of every draw, recomputed along the finished traces."""
    traces = compiled.traces(FAR, 40, seed=6)
    pool = Pool(traces)
    net, y = compiled.net, torch.tensor([FAR["detector"]]).expand(40, -1)
    relabel = torch.tensor([compiled.places[name] for name in pool.places])
    pool.place = relabel[pool.place]
    with torch.no_grad():
        loss = float(pool.loss(net, torch.arange(40), y))
    logs = [sum(d.log_prob - d.log_proposal for d in t.draws.values()) for t in traces]
    assert loss == pytest.approx(np.mean(logs), abs=1e-4)


def test_fresh_data_have_the_law_of_the_program():
    """Chosen batches are flat in the mean of y; given a trace y keeps mean and scale."""
    recorder = Recorder(gaussian, FAR, 1)
    pool = Pool([recorder.run(simulate=True) for _ in range(4000)])
    index, y = pool.flatten(torch.arange(4000).repeat(4), generator(7))
    z = (y - pool.noise[index, :, 0]) / math.sqrt(2)
    assert len(index) == 2000
    assert abs(float((z[:, 0] - z[:, 1]).std()) - math.sqrt(2)) < 5 / math.sqrt(2000)
    assert float(y.mean(1).std()) > 1.3 * float(pool.y.mean(1).std())


def test_the_same_seed_gives_the_same_network(same_when_poisoned):
    def weights():
        compiled = compile_program(gaussian, FAR, n_traces=500, n_steps=3, progress=False)
        return compiled.sample(FAR, 20, seed=1).log_weight

    same_when_poisoned(weights)


def test_places_not_seen_in_training_use_the_prior(compiled):
    def longer(rng):
        mu = gaussian(rng)
        return mu, rng.normal()

    other = compilation.CompiledProposal(longer, compiled.net, compiled.places)
    trace = other.traces(FAR, 1, seed=1)[0]
    assert all(d.log_prob == d.log_proposal for d in trace.draws.values())  # another call stack


def several(rng):
    return (rng.normal if rng.integers(2) else rng.uniform)()


def nowhere(rng):
    scale(rng, math.nan * rng.random())


@pytest.mark.parametrize(
    ("program", "observed", "error", "message"),
    [
        (lambda rng: np.random.default_rng().normal(), {}, UntracedRandomness, "handed to it"),
        (several, {}, AddressChangedType, r"several@.*expected (Uniform|Normal) as before"),
        (gaussian, {"telescope": 3.0}, ObservationNotReached, "'telescope'.*1 draws.*after 0"),
        (gaussian, {"detector": [1, 2, 3]}, ObservationNotReached, "'detector'.*3 draws.*after 2"),
        (nowhere, {"scale": 0.0}, ValueError, "observed values: expected finite numbers"),
    ],
)
def test_a_program_that_cannot_be_learned_is_named(program, observed, error, message):
    with pytest.raises(error, match=message):
        compile_program(program, observed, n_traces=200, n_steps=1, progress=False)


def test_arguments(compiled):
    with pytest.raises(ValueError, match="observed: expected 2 values, got 1"):
        compiled.sample({"detector": [1.0]}, 5)
    with pytest.raises(ValueError, match="n_traces"):
        compile_program(gaussian, FAR, n_traces=0)
    net = ProposalNet(2, torch.zeros(1), torch.ones(1))
    assert net.embed(torch.zeros(3, 1)).shape == (3, 64)
