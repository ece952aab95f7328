"""Slice sampling and importance sampling against closed forms; broken samplers are told from them.

z-gates at 5.3 standard errors: each of the (at most ten) numbers of a test fails by chance with a
probability of 1.2e-7, whatever the seed. Standard errors come from the effective size that is
itself tested against a process of known autocorrelation.
"""

import math
import time

import pytest
import torch
from scipy.stats import norm
from torch.distributions import Independent, LogNormal, MultivariateNormal, Normal, Uniform

from lfi_helpers.inference import BudgetExceeded, importance, mcmc, slice_sample
from lfi_helpers.inference.importance import Weighted, importance_sample
from lfi_helpers.inference.mcmc import effective_size, r_hat
from lfi_helpers.run import generator

Z = 5.3
COVARIANCE = torch.tensor([[1.0, 0.095, 0.0], [0.095, 0.01, 0.0], [0.0, 0.0, 1e-4]])  # rho .95


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, 9), device="cpu")


def mean_z(values, truth):
    """Return the distance of the mean of values (S, C, K) from the truth, in standard errors."""
    error = values.double().std((0, 1)) / effective_size(values).sqrt()
    return ((values.double().mean((0, 1)) - torch.as_tensor(truth)) / error).abs().max().item()


def gaussian():
    return MultivariateNormal(torch.tensor([1.0, -2.0, 0.0]), COVARIANCE)


def gaussian_chains(seed=0):
    start = gaussian().mean + 3 * normal(60, 3)
    return slice_sample(gaussian().log_prob, start, 300, warmup=80, seed=seed)


def gaussian_z(chains):
    """Return how far means, variances and covariances are from the truth."""
    d = chains.theta - gaussian().mean
    outer = (d[..., :, None] * d[..., None, :]).flatten(2)[..., [0, 1, 2, 4, 5, 8]]
    truth = COVARIANCE.flatten()[[0, 1, 2, 4, 5, 8]].double()
    return max(mean_z(d, 0.0), mean_z(outer, truth))


def test_correlated_gaussian():
    chains = gaussian_chains()
    assert gaussian_z(chains) < Z
    assert chains.r_hat.max() < 1.03
    assert chains.ess.min() > 1_000  # of 18 000: the directions know the correlation


def test_walls_are_kept():
    """exp(-t) on (0, 1) and a half-normal: no draw outside, means as in the closed forms."""

    def log_prob(t):
        inside = (t > 0).all(1) & (t[:, 0] < 1)
        return torch.where(inside, -t[:, 0] - 0.5 * t[:, 1] ** 2, -math.inf)

    theta = slice_sample(log_prob, 0.5 + 0.1 * normal(60, 2), 300).theta
    assert (theta > 0).all() and (theta[..., 0] < 1).all()
    truth = [(1 - 2 / math.e) / (1 - 1 / math.e), math.sqrt(2 / math.pi)]
    assert mean_z(theta, truth) < Z


def test_chains_change_modes():
    """The mass of two modes 8 deviations apart, started half and half, is .8 and .2."""

    def log_prob(t):
        near = Normal(-4.0, 1.0).log_prob(t[:, 0]) + math.log(0.8)
        return torch.logaddexp(near, Normal(4.0, 1.0).log_prob(t[:, 0]) + math.log(0.2))

    start = torch.tensor([[-4.0], [4.0]]).repeat(50, 1) + 0.5 * normal(100, 1)
    chains = slice_sample(log_prob, start, 400, warmup=200)
    assert mean_z((chains.theta > 0).float(), 0.2) < Z
    assert chains.ess.min() > 300


def skewed_chains(jacobian):
    """Sample a log-normal in t = log theta, with its Jacobian or without; return theta."""
    prior = LogNormal(0.0, 0.5)

    def log_prob(t):
        return prior.log_prob(t[:, 0].exp()) + (t[:, 0] if jacobian else 0.0)

    return slice_sample(log_prob, 0.1 * normal(40, 1), 300).theta.exp()


def test_a_missing_jacobian_is_seen():
    truth = math.exp(0.125)
    assert mean_z(skewed_chains(jacobian=True), truth) < Z
    assert mean_z(skewed_chains(jacobian=False), truth) > 2 * Z


def accept_anything(target, theta, height, d, level, left, right, uniform):
    at = theta + (left + uniform()[0] * (right - left))[:, None] * d
    return at, target(at)


def twice_the_level(target, theta, height, d, level, left, right, uniform):
    return SHRINK(target, theta, height, d, 2 * level - height, left, right, uniform)


def half_the_level(target, theta, height, d, level, left, right, uniform):
    return SHRINK(target, theta, height, d, height + (level - height) / 2, left, right, uniform)


SHRINK = mcmc._shrink


@pytest.mark.parametrize("broken", [accept_anything, twice_the_level, half_the_level])
def test_a_wrong_acceptance_is_seen(monkeypatch, broken):
    monkeypatch.setattr(mcmc, "_shrink", broken)
    chains = gaussian_chains()
    assert gaussian_z(chains) > 2 * Z or chains.r_hat.max() > 1.1


def test_r_hat_sees_place_and_width():
    good = normal(200, 20, 1)
    shifted, wider = good.clone(), good.clone()
    shifted[:, :5] += 1.0
    wider[:, :5] *= 3.0
    drifting = good + torch.linspace(0, 2, 200, device="cpu")[:, None, None]
    assert r_hat(good).item() < 1.01
    assert min(r_hat(bad).item() for bad in (shifted, wider, drifting)) > 1.05


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_effective_size_of_an_autoregressive_process(rho):
    """N (1 - rho) / (1 + rho), within a tenth."""
    noise, n = normal(2_000, 50, 1, seed=1), 2_000 * 50
    z = [noise[0]]
    for e in noise[1:]:
        z.append(rho * z[-1] + math.sqrt(1 - rho * rho) * e)
    found = effective_size(torch.stack(z)).item() / n
    assert found == pytest.approx((1 - rho) / (1 + rho), rel=0.1)


def test_bad_input_and_budgets():
    def slow(t):
        time.sleep(0.02)
        return -0.5 * (t * t).sum(1)

    with pytest.raises(BudgetExceeded, match=r"slice_sample: \d+ of 4100 steps"):
        slice_sample(slow, normal(20, 2), 4_000, max_seconds=0.1)
    with pytest.raises(ValueError, match="start: expected over 20 chains, got 8"):
        slice_sample(slow, normal(8, 10), 10)
    with pytest.raises(ValueError, match="start: expected finite log_prob, got 20 of 20"):
        slice_sample(lambda t: t[:, 0] * math.nan, normal(20, 2), 10)
    with pytest.raises(ValueError, match="log_prob: expected 20 values"):
        slice_sample(lambda t: t, normal(20, 2), 10)


def test_nan_is_impossible_and_not_an_error():
    def log_prob(t):
        return torch.where(t[:, 0] > 0, -t[:, 0], math.nan)

    theta = slice_sample(log_prob, 1 + 0.1 * normal(40, 1), 300).theta
    assert theta.min() > 0 and mean_z(theta, 1.0) < Z


def test_same_seed_same_chains(same_when_poisoned):
    first, again, other = gaussian_chains(1), gaussian_chains(1), gaussian_chains(2)
    assert torch.equal(first.theta, again.theta) and not torch.equal(first.theta, other.theta)
    start = normal(20, 2)
    same_when_poisoned(
        lambda: slice_sample(lambda t: -(t * t).sum(1), start, 20, warmup=10, seed=3).theta
    )


BOX = Independent(Uniform(torch.tensor([-2.0, -1.0]), torch.tensor([2.0, 3.0])), 1)


def evidence(deviation, seed=0):
    """Sample N(theta; (1.9, 0), deviation) on the box; return the draws and the exact evidence."""
    place = torch.tensor([1.9, 0.0])
    likelihood = Independent(Normal(place, deviation), 1)
    weighted = importance_sample(likelihood.log_prob, BOX, 20_000, seed=seed)
    inside = norm.cdf(0.1 / deviation) - norm.cdf(-3.9 / deviation)
    inside *= norm.cdf(3 / deviation) - norm.cdf(-1 / deviation)
    return weighted, math.log(inside / 16)


@pytest.mark.parametrize("deviation", [1.0, 0.1, 1e-3])
def test_evidence_and_moments(deviation):
    """Also of a posterior that fills 1e-7 of the prior, and of one cut by a wall."""
    weighted, exact = evidence(deviation)
    assert weighted.ess >= 20_000
    assert abs(weighted.log_evidence - exact) < Z * weighted.log_evidence_error
    theta = weighted.resample(10_000, generator(0)).double()
    assert torch.isfinite(BOX.log_prob(theta.float())).all()
    b = 0.1 / deviation  # theta_0 < 2 is 1.9 + b deviations
    a = -3.9 / deviation
    truth = 1.9 - deviation * (norm.pdf(b) - norm.pdf(a)) / (norm.cdf(b) - norm.cdf(a))
    assert abs(theta[:, 0].mean() - truth) < Z * theta[:, 0].std() * math.sqrt(2 / 10_000)


def test_wrong_importance_weights_are_seen(monkeypatch):
    """Weights added to the proposal instead of divided by it; and without the prior."""
    right = importance._log_proposal
    monkeypatch.setattr(importance, "_log_proposal", lambda *a: -right(*a))
    weighted, exact = evidence(0.1)
    assert abs(weighted.log_evidence - exact) > 2 * Z * weighted.log_evidence_error
    monkeypatch.setattr(importance, "_log_proposal", lambda t, log_p, k: log_p)
    weighted, exact = evidence(0.1)
    assert abs(weighted.log_evidence - exact) > 2 * Z * weighted.log_evidence_error


def test_importance_sampling_has_a_budget():
    with pytest.raises(BudgetExceeded, match="no likelihood in 20000 draws"):
        importance_sample(lambda t: t[:, 0] * 0 - math.inf, BOX, 100)
    with pytest.raises(BudgetExceeded, match=r"of 1000000000 effective draws after 15 rounds"):
        importance_sample(lambda t: t[:, 0], BOX, 1e9, max_rounds=15)


def test_resampling_follows_the_weights():
    """Systematic resampling: each row comes floor or ceil of n w times."""
    weight = torch.tensor([0.1, 0.0, 0.65, 0.25])
    rows = Weighted(torch.arange(4.0, device="cpu")[:, None], weight.log() + 3)
    counts = torch.bincount(rows.resample(1_000, generator(5))[:, 0].long(), minlength=4)
    assert (counts - 1_000 * weight).abs().max() < 1.001
