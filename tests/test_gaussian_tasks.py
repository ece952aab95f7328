"""The Gaussian tasks against distribution functions and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 50_000
BOUND = stats.kstwo.isf(ALARM, N)
LINEAR = ("gaussian_linear", "gaussian_linear_uniform")


def distance(draws, cdf):
    """Return the Kolmogorov-Smirnov distance of one column of draws to a distribution."""
    return stats.kstest(draws.double().numpy(), cdf).statistic


def radius_cdf(square):
    """P(|x - theta|^2 < square) of the mixture: both coordinates share a component."""
    return 0.5 * stats.chi2.cdf(square, 2) + 0.5 * stats.chi2.cdf(square / 0.01, 2)


def mixture_residual(seed):
    task = load("gaussian_mixture")
    theta = torch.rand(N, 2, generator=generator(seed, 1)) * 20 - 10
    return (task.sample(theta, generator(seed)) - theta).double()


@pytest.mark.parametrize("name", LINEAR)
def test_the_noise_has_variance_one_tenth(name):
    theta = torch.linspace(-1, 1, 10).expand(N, 10)
    noise = load(name).sample(theta, generator(0)) - theta
    for i in range(10):
        assert distance(noise[:, i], stats.norm(scale=math.sqrt(0.1)).cdf) < BOUND
        assert distance(noise[:, i], stats.norm(scale=0.1).cdf) > BOUND  # a deviation of 0.1
    square = 10 * noise.double().square().sum(1)
    assert distance(square, stats.chi2(10).cdf) < BOUND  # and the components are independent


def test_the_prior_of_the_linear_task_has_variance_one_tenth():
    prior = load("gaussian_linear").prior
    assert prior.variance.tolist() == pytest.approx([0.1] * 10)
    box = load("gaussian_linear_uniform").prior.base_dist
    assert (box.low == -1).all() and (box.high == 1).all()


@pytest.mark.parametrize("name", LINEAR)
def test_the_density_is_the_product_of_normals(name):
    x, theta = torch.randn(2, 20, 10, generator=generator(1), dtype=torch.float64)
    expected = stats.norm.logpdf(x, theta, math.sqrt(0.1)).sum(1)
    np.testing.assert_allclose(load(name).log_prob(x, theta), expected, rtol=1e-12)


def test_the_mixture_draws_a_component_for_each_point_and_both_coordinates():
    square = mixture_residual(2).square().sum(1)
    assert distance(square, radius_cdf) < BOUND
    assert (
        distance(
            mixture_residual(2)[:, 0].atan2(mixture_residual(2)[:, 1]) / (2 * math.pi) + 0.5,
            "uniform",
        )
        < BOUND
    )


@pytest.mark.parametrize("fault", ["variance", "per coordinate", "per batch"])
def test_wrong_mixtures_are_rejected(fault):
    """0.1 as a variance, a coin for each coordinate, one coin for the batch (sbibm before 1.1)."""
    hand = generator(3)
    shape = {"variance": (N, 1), "per coordinate": (N, 2), "per batch": (1, 1)}[fault]
    narrow = math.sqrt(0.1) if fault == "variance" else 0.1
    deviation = torch.where(torch.rand(shape, generator=hand) < 0.5, 1.0, narrow)
    wrong = deviation * torch.randn(N, 2, generator=hand)
    assert distance(wrong.double().square().sum(1), radius_cdf) > BOUND


def test_the_density_of_the_mixture_integrates_to_one_and_is_the_samplers():
    r = torch.linspace(0, 10, 100_001, dtype=torch.float64)
    direction = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    theta = torch.tensor([[3.0, -2.0]], dtype=torch.float64).expand(len(r), 2)
    density = load("gaussian_mixture").log_prob(theta + r[:, None] * direction, theta).exp()
    ring = 2 * math.pi * r * density
    cumulative = torch.cumulative_trapezoid(ring, r)
    assert cumulative[-1].item() == pytest.approx(1, abs=1e-6)
    expected = radius_cdf(r[1:].square().numpy())
    np.testing.assert_allclose(cumulative.numpy(), expected, atol=1e-6)


# One point inside, one near a wall, one outside: where walls matter most.
OBSERVED = torch.tensor([0.0, 0.3, -0.95, 1.0, 1.6, -2.5, 0.5, -0.1, 0.9, 4.0])


def test_the_posterior_of_the_linear_task_is_normal():
    draws = load("gaussian_linear").posterior_samples(OBSERVED, N, generator(4))
    for i in range(10):
        cdf = stats.norm(OBSERVED[i].item() / 2, math.sqrt(0.05)).cdf
        assert distance(draws[:, i], cdf) < BOUND
        assert distance(draws[:, i], stats.norm(OBSERVED[i].item() / 2, 0.05).cdf) > BOUND
    square = ((draws - OBSERVED / 2).double().square() / 0.05).sum(1)
    assert distance(square, stats.chi2(10).cdf) < BOUND


def test_the_posterior_between_walls_is_a_truncated_normal():
    draws = load("gaussian_linear_uniform").posterior_samples(OBSERVED, N, generator(5))
    deviation = math.sqrt(0.1)
    for i, x in enumerate(OBSERVED.tolist()):
        truncated = stats.truncnorm((-1 - x) / deviation, (1 - x) / deviation, x, deviation)
        assert distance(draws[:, i], truncated.cdf) < BOUND
    clipped = (OBSERVED + deviation * torch.randn(N, 10, generator=generator(6))).clamp(-1, 1)
    truncated = stats.truncnorm((-1 - 0.9) / deviation, 0.1 / deviation, 0.9, deviation)
    assert distance(clipped[:, 8], truncated.cdf) > BOUND


@pytest.mark.parametrize("x", [(1.0, -3.0), (9.95, 9.9), (10.3, -9.0), (-12.0, 0.0)])
def test_the_posterior_of_the_mixture_is_its_quadrature(x):
    """Both marginals and the corner's share, by the trapezoidal rule on a grid of the box."""
    task, x = load("gaussian_mixture"), torch.tensor(x, dtype=torch.float64)
    draws = task.posterior_samples(x, N, generator(7))
    assert (task.prior.log_prob(draws) > -math.inf).all()
    edges = [torch.linspace(max(-10, v - 7), min(10, v + 7), 1201).double() for v in x.tolist()]
    grid = torch.cartesian_prod(*edges)
    density = task.log_prob(x.expand(len(grid), 2), grid).exp().reshape(1201, 1201)
    for i in (0, 1):
        marginal = torch.trapezoid(density, edges[1 - i], dim=1 - i)
        cumulative = torch.cumulative_trapezoid(marginal, edges[i])
        cumulative = torch.cat([torch.zeros(1).double(), cumulative]) / cumulative[-1]

        def cdf(value, i=i, cumulative=cumulative):
            return np.interp(value, edges[i].numpy(), cumulative.numpy())

        assert distance(draws[:, i], cdf) < BOUND


def test_a_mixture_whose_weights_forget_the_walls_is_rejected():
    """At a corner the narrow component keeps more of itself inside than the wide one."""
    x = torch.tensor([9.8, 9.8])
    draws = load("gaussian_mixture").posterior_samples(x, N, generator(8)).double()
    inside = [stats.norm.cdf(0.2, scale=s) - stats.norm.cdf(-19.8, scale=s) for s in (1.0, 0.1)]
    near = [stats.norm.cdf(0.2, scale=s) - stats.norm.cdf(-0.5, scale=s) for s in (1.0, 0.1)]
    weight = np.array(inside) ** 2 / (np.array(inside) ** 2).sum()
    share = (weight * (np.array(near) / inside) ** 2).sum()
    wrong = (0.5 * (np.array(near) / inside) ** 2).sum()
    got = int((draws > 9.3).all(1).sum())
    low, high = stats.binom(N, share).interval(1 - ALARM)
    assert low <= got <= high
    assert not low <= N * wrong <= high


def test_an_observation_that_the_prior_cannot_reach_is_refused():
    far = torch.full((10,), 20.0)
    with pytest.raises(ValueError, match="x_obs: expected a point within 37 standard dev"):
        load("gaussian_linear_uniform").posterior_samples(far, 10)
    with pytest.raises(ValueError, match="x_obs: expected a point within 37 standard dev"):
        load("gaussian_mixture").posterior_samples(torch.tensor([60.0, 0.0]), 10)
    load("gaussian_mixture").posterior_samples(torch.tensor([40.0, 0.0]), 10, generator(9))
