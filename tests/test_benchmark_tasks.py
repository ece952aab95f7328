"""What every benchmark task owes: published posteriors, calibrated references, named errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load, simulate

ALARM = 1e-6  # false-alarm probability of each statistical gate below
PUBLISHED = json.loads((Path(__file__).parent / "sbibm_posteriors.json").read_text())
TASKS = sorted(PUBLISHED["tasks"])
QUICK = [name for name in TASKS if name not in ("lotka_volterra", "sir_ode")]


def z_scores(draws, published):
    """Return how far means and deviations are from the published ones, in errors of both."""
    n, m = len(draws), PUBLISHED["n"]
    mean, sd = (torch.tensor(published[key], dtype=torch.float64) for key in ("mean", "sd"))
    off = draws - draws.mean(0)
    variance = off.square().mean(0)
    kurtosis = off.pow(4).mean(0) / variance.square()
    error_mean = (variance * (1 / n + 1 / m)).sqrt()
    error_sd = (variance * (kurtosis - 1) / 4 * (1 / n + 1 / m)).sqrt()
    return torch.stack([(draws.mean(0) - mean) / error_mean, (variance.sqrt() - sd) / error_sd])


@pytest.mark.parametrize("name", TASKS)
def test_the_reference_agrees_with_the_published_one(name):
    """10 000 independent draws there; each of at most 20 numbers has an alarm of 1e-6 here."""
    published = PUBLISHED["tasks"][name]
    task, n = load(name), 5000
    draws = task.posterior_samples(torch.tensor(published["x_obs"]), n, generator(0)).double()
    assert draws.shape == (n, task.theta_dim)
    assert len(draws.unique(dim=0)) > 0.99 * n  # nothing is drawn twice
    assert (task.prior.log_prob(draws.float()) > -math.inf).all()
    if name == "slcp":
        draws[:, 2:4] = draws[:, 2:4].abs()
    assert z_scores(draws, published).abs().max() < stats.norm.isf(ALARM / 2)
    off = draws.std(0) * 0.12  # the gate sees an eighth of a deviation, and a sixth in scale
    assert z_scores(draws + off, published)[0].abs().max() > stats.norm.isf(ALARM / 2)


def ranks(name, repeats, prior_scale=1.0):
    """Return the rank of theta among 19 draws given its own x, (repeats, D): uniform if right."""
    task, hand = load(name), generator(1)
    theta, x = simulate(task, repeats, seed=2)
    if name == "slcp":  # jitter-sized spreads have no reference: a rule about x keeps uniformity
        points = x.reshape(-1, 4, 2)
        spread = points.std(1).amin(1)
        inside = (points.mean(1).abs() < 3).all(1) & (points.std(1).amax(1) < 5)
        chosen = (spread > 0.02) & inside
        theta, x = theta[chosen], x[chosen]
    draws = torch.stack([task.posterior_samples(row, 19, hand) for row in x])  # (R, 19, D)
    return (draws * prior_scale < theta[:, None]).sum(1)


def are_uniform(ranks):
    """Are all coordinates' ranks uniform on 0 ... 19? chi2 in 20 bins, one alarm for all."""
    expected = len(ranks) / 20
    bound = stats.chi2.isf(ALARM / ranks.shape[1], 19)
    counts = [np.bincount(column.numpy(), minlength=20) for column in ranks.mT]
    return all(((count - expected) ** 2 / expected).sum() < bound for count in counts)


@pytest.mark.parametrize("name", QUICK)
def test_the_reference_is_calibrated_over_the_prior(name):
    repeats = {"slcp": 500, "bernoulli_glm": 300}.get(name, 1000)
    assert are_uniform(ranks(name, repeats))


def test_a_reference_that_is_too_narrow_is_not_calibrated():
    assert not are_uniform(ranks("gaussian_linear", 1000, prior_scale=0.8))


@pytest.mark.parametrize("name", TASKS)
def test_the_score_is_the_finite_difference(name):
    task = load(name)
    theta, x = simulate(task, 20, seed=3)
    theta, x = theta.double(), x.double()
    if name == "bernoulli_glm":
        x[:, 0] = x[:, 0].round()
    leaf = theta.clone().requires_grad_()
    (score,) = torch.autograd.grad(task.log_prob(x, leaf).sum(), leaf)
    for i in range(task.theta_dim):
        step = torch.zeros_like(theta)
        step[:, i] = 1e-6 * theta[:, i].abs().clamp(min=1e-2)
        rise = task.log_prob(x, theta + step) - task.log_prob(x, theta - step)
        difference = rise / (2 * step[:, i])
        scale = score.abs().amax(1).clamp(min=1)
        assert ((score[:, i] - difference).abs() / scale).median() < 1e-5
        assert ((score[:, i] - difference).abs() / scale).quantile(0.8) < 1e-2


@pytest.mark.parametrize("name", TASKS)
def test_double_precision_stays_double(name):
    task = load(name)
    theta = draw(task.prior, 4, generator(4)).double()
    x = task.sample(theta, generator(5))
    assert x.dtype == torch.float64
    assert task.log_prob(x, theta).dtype == torch.float64


@pytest.mark.parametrize("name", TASKS)
def test_no_default_device_is_used(name, same_when_poisoned):
    x_obs = torch.tensor(PUBLISHED["tasks"][name]["x_obs"])
    same_when_poisoned(lambda: load(name).posterior_samples(x_obs, 50, generator(6)))
    theta, x = simulate(load(name), 16, seed=7)
    same_when_poisoned(lambda: load(name).log_prob(x, theta))


@pytest.mark.parametrize("name", TASKS)
def test_wrong_arguments_are_refused(name):
    task = load(name)
    d, width = task.theta_dim, task.x_dim
    theta, x = simulate(task, 3, seed=8)
    with pytest.raises(ValueError, match=rf"theta: expected shape \(N, {d}\), got \(3, {d + 1}\)"):
        task.sample(torch.ones(3, d + 1))
    with pytest.raises(ValueError, match="theta: expected finite numbers, got"):
        task.sample(torch.full((3, d), math.nan))
    with pytest.raises(ValueError, match=rf"x: expected shape \(N, {width}\), got \({width},\)"):
        task.log_prob(x[0], theta)
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        task.log_prob(x[:2], theta)
    with pytest.raises(ValueError, match="x: expected finite numbers, got 1 NaN or infinite"):
        task.log_prob(torch.ones(1, width).index_fill(1, torch.tensor([0]), math.nan), theta[:1])
    with pytest.raises(ValueError, match=rf"x_obs: expected one observation \({width},\) or"):
        task.posterior_samples(x, 10)
    with pytest.raises(ValueError, match="x_obs: expected finite numbers, got"):
        task.posterior_samples(torch.full((width,), math.inf), 10)
    with pytest.raises(ValueError, match="n: expected at least one draw, got 0"):
        task.posterior_samples(x[0], 0)
    with pytest.raises(TypeError, match="n: expected an integer, got 10.0"):
        task.posterior_samples(x[0], 10.0)
