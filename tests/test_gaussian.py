"""Readings of one mean: density, posterior, and what is known when the mean is only nearly known.

Truths are scipy's densities and adaptive quadrature. Each statistical gate has a false alarm of
1e-6, whatever the seed.
"""

import math

import pytest
import torch
from scipy import integrate, stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6
TASK = load("gaussian")


def test_readings_are_normal_around_theta_and_independent():
    x = TASK.sample(torch.full((5000, 1), -0.7), generator(0)).double()
    gate = stats.kstwo.isf(ALARM, x.numel())
    assert stats.kstest(x.flatten(), stats.norm(-0.7).cdf).statistic < gate
    assert stats.kstest(x.flatten(), stats.norm(-0.6).cdf).statistic > gate
    means = stats.kstest(x.mean(1), stats.norm(-0.7, 10**-0.5).cdf).statistic
    assert means < stats.kstwo.isf(ALARM, 5000)


def test_the_density_is_the_product_of_normals():
    hand = generator(1)
    theta, x = (torch.randn(7, d, generator=hand).double() for d in (1, 10))
    expected = stats.norm(theta.numpy()).logpdf(x.numpy()).sum(1)
    torch.testing.assert_close(TASK.log_prob(x, theta), torch.from_numpy(expected))


def test_the_posterior_is_conjugate():
    x_obs = torch.linspace(-1, 2.6, 10)
    draws = TASK.posterior_samples(x_obs, 5000, generator(2))
    assert draws.shape == (5000, 1)
    exact, wrong = stats.norm(8 / 11, 11**-0.5), stats.norm(0.8, 10**-0.5)  # without the prior
    gate = stats.kstwo.isf(ALARM, 5000)
    assert stats.kstest(draws[:, 0].double(), exact.cdf).statistic < gate
    assert stats.kstest(draws[:, 0].double(), wrong.cdf).statistic > gate


def brute_force(epsilon, n=10):
    """Return P, mean, sd and P(theta < 1) given |m - 0.8| <= epsilon by integrating over theta."""
    s = n**-0.5

    def joint(t, power):
        window = stats.norm.cdf((0.8 + epsilon - t) / s) - stats.norm.cdf((0.8 - epsilon - t) / s)
        return stats.norm.pdf(t) * window * t**power

    def integral(power, high=9.0):
        return integrate.quad(joint, -9, high, (power,), points=[0.8], epsabs=1e-13)[0]

    p, first, second = (integral(power) for power in range(3))
    return p, first / p, math.sqrt(second / p - (first / p) ** 2), integral(0, 1.0) / p


@pytest.mark.parametrize("epsilon", [0.02, 0.5, 3.0])
def test_the_posterior_near_an_observation_is_the_integral(epsilon):
    p, mean, sd, below = brute_force(epsilon)
    assert TASK.near(0.8, epsilon) == pytest.approx(p, rel=1e-9)
    assert TASK.near_moments(0.8, epsilon) == pytest.approx((mean, sd), rel=1e-9)
    cdf = TASK.near_cdf(torch.tensor([1.0]), 0.8, epsilon)
    assert cdf.item() == pytest.approx(below, rel=1e-9)


def test_a_wide_window_knows_the_prior_and_a_narrow_one_the_posterior():
    theta = torch.linspace(-3, 3, 31, dtype=torch.float64)
    prior, posterior = stats.norm().cdf(theta), stats.norm(8 / 11, 11**-0.5).cdf(theta)
    assert abs(TASK.near_cdf(theta, 0.8, 100.0).numpy() - prior).max() < 1e-6
    assert abs(TASK.near_cdf(theta, 0.8, 1e-5).numpy() - posterior).max() < 1e-6
    assert TASK.near(0.8, 100.0) == pytest.approx(1)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="n_obs: expected an integer >= 1, got 0"):
        load("gaussian", n_obs=0)
    with pytest.raises(ValueError, match="epsilon: expected a number > 0, got 0"):
        TASK.near(0.8, 0)
    with pytest.raises(ValueError, match="mean_obs: expected a mean within 10 prior deviations"):
        TASK.near(80.0, 0.1)
    with pytest.raises(ValueError, match=r"x_obs: expected one observation \(10,\) or \(1, 10\)"):
        TASK.posterior_samples(torch.zeros(3), 5)
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        TASK.log_prob(torch.zeros(3, 10), torch.zeros(2, 1))


def test_no_default_device_is_used(same_when_poisoned):
    x, theta = torch.zeros(3, 10), torch.ones(3, 1)
    same_when_poisoned(lambda: TASK.log_prob(x, theta))
    same_when_poisoned(lambda: TASK.posterior_samples(x[0], 5, generator(4)))
    same_when_poisoned(lambda: TASK.near_cdf(theta[:, 0], 0.8, 0.3))
    same_when_poisoned(lambda: load("gaussian").near_moments(0.8, 0.3))
