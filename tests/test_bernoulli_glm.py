"""The Bernoulli GLM against spike trains, closed-form moments and a Markov chain."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.bernoulli_glm import STIMULUS

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 20_000


@pytest.fixture
def task():
    return load("bernoulli_glm")


def design(fault=None):
    """Return V written out: V_t = (1, I_t, I_{t-1}, ..., I_{t-8})."""
    rows = []
    for t in range(100):
        lags = [t + lag if fault == "future" else t - lag for lag in range(9)]
        if fault == "cyclic":
            lags = [lag % 100 for lag in lags]
        rows.append([1.0] + [STIMULUS[i] if 0 <= i < 100 else 0.0 for i in lags])
    return torch.tensor(rows, dtype=torch.float64)


def test_the_stimulus_is_the_published_one():
    numbers = np.random.RandomState(42).randn(100).astype(np.float32)  # noqa: NPY002
    np.testing.assert_array_equal(np.array(STIMULUS, dtype=np.float32), numbers)


def test_the_prior_is_smooth(task):
    """F = D^2 + diag(sqrt(i / 9)), written out for the corner, and a variance of 2."""
    covariance = task.prior.covariance_matrix
    precision = torch.linalg.inv(covariance.double())
    assert covariance[0, 0].item() == pytest.approx(2, rel=1e-6)
    # Columns of F: (1, -2, 1, 0 ...), (0, 1 + 1/3, -2, 1, 0 ...), ..., (0 ... 1 + sqrt(8 / 9)).
    corner = [[6.0, -2 * (4 / 3) - 2, 1.0 + math.sqrt(2) / 3], [0, (4 / 3) ** 2 + 5, 0]]
    assert precision[1, 1].item() == pytest.approx(corner[0][0], rel=1e-4)
    assert precision[1, 2].item() == pytest.approx(corner[0][1], rel=1e-4)
    assert precision[1, 3].item() == pytest.approx(corner[0][2], rel=1e-4)
    assert precision[2, 2].item() == pytest.approx(corner[1][1], rel=1e-4)
    assert precision[9, 9].item() == pytest.approx((1 + math.sqrt(8 / 9)) ** 2, rel=1e-4)


def test_the_density_is_the_probability_of_the_spike_train(task):
    theta = draw(task.prior, 100, generator(0)).double()
    p = torch.sigmoid(theta @ design().mT)
    y = (torch.rand(p.shape, generator=generator(1)) < p).double()
    expected = stats.bernoulli.logpmf(y.numpy(), p.numpy()).sum(1)
    np.testing.assert_allclose(task.log_prob(y @ design(), theta), expected, rtol=1e-10)
    impossible = torch.zeros(3, 10)
    impossible[:, 0] = torch.tensor([-1.0, 0.5, 101.0])
    assert (task.log_prob(impossible, torch.zeros(3, 10)) == -math.inf).all()


THETA = torch.tensor([0.3, 0.5, -0.8, 0.4, 0.0, 0.9, -0.2, 0.1, -0.6, 0.7], dtype=torch.float64)


def mahalanobis(x, v):
    """Return (mean of x - V^T p)^T (V^T diag(p (1 - p)) V / N)^-1 (...): about chi2 of 10."""
    p = torch.sigmoid(v @ THETA)
    off = x.mean(0) - v.mT @ p
    return (off @ torch.linalg.solve((v.mT * (p * (1 - p))) @ v, off) * len(x)).item()


def test_the_sampler_has_the_models_mean_and_covariance(task):
    x = task.sample(THETA.expand(N, 10), generator(2))
    v, bound = design(), stats.chi2.isf(ALARM, 10)
    assert mahalanobis(x, v) < bound
    p = torch.sigmoid(v @ THETA)
    exact = (v.mT * (p * (1 - p))) @ v
    factor = torch.linalg.cholesky(exact)
    white = torch.linalg.solve_triangular(factor, (x - v.mT @ p).mT, upper=False)
    error = (torch.cov(white) - torch.eye(10).double()) * math.sqrt(N)  # about N(0, 1 or 2)
    assert error.abs().max() < math.sqrt(2) * stats.norm.isf(ALARM / 110)
    for fault in ("future", "cyclic"):
        y = torch.rand(N, 100, generator=generator(3)) < torch.sigmoid(design(fault) @ THETA)
        assert mahalanobis(y.double() @ design(fault), v) > bound


def test_the_number_of_spikes_has_its_exact_distribution(task):
    """100 convolutions of one coin each; chi2 over the numbers that are not rare."""
    pmf = np.ones(1)
    for p in torch.sigmoid(design() @ THETA).tolist():
        pmf = np.convolve(pmf, [1 - p, p])
    spikes = task.sample(THETA.expand(N, 10), generator(4))[:, 0]
    counts = np.bincount(spikes.long().numpy(), minlength=101)
    often = N * pmf > 10
    expected = np.append(N * pmf[often], N * pmf[~often].sum())
    observed = np.append(counts[often], counts[~often].sum())
    chi2 = ((observed - expected) ** 2 / expected).sum()
    assert chi2 < stats.chi2.isf(ALARM, often.sum())


def test_the_posterior_is_that_of_a_markov_chain(task):
    """2000 chains of random-walk Metropolis, each from its own draw, used at its last state.

    A chain forgets its start in about 50 steps of size 2.38 / sqrt(10) deviations.
    """
    n, steps = 2000, 500
    x = task.sample(THETA[None], generator(5))[0]
    draws = task.posterior_samples(x, n, generator(6)).double()
    precision = torch.linalg.inv(task.prior.covariance_matrix.double())
    # Start too wide on purpose: twice the reference's deviations.
    hand = generator(7)
    mean, factor = draws.mean(0), torch.linalg.cholesky(torch.cov(draws.mT))
    state = mean + 2 * torch.randn(n, 10, generator=hand, dtype=torch.float64) @ factor.mT

    def log_density(theta):
        likelihood = task.log_prob(x.expand(n, 10), theta)
        return likelihood - 0.5 * ((theta @ precision) * theta).sum(1)

    now = log_density(state)
    for _ in range(steps):
        noise = torch.randn(n, 10, generator=hand, dtype=torch.float64)
        new = state + 2.38 / math.sqrt(10) * noise @ factor.mT
        then = log_density(new)
        move = torch.rand(n, generator=hand, dtype=torch.float64).log() < then - now
        state, now = torch.where(move[:, None], new, state), torch.where(move, then, now)
    for i in range(10):
        assert stats.ks_2samp(draws[:, i].numpy(), state[:, i].numpy()).pvalue > ALARM
    flat = torch.linalg.solve_triangular(factor, (state - mean).mT, upper=False).square().sum(0)
    mine = torch.linalg.solve_triangular(factor, (draws - mean).mT, upper=False).square().sum(0)
    assert stats.ks_2samp(flat.numpy(), mine.numpy()).pvalue > ALARM


def test_a_posterior_without_the_prior_is_rejected(task):
    """The same guide on the likelihood alone, flattened to a tenth of the prior's precision."""
    x = task.sample(THETA[None], generator(8))[0]
    right = task.posterior_samples(x, 2000, generator(9))
    task._precision = task._precision / 10
    wrong = task.posterior_samples(x, 2000, generator(10))
    p = [stats.ks_2samp(right[:, i].numpy(), wrong[:, i].numpy()).pvalue for i in range(10)]
    assert min(p) < ALARM


def test_an_observation_without_a_mode_is_refused(task):
    with pytest.raises(
        RuntimeError, match="expected its mode within 100 Newton steps, got a step"
    ):
        task.posterior_samples(torch.full((10,), 1e4), 10)
