"""The shower: multiplicities, angles and densities against closed forms, and planted faults."""

from math import lgamma

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators import shower as module
from lfi_helpers.simulators.shower import Shower

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 50_000
MEAN = 8 / 3 / np.pi * (3 * np.log(10)) ** 2  # multiplicity per unit of coupling


def at(coupling, n):
    return torch.full((n, 1), float(coupling), dtype=torch.float64)


def chi2_p_value(box, coupling, truth):
    """Return the p-value of sampled multiplicities, rare ones joined, given the true chances."""
    n = box.sequence(box.sample(at(coupling, N), generator(0)))[1].numpy()
    seen, wanted = np.bincount(n, minlength=21), N * np.asarray(truth)
    often = wanted > 10
    seen = np.append(seen[often], seen[~often].sum())
    wanted = np.append(wanted[often], wanted[~often].sum())
    return stats.chi2.sf(((seen - wanted) ** 2 / wanted).sum(), len(seen) - 1)


def poisson(coupling):
    law = stats.poisson(MEAN * coupling)
    return np.append(law.pmf(np.arange(20)), law.sf(19))


@pytest.mark.parametrize("coupling", [0.08, 0.14, 0.4])  # at 0.4 a quarter is cut off at twenty
def test_multiplicities_have_their_distribution(coupling):
    box = Shower()
    log_p = box.multiplicity_log_prob(torch.arange(21.0), at(coupling, 21))
    np.testing.assert_allclose(log_p.exp().numpy(), poisson(coupling), rtol=1e-9, atol=1e-300)
    assert log_p.exp().sum() == pytest.approx(1, abs=1e-12)
    assert chi2_p_value(box, coupling, log_p.exp().numpy()) > ALARM


def test_a_wrong_multiplicity_is_rejected(monkeypatch):
    truth = poisson(0.14)
    monkeypatch.setattr(module, "RATE", 1.02 * module.RATE)
    assert chi2_p_value(Shower(), 0.14, truth) < ALARM


def smallest_p_value(box, coupling):
    """Kolmogorov-Smirnov of the logarithms and azimuths, which are uniform whatever their number.

    Of showers that were not cut off: given n, the angles are n independent uniform numbers.
    """
    rows, n = box.sequence(box.sample(at(coupling, 20_000), generator(1)))
    whole = rows[n < 20]
    ln_t, ln_z, cos, sin = whole[whole[..., 0] < 0].numpy().T
    first = -rows[:, 0, 0][n > 0].numpy()
    decades = 3 * np.log(10)
    tests = [
        stats.kstest(-ln_t / decades, "uniform"),
        stats.kstest(-ln_z / decades, "uniform"),
        stats.kstest(np.arctan2(sin, cos) / 2 / np.pi + 0.5, "uniform"),
        stats.kstest(first, stats.truncexpon(MEAN * coupling, 0, decades / MEAN / coupling).cdf),
    ]
    return min(test.pvalue for test in tests) * len(tests)


def test_gluons_fill_the_lund_plane_evenly_and_the_first_one_waits_exponentially():
    assert smallest_p_value(Shower(), 0.14) > ALARM


@pytest.mark.parametrize("fault", ["rand", "cumsum"])
def test_a_wrong_plane_is_rejected(fault, monkeypatch):
    if fault == "rand":  # uniform numbers that are not
        right = torch.rand
        monkeypatch.setattr(torch, "rand", lambda *shape, **how: right(*shape, **how) ** 1.05)
    else:  # gaps that are not added up: every angle is like the first
        monkeypatch.setattr(torch.Tensor, "cumsum", lambda gap, dim: gap.sort(dim).values)
    assert smallest_p_value(Shower(), 0.14) < ALARM


def test_rows_fall_in_angle_and_nothing_follows_the_last():
    rows, n = Shower().sequence(Shower().sample(at(0.3, 2000), generator(2)))
    present = torch.arange(20) < n[:, None]
    assert 15 < n.max() <= 20 and n.min() >= 0
    assert ((rows[..., 0] < 0) == present).all() and (rows[~present] == 0).all()
    assert ((rows[..., 0].diff(dim=1) < 0) | ~present[:, 1:]).all()
    assert rows[..., :2].min() >= -3 * np.log(10) - 1e-5


def test_the_density_integrates_to_the_multiplicity():
    """The integral of p(x) over n ordered ln t, n ln z and n phi is V^n / n! times p(x)."""
    box, coupling = Shower(), 0.2
    x = box.sample(at(coupling, 3000), generator(3))
    n = box.sequence(x)[1]
    log_volume = 2 * torch.tensor(3 * np.log(10)).log() + np.log(2 * np.pi)
    integral = box.log_prob(x, at(coupling, 3000)) + n * log_volume - torch.lgamma(n + 1.0)
    wanted = box.multiplicity_log_prob(n, at(coupling, 3000))
    short = n < 20
    assert short.sum() > 2900
    assert (integral - wanted)[short].abs().max() < 1e-5  # lgamma in single precision


def test_a_shower_that_is_cut_off_counts_the_angles_it_looked_at():
    """At twenty the integral over the first 19 angles leaves tau^19 / 19!: a gamma density."""
    box, coupling = Shower(), 0.5
    x = box.sample(at(coupling, 2000), generator(4))
    rows, n = box.sequence(x)
    full = n == 20
    assert full.sum() > 500
    tau = -rows[full, -1, 0].numpy()
    rate = MEAN / (3 * np.log(10)) * coupling
    wanted = stats.gamma(20, scale=1 / rate).logpdf(tau)
    log_volume = 19 * np.log(tau) - lgamma(20)
    integral = box.log_prob(x, at(coupling, 2000))[full].numpy() + log_volume
    integral = integral + 20 * np.log(2 * np.pi * 3 * np.log(10))
    np.testing.assert_allclose(integral, wanted, atol=1e-5)
    assert stats.kstest(tau, lambda v: _gamma_below(v, rate)).pvalue > ALARM


def _gamma_below(tau, rate):
    law = stats.gamma(20, scale=1 / rate)
    return law.cdf(tau) / law.cdf(3 * np.log(10))


def test_impossible_events_have_no_density():
    box = Shower()
    good = box.sample(at(0.14, 200), generator(5))
    good = good[box.sequence(good)[1] >= 3][:1]
    ruined = good.repeat(6, 1).unflatten(1, (20, 4))
    ruined[1, :2] = ruined[1, :2].flip(0).clone()  # angles rise
    ruined[2, 0, 0] = 0.0  # a hole at the front
    ruined[3, 2, 0] = -7.0  # smaller than any angle: last or not
    ruined[4, 0, 1] = 0.1  # more than all the energy
    ruined[5, 0, 1] = -7.0
    got = box.log_prob(ruined.flatten(1), at(0.14, 6))
    assert got.isneginf().tolist() == [False] + 5 * [True]
    n = torch.tensor([-1.0, 2.5, 21.0, 20.0])
    assert box.multiplicity_log_prob(n, at(0.14, 4)).isneginf().tolist() == 3 * [True] + [False]


def test_it_is_registered_and_independent_of_the_default_device(same_when_poisoned):
    box = load("shower")
    assert (box.theta_dim, box.x_dim) == (1, 80)
    theta = at(0.14, 64)
    x = box.sample(theta, generator(6))
    same_when_poisoned(lambda: (box.log_prob(x, theta), *box.sequence(x)))
    n = box.sequence(x)[1]
    same_when_poisoned(lambda: box.multiplicity_log_prob(n, theta))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda box: box.sample(at(0, 3)), "theta: expected couplings above 0, got 0.0"),
        (lambda box: box.sample(torch.ones(3)), r"theta: expected shape \(N, 1\)"),
        (lambda box: box.sequence(torch.ones(3, 79)), r"x: expected shape \(N, 80\)"),
        (lambda box: box.sequence(torch.full((1, 80), torch.nan)), "x: expected finite"),
        (lambda box: box.log_prob(torch.ones(3, 80), at(0.1, 2)), "x and theta: expected equally"),
        (
            lambda box: box.multiplicity_log_prob(torch.ones(3), at(0.1, 2)),
            "n and theta: expected equally",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Shower())
