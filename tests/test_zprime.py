"""The resonance over its background against brute-force integrals and its own draws."""

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators import zprime as module
from lfi_helpers.simulators.zprime import Zprime

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 100_000


def at(mass, n=1):
    return torch.full((n, 1), float(mass), dtype=torch.float64)


def spectrum(mass, m):
    """Return the density of the true mass: signal of mass m, background if m is None."""
    if m is None:
        return (mass - 345) / 160**2 * np.exp(-(mass - 345) / 160)
    peak = stats.norm.pdf(mass, m, 0.08 * m) / stats.norm.sf(345, m, 0.08 * m)
    return 0.7 * peak + 0.3 * np.where(mass < m, 2 * (mass - 345) / (m - 345) ** 2, 0)


def angle(c, m):
    if m is not None:
        return np.full_like(c, 0.5)
    return stats.norm.pdf(np.arctanh(c), scale=1.4) / (1 - c**2)


def brute_force(x, m):
    """Add up the density on 1000 masses and 2000 angles: another order, other variables."""
    step = np.linspace(0, 1, 1001)[1:] - 0.5 / 1000
    high = (m if m and x[0] < 0.8 * m else 2.2 * x[0]) + 0 * step
    mass = (345 + step * (high - 345))[:, None]
    phi = (np.linspace(0, 1, 2001)[1:] - 0.5 / 2000 - 0.5)[None] * np.pi
    c, area = np.sin(phi), np.cos(phi) * np.pi / 2000 * (high[0] - 345) / 1000
    speed, p = np.sqrt(1 - (345 / mass) ** 2), np.sqrt(mass**2 / 4 - 172.5**2)
    eta, pt = np.arctanh(speed * c), p * np.sqrt(1 - c**2)
    error = np.hypot(0.1 * pt, 10)
    density = spectrum(mass, m) * angle(c, m) * stats.norm.pdf(x[0], mass, 0.05 * mass)
    density = density * stats.norm.pdf(x[1], pt, error) * stats.norm.pdf(x[2], pt, error)
    a, b = x[3] - eta, x[4] + eta  # both Y + noise: two Gaussians with covariance 0.64
    variance, covariance = 0.64 + 0.01, 0.64
    determinant = variance**2 - covariance**2
    square = (variance * (a**2 + b**2) - 2 * covariance * a * b) / determinant
    density = density * np.exp(-square / 2) / (2 * np.pi * np.sqrt(determinant))
    return np.log((density * area).sum())


def measured_mass_excess(x, m):
    """Chi2 of the measured mass in 50 bins against its exact density, over its critical value."""
    mass = 345 + (np.arange(20_000) + 0.5) * 0.2
    weight = spectrum(mass, m) * 0.2
    edges = np.linspace(300, 2000, 51)
    height = [(weight * stats.norm.cdf(edge, mass, 0.05 * mass)).sum() for edge in edges]
    wanted = len(x) * np.diff(np.concatenate([[0], height, [weight.sum()]]))
    seen = np.bincount(np.searchsorted(edges, x[:, 0].numpy()), minlength=52)
    filled = wanted > 10
    chi2 = ((seen - wanted)[filled] ** 2 / wanted[filled]).sum()
    return chi2 / stats.chi2.isf(ALARM, filled.sum() - 1)


@pytest.mark.parametrize("m", [500, 1000, 1500, None])
def test_the_measured_mass_has_its_density(m):
    box = Zprime()
    x = box.sample_background(N, generator(0)) if m is None else box.sample(at(m, N), generator(0))
    assert measured_mass_excess(x, m) < 1


@pytest.mark.parametrize(
    ("name", "value", "m"),
    [("PEAK", 0.6, 1000), ("WIDTH", 0.07, 1000), ("FALL", 170.0, None), ("MASS_ERROR", 0.1, 500)],
)
def test_a_wrong_spectrum_is_rejected(name, value, m, monkeypatch):
    monkeypatch.setattr(module, name, value)
    box = Zprime()
    x = box.sample_background(N, generator(0)) if m is None else box.sample(at(m, N), generator(0))
    assert measured_mass_excess(x, m) > 2


@pytest.mark.parametrize("m", [500, 1000, None])
def test_the_density_is_the_integral_done_by_brute_force(m):
    box = Zprime()
    x = torch.cat([box.sample_background(2, generator(1)), box.sample(at(900, 2), generator(2))])
    got = box.background_log_prob(x) if m is None else box.log_prob(x, at(m, 4))
    exact = [brute_force(row, m) for row in x.double().numpy()]
    # the sum over midpoints has errors of its own where the tail of the spectrum ends
    assert np.abs(got.numpy() - exact).max() < 1e-3


def test_more_nodes_change_nothing(monkeypatch):
    box = Zprime()
    x = torch.cat([box.sample_background(90, generator(3)), box.sample(at(800, 90), generator(3))])
    few = box.log_ratio(x.double(), at(800, 180))
    monkeypatch.setattr(module, "NODES", 72)
    assert (box.log_ratio(x.double(), at(800, 180)) - few).abs().max() < 1e-3
    monkeypatch.setattr(module, "NODES", 12)
    assert (box.log_ratio(x.double(), at(800, 180)) - few).abs().max() > 1e-2


def probes(x):
    rows = [torch.ones(len(x)), x[:, 0] < 600, x[:, 1] < 150, (x[:, 3] - x[:, 4]).abs() < 1]
    rows += [(x[:, 1] + x[:, 2]) / x[:, 0] > 0.7, (x[:, 3] + x[:, 4]).abs() < 0.5]
    return torch.stack([row.double() for row in rows], 1)


def transport_errors(box, m, n=2000):
    """Compare E_background[r g(x)] with E_signal[g(x)]: standard errors over the critical ones."""
    background = box.sample_background(n, generator(4)).double()
    signal = probes(box.sample(at(m, 20 * n), generator(5)))
    carried = box.log_ratio(background, at(m, n)).exp()[:, None] * probes(background)
    variance = carried.var(0) / len(carried) + signal.var(0) / len(signal)
    z = (carried.mean(0) - signal.mean(0)) / variance.sqrt()
    return z.abs() / stats.norm.isf(ALARM / 2 / len(z))


def test_the_ratio_carries_background_to_signal():
    assert transport_errors(Zprime(), 600).max() < 1


class Upside(Zprime):
    """Background over signal."""

    def log_ratio(self, x, theta):
        return -super().log_ratio(x, theta)


class Elsewhere(Zprime):
    """The density of another mass."""

    def log_ratio(self, x, theta):
        return super().log_ratio(x, theta + 150)


@pytest.mark.parametrize("wrong", [Upside, Elsewhere])
def test_a_wrong_ratio_is_rejected(wrong):
    assert transport_errors(wrong(), 600).max() > 1.3


def test_single_precision_and_far_events_stay_finite():
    box, theta = load("zprime"), draw(Zprime().prior, 500, generator(6))
    x = box.sample(theta, generator(7))
    assert x.dtype == torch.float32
    torch.testing.assert_close(
        box.log_prob(x, theta).double(),
        box.log_prob(x.double(), theta.double()),
        rtol=1e-5,
        atol=0,
    )
    far = torch.tensor([[200.0, 0, 900, 4, 4], [5000.0, 2000, 5, -3, 3], [350.0, -40, 0, 0, 6]])
    assert torch.isfinite(box.log_ratio(far, at(1000, 3))).all()


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.linspace(500, 1500, 20, device="cpu")[:, None]

    def everything():
        box = Zprime()
        x = box.sample(theta, generator(8))
        return [x, box.sample_background(9, generator(9)), box.log_ratio(x, theta)]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(5)), r"theta: expected shape \(N, 1\), got \(5,\)"),
        (lambda b: b.sample(at(300)), "theta: expected masses above the threshold of 345"),
        (lambda b: b.log_prob(torch.zeros(3, 4), at(900, 3)), r"x: expected shape \(N, 5\)"),
        (lambda b: b.log_prob(torch.zeros(3, 5), at(900, 2)), "x and theta: expected equally"),
        (lambda b: b.background_log_prob(torch.full((1, 5), torch.nan)), "x: expected finite"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Zprime())
