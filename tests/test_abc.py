"""ABC against posteriors that are exact at every tolerance; broken versions are told from them.

Every KS gate is ``kstwo.isf(1e-6, n)`` for n independent draws: a false alarm of 1e-6, whatever
the seed.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal

from lfi_helpers.inference import (
    BudgetExceeded,
    NoAcceptedSamples,
    abc,
    mcmc_abc,
    rejection_abc,
    smc_abc,
)
from lfi_helpers.inference.mcmc import effective_size
from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6
GAUSSIAN = load("gaussian")
X_OBS = torch.full((10,), 0.8)
TASK = (GAUSSIAN.sample, GAUSSIAN.prior, X_OBS)


def mean(x):
    return x.mean(1, keepdim=True)


def ks(theta, weights, cdf):
    """Return the largest distance of the weighted empirical distribution from cdf."""
    theta, order = theta.double().sort()
    top = weights[order].cumsum(0)
    exact = cdf(theta)
    return max((top - exact).abs().max(), (top - weights[order] - exact).abs().max()).item()


def distance_from_exact(result, epsilon):
    cdf = GAUSSIAN.near_cdf
    return ks(result.theta[:, 0], result.weights, lambda t: cdf(t, 0.8, epsilon))


def moments(result):
    theta = result.theta[:, 0].double()
    middle = result.weights @ theta
    return middle.item(), (result.weights @ (theta - middle).square()).sqrt().item()


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 1.0, 30.0])
def test_rejection_draws_from_the_exact_posterior_at_its_epsilon(epsilon):
    r = rejection_abc(*TASK, n_sim=50_000, epsilon=epsilon, summary=mean)
    gate = stats.kstwo.isf(ALARM, len(r.theta))
    assert distance_from_exact(r, epsilon) < gate
    assert (r.distance <= epsilon).all()
    assert r.weights.sum().item() == pytest.approx(1, abs=1e-12)
    assert r.n_eff == pytest.approx(len(r.theta))
    p = GAUSSIAN.near(0.8, epsilon)
    low, high = stats.binom.ppf([ALARM / 2, 1 - ALARM / 2], 50_000, p)
    assert low <= r.accept_rate * 50_000 <= high
    if epsilon in (0.3, 1.0):
        assert distance_from_exact(r, 3 * epsilon) > gate  # the gate sees a wrong tolerance


def test_the_quantile_keeps_the_closest_and_names_its_epsilon():
    by_share = rejection_abc(*TASK, n_sim=250_000, quantile=0.02, summary=mean, seed=1)
    assert len(by_share.theta) == 5_000
    by_distance = rejection_abc(
        *TASK, n_sim=250_000, epsilon=by_share.epsilon, summary=mean, seed=1
    )
    assert torch.equal(by_share.theta.sort(0).values, by_distance.theta.sort(0).values)
    assert distance_from_exact(by_share, by_share.epsilon) < stats.kstwo.isf(ALARM, 5_000)


def test_the_furthest_quantile_is_not_the_posterior():
    def wrong_tail(s, s_obs):
        return 1 / (1 + abc.euclidean(s, s_obs))

    r = rejection_abc(*TASK, n_sim=50_000, quantile=0.1, summary=mean, distance=wrong_tail)
    assert distance_from_exact(r, 0.18) > 0.5


@pytest.mark.parametrize("keep_theta", [True, False])
def test_equality_gives_the_exact_posterior_of_counts(keep_theta):
    sir = load("sir", n_people=20)
    r = rejection_abc(sir.sample, sir.prior, torch.tensor([12.0]), n_sim=100_000, epsilon=0.0)
    grid = torch.linspace(0.2, 4, 2001, dtype=torch.float64)[:, None]
    p = sir.log_prob(torch.full((2001, 1), 12.0), grid).exp()
    evidence = torch.trapezoid(p, grid[:, 0]) / 3.8
    low, high = stats.binom.ppf([ALARM / 2, 1 - ALARM / 2], 100_000, evidence.item())
    assert low <= len(r.theta) <= high
    cumulative = torch.cumulative_trapezoid(p, grid[:, 0])
    cdf = np.concatenate([[0], cumulative / cumulative[-1]])
    theta = r.theta[:, 0] if keep_theta else r.theta[:, 0].flip(0) * 0.8 + 0.4  # another posterior
    gap = ks(theta, r.weights, lambda t: torch.from_numpy(np.interp(t, grid[:, 0], cdf)))
    assert (gap < stats.kstwo.isf(ALARM, len(theta))) == keep_theta


def test_the_adjustment_is_weighted_least_squares():
    hand = generator(0)
    theta, s = (torch.randn(50, d, generator=hand, dtype=torch.float64) for d in (2, 3))
    weights = torch.rand(50, generator=hand, dtype=torch.float64)
    weights, d, s_obs = weights / weights.sum(), s.norm(dim=1), s[0] * 0 + 0.3
    moved, w = abc.linear_adjustment(theta, s, s_obs, weights, d, 2.0)
    expected = weights * (1 - (d / 2) ** 2).clamp(min=0)
    torch.testing.assert_close(w, expected / expected.sum(), rtol=1e-12, atol=1e-15)
    design = torch.cat([torch.ones(50, 1), s - s_obs], 1).numpy() * w.sqrt()[:, None].numpy()
    slope = np.linalg.lstsq(design, theta.numpy() * w.sqrt()[:, None].numpy())[0]
    expected = theta - (s - s_obs) @ torch.from_numpy(slope[1:])
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-12)
    constant = torch.cat([s, torch.ones(50, 1)], 1)  # a summary that says nothing does no harm
    at = torch.cat([s_obs, torch.ones(1)])
    same, _ = abc.linear_adjustment(theta, constant, at, weights, d, 2.0)
    torch.testing.assert_close(same, moved, rtol=1e-9, atol=1e-11)


def adjusted(monkeypatch, fault):
    """Return mean and sd of the adjusted draws at a coarse tolerance."""
    if fault is not None:
        right = abc.linear_adjustment

        def wrong(theta, s, s_obs, *rest):
            moved, w = right(theta, s, s_obs, *rest)
            moved = {"sign": 2 * theta - moved, "origin": right(theta, s, 0 * s_obs, *rest)[0]}
            return moved[fault], w

        monkeypatch.setattr(abc, "linear_adjustment", wrong)
    r = rejection_abc(*TASK, n_sim=200_000, quantile=0.3, summary=mean, adjust="linear")
    return moments(r)


@pytest.mark.parametrize("fault", [None, "sign", "origin"])
def test_the_adjustment_gives_the_posterior_from_a_coarse_tolerance(monkeypatch, fault):
    """Standard errors are .0013 and .0010: .02 is over fifteen of them."""
    exact, found = (8 / 11, 11**-0.5), adjusted(monkeypatch, fault)
    good = abs(found[0] - exact[0]) < 0.02 and abs(found[1] - exact[1]) < 0.02
    assert good == (fault is None)
    raw = moments(rejection_abc(*TASK, n_sim=200_000, quantile=0.3, summary=mean))
    assert raw[0] < exact[0] - 0.04
    assert raw[1] > exact[1] + 0.04


def chain_gap(seed=0, **settings):
    """Return KS distance times root of the effective size, and the result."""
    settings = {"epsilon": 0.3, "step": 0.8, "n_steps": 1500, "n_chains": 40} | settings
    r = mcmc_abc(*TASK, summary=mean, seed=seed, **settings)
    n_eff = effective_size(r.theta.view(-1, settings["n_chains"], 1)).item()
    return distance_from_exact(r, 0.3) * math.sqrt(n_eff), r


def test_chains_draw_from_the_exact_posterior_at_epsilon():
    """A false alarm of 2 exp(-2 2.8^2) = 3e-7, with the effective size for n."""
    gap, r = chain_gap()
    assert gap < 2.8
    assert r.theta.shape == (60_000, 1)
    assert r.n_sim < 60_000 + 40 * 201  # where the prior refuses, nothing is simulated
    assert (r.distance <= 0.3).all()
    moved = (r.theta.view(-1, 40)[1:] != r.theta.view(-1, 40)[:-1]).double().mean().item()
    assert r.accept_rate == pytest.approx(moved, abs=0.01)


def test_chains_without_the_prior_ratio_are_caught(monkeypatch):
    monkeypatch.setattr(abc, "log_prior", lambda prior, theta: torch.zeros_like(theta[:, 0]))
    assert chain_gap()[0] > 2.8


def test_chains_that_do_not_arrive_go_on_where_others_are():
    gap, r = chain_gap(warmup=3)
    assert (r.distance <= 0.3).all()
    with pytest.raises(NoAcceptedSamples, match=r"no simulation came within 1e-09 of x_obs"):
        mcmc_abc(*TASK, epsilon=1e-9, step=0.5, n_steps=1, warmup=3, summary=mean)


def test_nothing_accepted_is_an_error_that_says_how_close_it_came():
    far = torch.full((10,), 50.0)
    for method, budget in (
        (rejection_abc, {"n_sim": 3000, "epsilon": 1.0}),
        (smc_abc, {"n_particles": 100, "epsilons": [60, 1], "max_sim": 3000}),
    ):
        with pytest.raises(NoAcceptedSamples, match="the smallest distance of") as caught:
            method(GAUSSIAN.sample, GAUSSIAN.prior, far, summary=mean, **budget)
        error = caught.value
        assert isinstance(error, BudgetExceeded)
        assert error.epsilon == 1.0
        assert 40 < error.smallest < 50
        assert 1000 < error.n_sim <= 3000


def test_seconds_are_a_budget():
    settings = {"summary": mean, "max_seconds": 1e-9}
    for call in (
        lambda: rejection_abc(*TASK, n_sim=10, quantile=1.0, **settings),
        lambda: mcmc_abc(*TASK, epsilon=1.0, step=1.0, n_steps=1, **settings),
        lambda: smc_abc(*TASK, n_particles=10, epsilons=[1.0], **settings),
    ):
        with pytest.raises(BudgetExceeded, match="max_seconds: 1e-09 s are spent after 0 sim"):
            call()


def test_results_depend_on_the_seed_alone(same_when_poisoned):
    calls = {
        rejection_abc: {"n_sim": 500, "quantile": 0.2, "adjust": "linear"},
        mcmc_abc: {"epsilon": 0.5, "step": 0.5, "n_steps": 5, "warmup": 20},
        smc_abc: {"n_particles": 50, "epsilons": [1.0, 0.5], "adjust": "linear"},
    }
    for method, settings in calls.items():

        def compute(seed=0, method=method, settings=settings):
            r = method(*TASK, summary=mean, seed=seed, **settings)
            return [r.theta, r.weights, r.distance, torch.tensor(r.n_sim, device="cpu")]

        same_when_poisoned(compute)
        assert not torch.equal(compute()[0], compute(1)[0])


BAD = [
    ({"quantile": 0.1, "epsilon": 1.0}, ValueError, "quantile and epsilon: expected one, got 0.1"),
    ({}, ValueError, "quantile and epsilon: expected one, got None and None"),
    ({"quantile": 1.5}, ValueError, r"quantile: expected a share in \(0, 1\], got 1.5"),
    ({"quantile": 0}, ValueError, "quantile: expected a number > 0, got 0"),
    ({"epsilon": -1.0}, ValueError, "epsilon: expected a number >= 0, got -1"),
    ({"epsilon": math.nan}, ValueError, "epsilon: expected a number >= 0, got nan"),
    ({"epsilon": "small"}, TypeError, "epsilon: expected a number, got 'small'"),
    ({"epsilon": 9.0, "n_sim": 0}, ValueError, "n_sim: expected an integer >= 1, got 0"),
    ({"epsilon": 9.0, "n_sim": 1e3}, TypeError, "n_sim: expected an integer, got 1000.0"),
    ({"epsilon": 9.0, "adjust": "ridge"}, ValueError, "adjust: expected one of"),
    ({"quantile": 0.2, "adjust": "linear"}, ValueError, "adjust: expected at least 12 accepted"),
    ({"epsilon": 9.0, "summary": lambda x: x.mean(1)}, ValueError, r"summary: expected shape \(1"),
    ({"epsilon": 9.0, "summary": lambda x: x / 0}, ValueError, "summary: expected finite numbers"),
    (
        {"epsilon": 9.0, "distance": lambda s, o: s - o},
        ValueError,
        r"distance: expected shape \(50,\), got \(50, 10\)",
    ),
    ({"epsilon": 9.0, "distance": lambda s, o: s[:, 0] - 9}, ValueError, "distance: .* >= 0"),
    ({"epsilon": 9.0, "max_seconds": 0}, ValueError, "max_seconds: expected a number > 0"),
]


@pytest.mark.parametrize(("settings", "error", "message"), BAD)
def test_bad_arguments_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        rejection_abc(*TASK, **{"n_sim": 50} | settings)


def test_bad_observations_priors_and_simulators_are_named():
    sample, prior, x = TASK
    settings = {"n_sim": 50, "quantile": 1.0}
    with pytest.raises(ValueError, match="x_obs: expected finite numbers, got 1 NaN"):
        rejection_abc(
            sample, prior, x.clone().index_fill_(0, torch.tensor([1]), math.nan), **settings
        )
    with pytest.raises(ValueError, match=r"x_obs: expected one observation, got \(2, 10\)"):
        rejection_abc(sample, prior, x.expand(2, 10), **settings)
    with pytest.raises(TypeError, match="prior: expected a torch Distribution with event shape"):
        rejection_abc(sample, Normal(0.0, 1.0), x, **settings)
    with pytest.raises(ValueError, match="x: expected finite numbers, got 500 NaN or infinite"):
        rejection_abc(lambda theta, g: sample(theta, g) / 0, prior, x, **settings)
    wide = Independent(Normal(torch.zeros(1), torch.ones(1)), 1)
    assert rejection_abc(sample, wide, x[None], **settings).theta.shape == (50, 1)
