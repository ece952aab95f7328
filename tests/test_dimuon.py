"""The muon pair's densities: against its own draws, autograd's Jacobian and planted faults."""

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import dimuon as module
from lfi_helpers.simulators import load
from lfi_helpers.simulators.dimuon import Dimuon

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 50_000


def at(mass, n):
    return torch.full((n, 1), float(mass), dtype=torch.float64)


def events(box, mass, n=N):
    """Return events of a resonance of this mass, of the continuum if it is None, in float64."""
    if mass is None:
        return box.sample_background(n, generator(0)).double()
    return box.sample(at(mass, n), generator(0))


def smallest_p_value(box, mass):
    """Kolmogorov-Smirnov of m, c, pT and y against their closed distribution functions."""
    x = events(box, mass)
    m, c = box.high_level(x).numpy().T
    p = x.numpy().reshape(-1, 2, 3)
    pair, energy = p.sum(1), np.linalg.norm(p, axis=2).sum(1)
    cumulative = (2 + 3 * c - c**3) / 4 if mass else (4 + 3 * c + c**3) / 8
    of_m = stats.truncnorm((40 - mass) / 12, np.inf, mass, 12) if mass else stats.expon(40, 50)
    tests = [
        stats.kstest(m, of_m.cdf),
        stats.kstest(cumulative, "uniform"),
        stats.kstest(np.hypot(*pair.T[:2]), stats.rayleigh(scale=30).cdf),
        stats.kstest(np.arctanh(pair[:, 2] / energy), stats.norm(scale=0.7).cdf),
        stats.kstest(np.arctan2(*pair.T[1::-1]) / 2 / np.pi + 0.5, "uniform"),
    ]
    return min(test.pvalue for test in tests) * len(tests)


@pytest.mark.parametrize("mass", [70.0, 90.0, None])
def test_mass_angle_and_motion_have_their_distributions(mass):
    assert smallest_p_value(load("dimuon"), mass) > ALARM


@pytest.mark.parametrize(
    ("name", "value", "mass"),
    [("WIDTH", 13.0, 90.0), ("FALL", 55.0, None), ("PT", 33.0, None), ("RAPIDITY", 0.8, 90.0)],
)
def test_a_wrong_distribution_is_rejected(name, value, mass, monkeypatch):
    monkeypatch.setattr(module, name, value)
    assert smallest_p_value(Dimuon(), mass) < ALARM


def latents(n=200):
    u = torch.rand(n, 6, generator=generator(1), dtype=torch.float64)
    low = torch.tensor([45.0, -0.9, 5.0, -1.5, 0.0, 0.0], dtype=torch.float64)
    high = torch.tensor([150.0, 0.9, 90.0, 1.5, 6.0, 6.0], dtype=torch.float64)
    return low + u * (high - low)


def log_density_of(latent, mass):
    m, c, pt, y = latent.numpy().T[:4]
    if mass is None:
        shape = stats.expon(40, 50).logpdf(m) + np.log(3 / 8 * (1 + c**2))
    else:
        of_m = stats.truncnorm((40 - mass) / 12, np.inf, mass, 12)
        shape = of_m.logpdf(m) + np.log(3 / 4 * (1 - c**2))
    motion = stats.rayleigh(scale=30).logpdf(pt) + stats.norm(scale=0.7).logpdf(y)
    return shape + motion - 2 * np.log(2 * np.pi)


@pytest.mark.parametrize("mass", [90.0, None])
def test_the_density_is_that_of_the_hidden_numbers_over_the_jacobian(mass):
    box, latent = Dimuon(), latents()
    x = module._momenta(latent)
    jacobian = torch.autograd.functional.jacobian(lambda v: module._momenta(v).sum(0), latent)
    volume = torch.linalg.slogdet(jacobian.permute(1, 0, 2)).logabsdet.numpy()
    got = box.background_log_prob(x) if mass is None else box.log_prob(x, at(mass, len(x)))
    assert np.abs(got.numpy() - (log_density_of(latent, mass) - volume)).max() < 1e-9
    assert (box.high_level(x) - latent[:, :2]).abs().max() < 1e-9


def test_the_ratio_is_that_of_the_densities_and_carries_one_into_the_other():
    box = Dimuon()
    background, signal = events(box, None), events(box, 90.0)
    log_r = box.log_ratio(background, at(90, N))
    difference = box.log_prob(background, at(90, N)) - box.background_log_prob(background)
    assert (log_r - difference).abs().max() < 1e-9

    def probes(x):
        m, c = box.high_level(x).T
        rows = [torch.ones_like(m), m < 85, m > 110, c.abs() < 0.5, x[:, 0] > 20]
        return torch.stack([row.double() for row in rows], 1)

    def pulls(log_r):
        carried, wanted = log_r.exp()[:, None] * probes(background), probes(signal)
        variance = (carried.var(0) + wanted.var(0)) / N
        return (carried.mean(0) - wanted.mean(0)) / variance.sqrt()

    critical = stats.norm.isf(ALARM / 2 / 5)
    assert pulls(log_r).abs().max() < critical
    square = box.high_level(background)[:, 1] ** 2
    of_mass_alone = log_r - torch.log(2 * (1 - square) / (1 + square))
    assert pulls(of_mass_alone).abs().max() > critical


def test_nothing_is_below_the_lowest_mass():
    box, latent = Dimuon(), latents(2)
    latent[:, 0] = torch.tensor([39.0, 41.0])
    x = module._momenta(latent)
    assert box.log_prob(x, at(90, 2)).isneginf().tolist() == [True, False]
    assert box.background_log_prob(x).isneginf().tolist() == [True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda box: box.sample(at(40, 3)), "theta: expected masses above 40.0 GeV, got 40.0"),
        (lambda box: box.high_level(torch.ones(3, 5)), r"x: expected shape \(N, 6\)"),
        (lambda box: box.log_prob(torch.ones(3, 6), at(90, 2)), "x and theta: expected equally"),
        (lambda box: box.log_ratio(torch.ones(1, 6) / 0, at(90, 1)), "x: expected finite"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Dimuon())
