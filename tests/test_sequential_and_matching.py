"""Truncated rounds and flow matching, against exact posteriors of a box with Gaussian noise.

Imports the package; never a simulator. Gates as in test_inference: bias below 0.15 deviations,
width within 15 %, at most 0.05 nat per dimension below the exact log-density.
"""

import math
import sys

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, Uniform

from lfi_helpers.flows import StandardCoordinates
from lfi_helpers.inference import BudgetExceeded, fmpe, tsnpe
from lfi_helpers.inference.fmpe import Velocity, VelocityDistribution
from lfi_helpers.run import draw, generator

QUIET = {"device": "cpu", "progress": False}
LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0])
BOX = Independent(Uniform(LOW, HIGH), 1)
NOISE = torch.tensor([0.05, 0.2])  # the posterior fills a hundredth of the box


def sample(theta, g, noise=NOISE):
    return theta + noise * torch.randn(theta.shape, generator=g, device="cpu")


def truncated(x_obs, noise):
    """Return mean, deviation and the 16 % and 84 % quantiles of the exact posterior."""
    u = (torch.arange(20_000, device="cpu", dtype=torch.float64) + 0.5) / 20_000
    theta = LOW + (HIGH - LOW) * u[:, None]
    p = (-0.5 * ((theta - x_obs) / noise) ** 2).exp()
    p = p / p.sum(0)
    mean = (p * theta).sum(0)
    low, high = (theta.gather(0, (p.cumsum(0) < q).sum(0)[None])[0] for q in (0.16, 0.84))
    return mean, (p * (theta - mean) ** 2).sum(0).sqrt(), high - low


def bias_and_ratio(posterior, x_obs, noise):
    """Return the worst bias in deviations, the ratio of the 68 % intervals (mean over D), draws.

    The interval does not feel the few draws that any learned density leaves far away.
    """
    theta = posterior.sample(20_000, x_obs)
    mean, deviation, width = truncated(x_obs, noise)
    bias = ((theta.mean(0) - mean) / deviation).abs().max().item()
    found = theta.quantile(0.84, 0) - theta.quantile(0.16, 0)
    return bias, (found / width).mean().item(), theta


X_OBS = torch.tensor([0.97, 1.3])  # near a wall


def recording(seen):
    def simulate(theta, g):
        seen.append(theta)
        return sample(theta, g)

    return simulate


def rounds(seen, **settings):
    sizes = {"n_sim": 4_500, "rounds": 3, "transforms": 1, "hidden": (32, 32), **settings}
    return tsnpe(recording(seen), BOX, X_OBS, **sizes, **QUIET)


def test_truncated_rounds_zoom_in():
    """The third round simulates in a small part of the box, and the posterior is the exact one."""
    seen = []
    posterior = rounds(seen)
    assert [len(theta) for theta in seen] == [1_500, 1_500, 1_500]
    near = [((t - X_OBS).abs() < 5 * NOISE).all(1).float().mean().item() for t in seen]
    assert near[0] < 0.08 and near[2] > 0.4
    found = [bias_and_ratio(rounds([], seed=seed), X_OBS, NOISE) for seed in (1, 2)]
    found.append(bias_and_ratio(posterior, X_OBS, NOISE))
    bias, ratio = (sum(run[i] for run in found) / 3 for i in (0, 1))
    assert bias < 0.15 and 0.85 < ratio < 1.15  # of one run: .07 +- .05, up to .17
    assert all(((theta >= LOW) & (theta < HIGH)).all() for *_, theta in found)


def test_a_proposal_that_is_not_the_prior_is_seen(monkeypatch):
    """Rounds drawn from the posterior itself, as if it were a truncated prior: too narrow."""
    module = sys.modules["lfi_helpers.inference.tsnpe"]

    def from_posterior(prior, cuts, x_obs, n, g):
        return cuts[-1][0].sample(n, x_obs, seed=5) if cuts else draw(prior, n, g)

    monkeypatch.setattr(module, "_draw_inside", from_posterior)
    bias, ratio, *_ = bias_and_ratio(rounds([]), X_OBS, NOISE)
    assert ratio < 0.85 or bias > 0.15


def test_bad_rounds(monkeypatch):
    with pytest.raises(ValueError, match="rounds: expected at most n_sim = 2, got 3"):
        rounds([], n_sim=2)
    with pytest.raises(ValueError, match="x_obs: expected finite numbers"):
        tsnpe(sample, BOX, X_OBS * math.nan, n_sim=100)
    module = sys.modules["lfi_helpers.inference.tsnpe"]
    monkeypatch.setattr(module, "MAX_SECONDS", 0.01)
    monkeypatch.setattr(module, "_level", lambda *a: 1e9)
    with pytest.raises(BudgetExceeded, match="tsnpe: 0 of 1500 draws lie in the truncated prior"):
        rounds([], max_epochs=1)


SOFT = torch.tensor([0.3, 1.0])


@pytest.fixture(scope="module")
def matched():
    theta = draw(BOX, 4_000, generator(0))
    x = sample(theta, generator(1), SOFT)
    return fmpe(theta, x, BOX, hidden=(64, 64), max_epochs=40, **QUIET)


def test_flow_matching_finds_the_posterior(matched):
    """Also at a wall; nothing leaks; the density is one over the box."""
    found = []
    for x_obs in (torch.tensor([0.9, 0.3]), torch.tensor([0.0, 2.0])):
        bias, ratio, theta = bias_and_ratio(matched, x_obs, SOFT)
        found.append((bias, ratio))
        assert ((theta >= LOW) & (theta < HIGH)).all()
    assert sum(b for b, _ in found) / 2 < 0.15
    assert all(0.85 < r < 1.15 for _, r in found)
    u = (torch.arange(60, device="cpu") + 0.5) / 60
    grid = torch.cartesian_prod(-1 + 2 * u, 4 * u)
    density = matched.log_prob(grid, torch.tensor([0.0, 2.0])).exp()
    assert density.sum() * 8 / 60**2 == pytest.approx(1, abs=0.02)
    assert matched.log_prob(torch.tensor([[1.1, 1.0]]), torch.zeros(2))[0] == -math.inf


class Linear(nn.Module):
    """v = a z + b c: the flow of noise is a Gaussian of known mean and width."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, row):
        return self.a * row[:, :2] + self.b * row[:, 5:7]


def linear(a=-0.7, b=1.5):
    theta = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])  # mean 0, deviation 1
    velocity = Velocity(StandardCoordinates(theta), theta, 2, (4,), 0)
    velocity.network = Linear(a, b)
    return velocity


def exact_linear(x, a=-0.7, b=1.5):
    return Independent(Normal(b * x * math.expm1(a) / a, math.exp(a)), 1)


def test_integration_is_exact_for_a_linear_velocity():
    x = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    theta = torch.randn(50, 2, 2, generator=generator(3), device="cpu")
    log_q = linear()(x).log_prob(theta)
    assert torch.allclose(log_q, exact_linear(x).log_prob(theta), atol=1e-3, rtol=1e-4)
    draws = draw(linear()(x), 20_000, generator(4))
    z = (draws.mean(0) - exact_linear(x).mean) / (exact_linear(x).stddev / math.sqrt(20_000))
    assert z.abs().max() < 5.3  # four numbers: 5e-7
    assert (draws.std(0) / exact_linear(x).stddev - 1).abs().max() < 5.3 / math.sqrt(40_000)


def test_a_forgotten_divergence_is_seen(monkeypatch):
    rate = VelocityDistribution._rate
    monkeypatch.setattr(VelocityDistribution, "_rate_and_divergence", rate)
    x = torch.tensor([[0.3, -1.0]])
    log_q = linear()(x).log_prob(x)
    assert (log_q - exact_linear(x).log_prob(x)).abs() > 1


def test_same_seed_same_velocity(same_when_poisoned):
    theta = draw(BOX, 500, generator(0))
    x = sample(theta, generator(1), SOFT)

    def compute():
        posterior = fmpe(theta, x, BOX, hidden=(16,), max_epochs=2, **QUIET)
        return posterior.sample(20, X_OBS), posterior.log_prob(theta[:5], X_OBS)

    same_when_poisoned(compute)
    same_when_poisoned(lambda: rounds([], max_epochs=1).sample(20, X_OBS))
