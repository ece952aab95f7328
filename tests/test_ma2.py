"""The moving average: its likelihood against a dense Gaussian, its series and prior by KS.

Each statistical gate has a false alarm of 1e-6, whatever the seed.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import toeplitz

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load, simulate

ALARM = 1e-6
TASK = load("ma2")


def dense(theta, n=100):
    """Return the covariance of the series from the definition: M M^T of the noise's matrix."""
    m = np.zeros((n, n + 2))
    for t in range(n):
        m[t, t : t + 3] = theta[1], theta[0], 1
    return m @ m.T


def test_the_likelihood_is_that_of_a_dense_gaussian():
    theta, x = simulate(TASK, 30, seed=1)
    theta, x = theta.double(), x.double()
    expected = [
        stats.multivariate_normal(np.zeros(100), dense(t)).logpdf(y)
        for t, y in zip(theta.numpy(), x.numpy(), strict=True)
    ]
    log_p = TASK.log_prob(x, theta)
    np.testing.assert_allclose(log_p, expected, rtol=1e-9)
    single = TASK.log_prob(x.float(), theta.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, rtol=1e-4)
    assert abs(TASK.log_prob(x, theta * torch.tensor([1, -1])) - log_p).max() > 1


def test_the_covariance_has_two_side_diagonals():
    theta = torch.tensor([[0.6, 0.2]], dtype=torch.float64)
    assert np.allclose(dense(theta[0].numpy(), 5), toeplitz([1.4, 0.72, 0.2, 0, 0]))


def whitened(theta, x):
    """Return x^T Sigma^-1 x of each series: chi-squared with 100 degrees of freedom."""
    return np.einsum("nt,ts,ns->n", x, np.linalg.inv(dense(theta)), x)


def test_the_series_has_that_covariance():
    theta = torch.tensor([0.6, 0.2])
    x = TASK.sample(theta.expand(20_000, 2), generator(2)).double().numpy()
    gate = stats.kstwo.isf(ALARM, 20_000)
    right, wrong = (whitened(t, x) for t in ((0.6, 0.2), (0.6, -0.2)))
    assert stats.kstest(right, stats.chi2(100).cdf).statistic < gate
    assert stats.kstest(wrong, stats.chi2(100).cdf).statistic > gate
    first = x[:, 0] * x[:, 1] / 1.4  # stationary from the first number on: E = c1 / c0
    error = math.sqrt((1 + (0.72 / 1.4) ** 2) / 20_000)
    assert abs(first.mean() - 0.72 / 1.4) < stats.norm.isf(ALARM / 2) * error


def test_the_prior_is_uniform_on_the_triangle():
    theta = draw(TASK.prior, 20_000, generator(3)).double()
    assert TASK.prior.support.check(theta).all()
    # P(theta_2 < t) = ((1 + t) / 2)^2; given theta_2, theta_1 is uniform on +-(1 + theta_2)
    width = 1 + theta[:, 1]
    gate = stats.kstwo.isf(ALARM, 20_000)
    for u in ((width / 2) ** 2, (theta[:, 0] / width + 1) / 2):
        assert stats.kstest(u, stats.uniform().cdf).statistic < gate
    assert stats.kstest(width / 2, stats.uniform().cdf).statistic > gate  # not a parallelogram
    grid = torch.cartesian_prod(torch.linspace(-2.5, 2.5, 501), torch.linspace(-1.5, 1.5, 301))
    log_p = TASK.prior.log_prob(grid)
    assert log_p.exp().sum().item() * 1e-4 == pytest.approx(1, abs=0.02)
    assert torch.isneginf(
        TASK.prior.log_prob(torch.tensor([[0.0, 1.1], [1.9, 0.5], [-1, -0.1]]))
    ).all()


def test_the_likelihood_has_a_gradient():
    theta, x = simulate(TASK, 5, seed=4)
    theta, x = (0.9 * theta).double().requires_grad_(), x.double()
    (slope,) = torch.autograd.grad(TASK.log_prob(x, theta).sum(), theta)
    for i in range(2):
        step = 1e-6 * torch.eye(2, dtype=torch.float64)[i]
        rise = TASK.log_prob(x, theta.detach() + step) - TASK.log_prob(x, theta.detach() - step)
        torch.testing.assert_close(slope[:, i], rise / 2e-6, rtol=1e-5, atol=1e-5)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="n_times: expected an integer >= 3, got 2"):
        load("ma2", n_times=2)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 100\), got \(2, 99\)"):
        TASK.log_prob(torch.zeros(2, 99), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        TASK.log_prob(torch.zeros(3, 100), torch.zeros(2, 2))


def test_no_default_device_is_used(same_when_poisoned):
    theta, x = simulate(TASK, 4, seed=5)
    same_when_poisoned(lambda: load("ma2").log_prob(x, theta))
    same_when_poisoned(lambda: load("ma2").prior.log_prob(theta))
    same_when_poisoned(lambda: draw(load("ma2").prior, 3, generator(6)))
