"""The matrix-element weight against brute force, importance sampling and its own draws."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators import resonance as module
from lfi_helpers.simulators.resonance import Resonance

ALARM = 1e-6  # false-alarm probability of each statistical gate below


def at(mass, n=1):
    return torch.full((n, 1), float(mass), dtype=torch.float64)


def spectrum(m, peak):
    """Return the normalised density of the pair's mass; background if peak is None."""
    if peak is None:
        return np.exp(-(m - 40) / 50) / 50 / (1 - np.exp(-210 / 50))
    law = stats.cauchy(peak, 2.0)
    return law.pdf(m) / (law.cdf(250) - law.cdf(40))


def transfer(measured, e):
    return stats.norm.pdf(measured, e, np.sqrt(0.64 * e + (0.05 * e) ** 2 + 1))


def pair_by_brute_force(one, two, cosine, peak):
    """Integrate over both partons' energies on a plain grid: midpoints, no change of variables."""
    ends = [(max(0.01, e - 8 * (0.9 * e**0.5 + 1 + 0.05 * e)), 1.9 * e + 30) for e in (one, two)]
    grids = [low + (np.arange(1000) + 0.5) / 1000 * (high - low) for low, high in ends]
    e1, e2 = np.meshgrid(*grids, indexing="ij")
    m = np.sqrt(2 * e1 * e2 * (1 - cosine))
    chi = np.arccosh(np.maximum((e1 + e2) / m, 1 + 1e-12))
    # p(m) p(chi) p(k) over d(e1, e2, cos) / d(m, chi, k) = m^3 sinh^2(chi) / 2 e1 e2, p(k) = 1/2
    parton = spectrum(m, peak) * stats.maxwell.pdf(chi, scale=0.8) * e1 * e2
    parton = np.where((m > 40) & (m < 250), parton / (m**3 * np.sinh(chi) ** 2), 0)
    cell = np.prod([(high - low) / 1000 for low, high in ends])
    return (parton * transfer(one, e1) * transfer(two, e2)).sum() * cell


def by_brute_force(x, peak):
    total = 0.0
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        e = 20 + (np.arange(20_000) + 0.5) * 0.02
        third = (np.exp(-(e - 20) / 40) / 40 * transfer(x[k], e)).sum() * 0.02
        total += pair_by_brute_force(x[i], x[j], x[2 + i + j], peak) * third / 3
    gram = np.linalg.det(np.array([[1, x[3], x[4]], [x[3], 1, x[5]], [x[4], x[5], 1]]))
    return np.log(total / (2 * np.pi * np.sqrt(gram)))


@pytest.mark.parametrize("peak", [125, None])
def test_the_weight_is_the_integral_done_by_brute_force(peak):
    box = Resonance()
    x = torch.cat([box.sample_background(1, generator(0)), box.sample(at(120), generator(1))])
    got = box.background_log_prob(x) if peak is None else box.log_prob(x, at(peak, 2))
    exact = [by_brute_force(row, peak) for row in x.double().numpy()]
    assert np.abs(got.numpy() - exact).max() < 1e-3  # a sum of midpoints cuts the edges of m


def test_more_nodes_change_nothing(monkeypatch):
    box = Resonance()
    x = torch.cat([box.sample_background(60, generator(2)), box.sample(at(120, 60), generator(3))])
    few = box.log_ratio(x.double(), at(125, 120))
    monkeypatch.setattr(module, "NODES", 48)
    assert (box.log_ratio(x.double(), at(125, 120)) - few).abs().max() < 2e-4
    monkeypatch.setattr(module, "NODES", 8)
    assert (box.log_ratio(x.double(), at(125, 120)) - few).abs().max() > 1e-2


# --- the sampler and the absolute density: the same means by events and by an integral


def proposals(n, seed):
    """Draw energies with a heavy tail and three free directions; return them and log q."""
    hand = generator(seed)
    u = torch.rand(n, 3, generator=hand, dtype=torch.float64)
    energy = -5 + 70 * u / (1 - u)
    units = torch.randn(n, 3, 3, generator=hand, dtype=torch.float64)
    units = units / units.norm(dim=2, keepdim=True)
    cosine = torch.stack([(units[:, i] * units[:, j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))])
    log_q = (70 / (energy + 75).square()).log().sum(1)
    volume = torch.linalg.det(units).abs()  # square root of the Gram determinant
    return torch.cat([energy, cosine.T], 1), log_q - (4 * torch.pi * volume).log()


def probes(x):
    energy, cosine = x[:, :3], x[:, 3:]
    masses = (2 * energy[:, [0, 0, 1]] * energy[:, [1, 2, 2]] * (1 - cosine)).clamp(min=0).sqrt()
    near = (masses - 120).abs() < 20
    rows = [torch.ones(len(x)), near[:, 0], near.any(1), energy[:, 0] < 60, cosine[:, 2] < 0]
    rows += [energy.sum(1) < 250, masses.amin(1) < 60]
    return torch.stack([row.double() for row in rows], 1)


def transport_errors(log_prob, events, n=3000):
    """Compare E_q[p / q g(x)] with the mean of g over events: errors over the critical ones."""
    x, log_q = proposals(n, 4)
    carried = (log_prob(x) - log_q).exp()[:, None] * probes(x)
    seen = probes(events.double())
    variance = carried.var(0) / len(carried) + seen.var(0) / len(seen)
    z = (carried.mean(0) - seen.mean(0)) / variance.clamp(min=1e-12).sqrt()
    return z.abs() / stats.norm.isf(ALARM / 2 / len(z))


def signal(x, peak=120.0):
    return Resonance().log_prob(x, at(peak, len(x)))


def test_events_follow_the_exact_density():
    box = Resonance()
    assert transport_errors(signal, box.sample(at(120, 60_000), generator(5))).max() < 1
    background = box.sample_background(60_000, generator(6))
    assert transport_errors(box.background_log_prob, background, 9000).max() < 1


def test_a_density_with_a_factor_of_two_is_rejected():
    box = Resonance()
    events = box.sample_background(60_000, generator(6))
    twice = transport_errors(lambda x: box.background_log_prob(x) + np.log(2), events, 9000)
    assert twice.max() > 2


def ratio_errors(box, events, n=2500):
    """Compare E_background[r g(x)] with the mean of g over signal events."""
    x = box.sample_background(n, generator(7)).double()
    carried = box.log_ratio(x, at(120, n)).exp()[:, None] * probes(x)
    seen = probes(events.double())
    variance = carried.var(0) / n + seen.var(0) / len(seen)
    z = (carried.mean(0) - seen.mean(0)) / variance.sqrt()
    return z.abs().max() / stats.norm.isf(ALARM / 2 / len(z))


def test_the_weight_carries_background_to_signal(monkeypatch):
    box = Resonance()
    events = box.sample(at(120, 60_000), generator(8))
    assert ratio_errors(box, events) < 1
    assert ratio_errors(box, box.sample(at(150, 60_000), generator(8))) > 1.5  # another mass
    shuffled = box.sample(at(120, 60_000), generator(8))[:, [0, 1, 2, 4, 5, 3]]
    assert ratio_errors(box, shuffled) > 1.5  # angles that belong to other pairs
    monkeypatch.setattr(module, "PAIRS", ((0, 1, 2), (0, 1, 2), (0, 1, 2)))
    assert ratio_errors(box, events) > 1.3  # one pairing instead of three


def test_the_order_of_the_jets_does_not_matter():
    box = Resonance()
    x = box.sample(at(120, 20), generator(9)).double()
    log_prob = box.log_prob(x, at(120, 20))
    place = {(0, 1): 3, (0, 2): 4, (1, 2): 5}
    for order in permutations(range(3)):
        cosines = [place[tuple(sorted((order[i], order[j])))] for i, j in place]
        again = box.log_prob(x[:, [*order, *cosines]], at(120, 20))
        torch.testing.assert_close(again, log_prob, rtol=1e-6, atol=1e-6)
    wrong = box.log_prob(x[:, [1, 2, 0, 3, 4, 5]], at(120, 20))
    assert (wrong - log_prob).abs().max() > 1


def test_single_precision_and_strange_events_stay_finite():
    box, theta = load("resonance"), draw(Resonance().prior, 300, generator(10))
    x = box.sample(theta, generator(11))
    assert x.dtype == torch.float32
    torch.testing.assert_close(
        box.log_prob(x, theta).double(),
        box.log_prob(x.double(), theta.double()),
        rtol=1e-5,
        atol=0,
    )
    strange = torch.tensor(
        [[-3.0, 900, 20, 0, 0, 0.5], [50, 50, 50, 1, 0, 0], [5, 9, 2, -1, 1, -1]]
    )
    assert torch.isfinite(box.log_ratio(strange, at(125, 3))).all()


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.linspace(100, 150, 20, device="cpu")[:, None]

    def everything():
        box = Resonance()
        x = box.sample(theta, generator(12))
        return [x, box.sample_background(9, generator(13)), box.log_ratio(x, theta)]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(5)), r"theta: expected shape \(N, 1\), got \(5,\)"),
        (lambda b: b.sample(at(300)), "theta: expected masses between 40.0 and 250.0 GeV"),
        (lambda b: b.log_prob(torch.zeros(3, 5), at(90, 3)), r"x: expected shape \(N, 6\)"),
        (lambda b: b.log_prob(torch.zeros(3, 6), at(90, 2)), "x and theta: expected equally"),
        (lambda b: b.background_log_prob(torch.full((1, 6), 2.0)), "x: expected cosines"),
        (lambda b: b.background_log_prob(torch.full((1, 6), torch.nan)), "x: expected finite"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Resonance())
