"""SLCP against multivariate normals and against quadrature in all five dimensions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators import slcp as module
from lfi_helpers.simulators.references import ReferenceFailed

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 20_000


@pytest.fixture
def task():
    return load("slcp")


def covariance(theta):
    """Return S of each theta, written out: (N, 2, 2)."""
    s_1, s_2, rho = theta[:, 2] ** 2, theta[:, 3] ** 2, theta[:, 4].tanh()
    rows = [s_1**2 + 1e-6, rho * s_1 * s_2, rho * s_1 * s_2, s_2**2 + 1e-6]
    return torch.stack(rows, 1).reshape(-1, 2, 2)


def test_the_density_is_that_of_four_normal_points(task):
    theta = draw(task.prior, 200, generator(0)).double()
    x = task.sample(theta, generator(1))
    expected = [
        stats.multivariate_normal(m, s).logpdf(points).sum()
        for m, s, points in zip(
            theta[:, :2].numpy(),
            covariance(theta).numpy(),
            x.reshape(-1, 4, 2).numpy(),
            strict=True,
        )
    ]
    np.testing.assert_allclose(task.log_prob(x, theta), expected, rtol=1e-9)


def test_single_precision_keeps_the_density_where_the_correlation_is_extreme(task):
    theta = draw(task.prior, 2000, generator(2))
    theta[:, 4] = theta[:, 4].sign() * 2.9  # 1 - rho^2 = 0.012
    theta[:, 2:4] = theta[:, 2:4].abs() + 0.3
    x = task.sample(theta, generator(3))
    error = task.log_prob(x, theta) - task.log_prob(x.double(), theta.double())
    assert error.abs().max() < 0.05
    assert error.abs().median() < 1e-4


def whitened(task, fault=None):
    """Return (x - m) of every point times the inverse Cholesky factor of S: normal numbers."""
    theta = draw(task.prior, N, generator(4)).double()
    x = task.sample(theta, generator(5))
    if fault == "points after each other":
        x = x.reshape(-1, 4, 2).mT.flatten(1)
    if fault == "theta_3 as a deviation":
        theta = torch.cat([theta[:, :2], theta[:, 2:4].abs().sqrt(), theta[:, 4:]], 1)
    if fault == "rho without tanh":
        theta = torch.cat([theta[:, :4], (theta[:, 4:] / 3).atanh()], 1)
    points = x.reshape(-1, 4, 2) - theta[:, None, :2]
    factor = torch.linalg.cholesky(covariance(theta))
    return torch.linalg.solve_triangular(factor, points.mT, upper=False).mT.reshape(-1, 8)


def is_normal(noise):
    square = noise.square().sum(1)
    bound = stats.kstwo.isf(ALARM, N)
    columns = [stats.kstest(column.numpy(), "norm").statistic < bound for column in noise.mT]
    return all(columns) and stats.kstest(square.numpy(), stats.chi2(8).cdf).statistic < bound


def test_the_sampler_draws_four_points_of_the_normal(task):
    assert is_normal(whitened(task))


@pytest.mark.parametrize(
    "fault", ["points after each other", "theta_3 as a deviation", "rho without tanh"]
)
def test_wrong_samplers_are_rejected(task, fault):
    assert not is_normal(whitened(task, fault))


# Points whose posterior is wide enough for a grid of 20 x 20 x 16 x 16 x 24 to resolve it.
OBSERVED = torch.tensor([0.5, -1.0, 1.5, 2.5, -2.0, 0.5, 3.0, -0.5])


@pytest.fixture(scope="module")
def quadrature():
    """Return E theta, E theta^2 of the posterior (|theta_3|, |theta_4|) by the midpoint rule."""
    task = load("slcp")

    def middle(low, high, n):
        return low + (high - low) / n * (torch.arange(n, dtype=torch.float32) + 0.5)

    mean, shape, angle = middle(-3, 3, 20), middle(0, 3, 16), middle(-3, 3, 24)
    axes = (mean, mean, shape, shape, angle)
    rest = torch.cartesian_prod(*axes[1:])
    x = OBSERVED.expand(len(rest), 8)
    log_p = torch.cat(
        [task.log_prob(x, torch.cat([m.expand(len(rest), 1), rest], 1)) for m in mean]
    ).double()
    weight = torch.softmax(log_p, 0).reshape([len(axis) for axis in axes])
    marginal = [weight.sum([j for j in range(5) if j != i]) for i in range(5)]
    return [
        [(w * a.double() ** k).sum() for w, a in zip(marginal, axes, strict=True)] for k in (1, 2)
    ]


def z_scores(draws, moments):
    """Return how far the mean and the mean square of draws are from the truth, in errors."""
    draws = draws.double().clone()
    draws[:, 2:4] = draws[:, 2:4].abs()
    return torch.stack(
        [
            (draws**k - torch.stack(truth)).mean(0) / (draws**k).std(0) * math.sqrt(len(draws))
            for k, truth in zip((1, 2), moments, strict=True)
        ]
    )


def test_the_posterior_has_the_moments_of_its_quadrature(task, quadrature):
    draws = task.posterior_samples(OBSERVED, N, generator(6))
    assert z_scores(draws, quadrature).abs().max() < stats.norm.isf(ALARM / 2)
    assert (task.prior.log_prob(draws) > -math.inf).all()
    for column in (2, 3):  # the signs are fair coins, also together
        low, high = stats.binom(N, 0.5).interval(1 - ALARM)
        assert low <= int((draws[:, column] > 0).sum()) <= high
    assert low <= int((draws[:, 2] * draws[:, 3] > 0).sum()) <= high


@pytest.mark.parametrize("degrees", [1.5, 3.5])
def test_a_conjugate_posterior_with_the_wrong_prior_is_rejected(
    task, quadrature, degrees, monkeypatch
):
    """5/2 degrees of freedom are what a uniform theta_3, theta_4, theta_5 leaves."""
    monkeypatch.setattr(module, "DEGREES", degrees)
    draws = task.posterior_samples(OBSERVED, N, generator(7))
    assert z_scores(draws, quadrature).abs().max() > stats.norm.isf(ALARM / 2)


def test_observations_without_a_reference_are_refused(task):
    line = torch.arange(8.0)
    with pytest.raises(ValueError, match="x_obs: expected points that span the plane, got"):
        task.posterior_samples(line, 10, generator(8))
    with pytest.raises(ReferenceFailed, match="x_obs is too improbable"):
        task.posterior_samples(OBSERVED + 40, 10, generator(9))
