"""Traced programs against enumeration, conjugate posteriors and exact detailed balance."""

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from traced_programs import gaussian, marsaglia

from lfi_helpers.inference import families, programs, tracing
from lfi_helpers.inference.errors import (
    AddressChangedType,
    BudgetExceeded,
    ObservationNotReached,
    UntracedRandomness,
)
from lfi_helpers.inference.programs import (
    importance_program,
    log_acceptance,
    metropolis_program,
    step,
    weighted,
)
from lfi_helpers.inference.tracing import Recorder

Z = 4.42  # two-sided, false alarm 1e-5
T49 = 4.95  # the same for a mean of 50 batches


def walk(rng):
    """Throw a coin up to three times; the counts decide how many dice are thrown and measured."""
    n = 1
    while n < 3 and rng.choice(2, p=[0.4, 0.6]):
        n += 1
    total = sum(int(rng.integers(n, 4)) for _ in range(n))
    pointer(rng, total)
    return n, total


def pointer(rng, total):
    rng.poisson(0.5 + total)


def outcomes(recorder, kept=None, site=None):
    """Yield every trace of a discrete program that keeps these draws, and its fresh probability.

    Depth first: fresh draws take the values of ``plan``; the first one beyond it opens a branch.
    """
    plans = [()]
    while plans:
        plan, fresh = plans.pop(), []

        def choose(address, family, rng, plan=plan, fresh=fresh):
            if kept is not None and address in kept and address != site:
                return kept[address].value, 0.0
            n = len(family.p) if isinstance(family, families.Categorical) else family.high
            support = [k for k in range(n) if family.log_prob(k) > -math.inf]
            if len(fresh) == len(plan):
                plans.extend((*plan, *(v for v, _ in fresh[len(plan) :]), k) for k in support[1:])
            value = plan[len(fresh)] if len(fresh) < len(plan) else support[0]
            fresh.append((value, family.log_prob(value)))
            if len(fresh) > len(plan) + 1:  # a second draw beyond the plan: branch there, too
                head = tuple(v for v, _ in fresh[:-1])
                plans.extend((*head, k) for k in support[1:])
            return value, 0.0

        trace = recorder.run(choose)
        yield trace, math.exp(sum(log_prob for _, log_prob in fresh))


def key(trace):
    return tuple((a, d.value) for a, d in trace.draws.items())


def joint(trace):
    return trace.log_likelihood + sum(d.log_prob for d in trace.draws.values())


def batches(values):
    """Return mean and standard error of a chain from 50 batch means."""
    means = np.asarray(values)[: len(values) // 50 * 50].reshape(50, -1).mean(1)
    return means.mean(), means.std(ddof=1) / math.sqrt(50)


# --- families


@pytest.mark.parametrize(
    ("family", "peer"),
    [
        (families.Uniform(-1.0, 3.0), stats.uniform(-1, 4)),
        (families.Normal(2.0, 0.5), stats.norm(2, 0.5)),
        (families.Exponential(3.0), stats.expon(scale=3)),
        (families.Poisson(4.5), stats.poisson(4.5)),
        (families.Integers(2, 7), stats.randint(2, 7)),
        (
            families.Categorical((0.2, 0.0, 0.8)),
            stats.rv_discrete(values=([0, 1, 2], [0.2, 0, 0.8])),
        ),
    ],
)
def test_families_against_scipy(family, peer):
    discrete = hasattr(peer, "pmf") or isinstance(peer, stats.rv_discrete)
    log_prob = peer.logpmf if discrete else peer.logpdf
    for u in (0.0, 1e-9, 0.013, 0.21, 0.5, 0.77, 0.9999):
        value = family.quantile(u)
        if u > 0:
            assert value == pytest.approx(peer.ppf(u), abs=1e-6)
        assert family.log_prob(value) == pytest.approx(log_prob(value), abs=1e-9)
        low, high = family.span(value)
        assert high - low == pytest.approx(peer.pmf(value) if discrete else 0, abs=1e-12)
        assert low - 1e-12 <= max(u, families.TINY) <= high + 1e-12
    assert family.log_prob(-50.5) == (log_prob(-50.5) if peer.support()[0] < -60 else -math.inf)


# --- addresses


def test_a_program_sees_what_numpy_would_give_it():
    """Shapes and laws: chi2 and Kolmogorov tests of recorded draws, at 1e-6 each."""

    def program(rng):
        a, b = rng.normal([0.0, 5.0], [1.0, 2.0]), rng.exponential(2.0, size=(2, 2))
        c = rng.poisson(3.0), rng.choice(["x", "y"], size=3), rng.random(), rng.standard_normal()
        assert a.shape == (2,) and b.shape == (2, 2) and c[1].shape == (3,)
        return [*a, *b.ravel(), float(c[0]), *(c[1] == "x"), c[2], c[3], rng.integers(5)]

    theta = importance_program(program, {}, 3000, seed=4).theta
    laws = [stats.norm(0, 1), stats.norm(5, 2), *[stats.expon(scale=2)] * 4]
    for column, law in [*enumerate(laws), (10, stats.uniform()), (11, stats.norm())]:
        assert stats.kstest(theta[:, column], law.cdf).pvalue > 1e-6
    counts = np.bincount(theta[:, 6].long(), minlength=20)[:8]
    expected = 3000 * stats.poisson(3).pmf(np.arange(8))
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.isf(1e-6, 8)
    assert abs(theta[:, 7:10].mean() - 0.5) < 5 * 0.5 / math.sqrt(9000)
    assert abs(theta[:, 12].mean() - 2) < 5 * math.sqrt(2 / 3000)


def test_addresses_know_position_stack_and_instance():
    trace = Recorder(gaussian, {}, 1).run()
    loop = [a for a in trace.draws if "marsaglia" in a]
    places = {a.split("#")[0] for a in loop}
    assert len(places) == 2 and len(loop) == len(set(loop)) and len(loop) % 2 == 0
    assert all("gaussian" in a for a in trace.draws)
    assert sum(a.endswith(("#0[0]", "#0[1]")) for a in trace.draws) == 2

    def twice(rng):
        return marsaglia(rng) + marsaglia(rng)  # the same code from two places

    trace = Recorder(twice, {}, 1).run()
    assert len({a.split("#")[0] for a in trace.draws}) == 4


def test_the_same_seed_gives_the_same_numbers(same_when_poisoned):
    same_when_poisoned(lambda: importance_program(gaussian, {"detector": [2, 1]}, 50).log_weight)
    same_when_poisoned(lambda: metropolis_program(gaussian, {"detector": [2, 1]}, 50).theta)


# --- enumeration


def test_enumeration_is_complete():
    """The probabilities of all traces of a program sum to one; there are 1 + ... of them."""
    traces = list(outcomes(Recorder(walk, {"pointer": [4]})))
    assert sum(p for _, p in traces) == pytest.approx(1, abs=1e-12)
    assert len(traces) == len({key(t) for t, _ in traces}) == 3 + 2**2 + 1


def test_importance_sampling_against_enumeration():
    recorder = Recorder(walk, {"pointer": [4]})
    exact = {key(t): math.exp(joint(t)) for t, _ in outcomes(recorder)}
    evidence = sum(exact.values())
    got = importance_program(walk, {"pointer": [4]}, 4000, seed=3)
    assert abs(got.log_evidence - math.log(evidence)) < Z * got.log_evidence_error
    first = sum(p for k, p in exact.items() if len(k) == 2) / evidence  # one coin, one die
    w = torch.softmax(got.log_weight, 0)
    hit = (got.theta[:, 0] == 1).double()
    error = float((w**2 * (hit - first) ** 2).sum().sqrt())
    assert abs(float(w @ hit) - first) < Z * error


def flows(rule):
    """Return pi(a) T(a -> b) for all pairs of traces, every outcome of every step enumerated."""
    recorder = Recorder(walk, {"pointer": [4]})
    flow = {}
    for old, _ in list(outcomes(recorder)):
        for site in old.draws:
            for new, fresh in outcomes(recorder, old.draws, site):
                rate = math.exp(joint(old)) / len(old.draws) * fresh
                pair = key(old), key(new)
                accept = math.exp(min(0.0, rule(old, new, site)))
                flow[pair] = flow.get(pair, 0.0) + rate * accept
    return flow


def imbalance(flow):
    return max(abs(rate - flow.get(pair[::-1], 0.0)) for pair, rate in flow.items())


def no_lengths(old, new, site):
    change = math.log(len(new.draws)) - math.log(len(old.draws))
    return log_acceptance(old, new, site) + change


def no_kept(old, new, site):
    kept = [a for a in new.draws if a in old.draws and a != site]
    change = sum(new.draws[a].log_prob - old.draws[a].log_prob for a in kept)
    r = log_acceptance(old, new, site)
    return r if r == -math.inf else r - change


def all_priors(old, new, site):
    """Take the whole prior ratio: forget that fresh and stale draws cancel."""
    r = new.log_likelihood - old.log_likelihood + math.log(len(old.draws) / len(new.draws))
    prior = [sum(d.log_prob for d in t.draws.values()) for t in (old, new)]
    return r + prior[1] - prior[0]


def test_detailed_balance_of_every_pair_of_traces():
    """Also between traces of different length; each missing factor breaks it."""
    right = flows(log_acceptance)
    lengths = {(len(a), len(b)) for a, b in right if right[a, b] > 0}
    assert (2, 4) in lengths and (4, 2) in lengths
    assert imbalance(right) < 1e-15
    for wrong in (no_lengths, no_kept, all_priors):
        assert imbalance(flows(wrong)) > 1e-4, wrong.__name__


def test_steps_keep_the_law_of_the_rejection_loop(monkeypatch):
    """Without an observation the loop's passes have the mean 4/pi: batch means, 1e-5."""

    def passes():
        recorder, lengths = Recorder(gaussian, {}, 5), []
        trace = recorder.run()
        for _ in range(15_000):
            trace, _ = step(recorder, trace)
            lengths.append((len(trace.draws) - 2) / 2)
        mean, error = batches(lengths)
        return abs(mean - 4 / math.pi) / error

    assert passes() < T49
    monkeypatch.setattr(programs, "log_acceptance", no_lengths)
    assert passes() > T49


# --- conjugate posterior

EASY = [2.5, 1.0]
MEAN, SD = (1 / 5 + sum(EASY) / 2) / (1 / 5 + 1), (1 / 5 + 1) ** -0.5
LOG_Z = stats.multivariate_normal([1, 1], 5 + 2 * np.eye(2)).logpdf(EASY)


def test_importance_sampling_of_the_rejection_loop():
    got = importance_program(gaussian, {"detector": EASY}, 5000, seed=2)
    assert abs(got.log_evidence - LOG_Z) < Z * got.log_evidence_error
    w, mu = torch.softmax(got.log_weight, 0), got.theta[:, 0]
    assert abs(float(w @ mu) - MEAN) < Z * float((w**2 * (mu - MEAN) ** 2).sum().sqrt())
    square = (mu - MEAN) ** 2
    assert abs(float(w @ square) - SD**2) < Z * float((w**2 * (square - SD**2) ** 2).sum().sqrt())
    assert got.ess / 5000 > 0.2


def test_metropolis_of_the_rejection_loop():
    chain = metropolis_program(gaussian, {"detector": EASY}, 20_000, seed=6)
    mu = chain.theta[:, 0].numpy()
    for values, truth in ((mu, MEAN), ((mu - MEAN) ** 2, SD**2)):
        mean, error = batches(values)
        assert abs(mean - truth) < T49 * error and error < 0.1
    assert 0.2 < chain.accepted < 0.9


def wide(address, family, rng):
    """Propose u and v half in the square inside the circle, half as the prior: finite variance."""
    if not isinstance(family, families.Uniform):
        return None
    half = math.sqrt(0.5)
    value = rng.uniform(-1, 1) if rng.random() < 0.5 else rng.uniform(-half, half)
    return value, math.log(0.5 / 2 + 0.5 / (2 * half) * (abs(value) < half))


def circle_mass(inner, outer):
    """Integrate q(u) q(v) over the unit circle; q is ``inner`` where abs(u) < sqrt(1/2)."""
    u = (np.arange(200_000) + 0.5) / 200_000
    half, top = math.sqrt(0.5), np.sqrt(1 - u * u)
    above = np.minimum(top, half) * inner + np.maximum(top - half, 0) * outer
    return 4 * np.mean(np.where(u < half, inner, outer) * above)


def test_rejected_passes_belong_to_the_weight():
    """A proposal that rarely rejects: the whole trace is unbiased, its last pass alone is not.

    Without an observation log Z = 0. The last pass has the densities p / A_p and q / A_q, with A
    the probability that a pass is accepted: leaving the others out costs log(A_p / A_q).
    """
    recorder = Recorder(gaussian, {"detector": [1.0, 1.0]}, 7)
    traces = [recorder.run(wide) for _ in range(6000)]
    right = weighted(traces).log_weight - torch.tensor([t.log_likelihood for t in traces])
    last = [list(t.draws.values())[-2:] for t in traces]
    wrong = torch.tensor([sum(d.log_prob - d.log_proposal for d in pair) for pair in last])
    accept = circle_mass(0.25 + 0.5 / math.sqrt(2), 0.25)
    assert circle_mass(0.5, 0.5) == pytest.approx(math.pi / 4, abs=1e-6)
    missing = math.log(math.pi / 4 / accept)
    assert missing < -0.1
    for log_w, truth in ((right, 0.0), (wrong, missing)):
        w = log_w.double().exp().numpy()
        assert abs(w.mean() - math.exp(truth)) < Z * w.std() / math.sqrt(len(w))


# --- bad input


def test_a_global_generator_is_found_out():
    state = random.getstate()

    def legacy(rng):
        return rng.normal() + random.gauss(0, 1)

    def private(rng):
        return rng.normal() + np.random.default_rng().normal()

    for program in (legacy, private):
        with pytest.raises(UntracedRandomness, match="from the generator handed to it"):
            importance_program(program, {}, 10)
    random.setstate(state)


def test_an_address_that_changes_type():
    def program(rng):
        coin = rng.integers(2)
        return (rng.normal if coin else rng.uniform)()

    with pytest.raises(AddressChangedType, match=r"program@.*expected (Uniform|Normal) as before"):
        importance_program(program, {}, 100)


def test_an_observation_that_is_not_reached():
    with pytest.raises(ObservationNotReached, match="'telescope'.*expected 1 draws.*after 0"):
        importance_program(gaussian, {"telescope": 3.0}, 10)
    with pytest.raises(ObservationNotReached, match="'detector'.*expected 3 draws.*after 2"):
        importance_program(gaussian, {"detector": [1, 2, 3]}, 10)
    with pytest.raises(ObservationNotReached, match="'detector'.*made more"):
        importance_program(gaussian, {"detector": [1]}, 10)


def test_addresses_stay_when_python_warms_up():
    """Call offsets of a function move after some calls: line and column must not."""
    recorder = Recorder(walk, {"pointer": [4]}, 3)
    places = {a.split("#")[0] for _ in range(200) for a in recorder.run().draws}
    assert len(places) == 2


def test_a_loop_without_end_and_an_impossible_observation(monkeypatch):
    monkeypatch.setattr(tracing, "MAX_DRAWS", 1000)
    monkeypatch.setattr(programs, "MAX_STARTS", 100)

    def endless(rng):
        while rng.random() < 2:
            pass

    with pytest.raises(BudgetExceeded, match="1000 draws"):
        importance_program(endless, {}, 1)
    with pytest.raises(BudgetExceeded, match="no likelihood above zero"):
        metropolis_program(walk, {"pointer": [-1]}, 1)


def test_arguments():
    with pytest.raises(AttributeError, match=r"rng.gamma: not traced; .*uniform"):
        importance_program(lambda rng: rng.gamma(2.0), {}, 1)
    with pytest.raises(ValueError, match=r"expected valid parameters, got Normal\(.*-1"):
        importance_program(lambda rng: rng.normal(0, -1), {}, 1)
    with pytest.raises(TypeError, match="program: expected a function"):
        importance_program(3, {}, 1)
    with pytest.raises(TypeError, match="expected one number or equally many"):
        importance_program(lambda rng: [0.0] * int(rng.integers(1, 4)), {}, 40)
    with pytest.raises(ValueError, match="n: expected an integer >= 1, got 0"):
        metropolis_program(gaussian, {}, 0)
    with pytest.raises(ValueError, match="replace"):
        importance_program(lambda rng: rng.choice(3, size=2, replace=False), {}, 1)
    with pytest.raises(ValueError, match=r"p: expected shape \(3,\)"):
        importance_program(lambda rng: rng.choice(3, p=[0.5, 0.5]), {}, 1)
