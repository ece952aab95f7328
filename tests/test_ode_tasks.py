"""Lotka-Volterra and SIR against scipy's solver, conserved quantities and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.references import ReferenceFailed

ALARM = 1e-6  # false-alarm probability of each statistical gate below
LV_TIMES, SIR_TIMES = 2.1 * np.arange(10), 17.0 * np.arange(10)
TIGHT = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-11}


def scipy_hunt(theta):
    """Solve x' = alpha x - beta x y, y' = delta x y - gamma y; return log x, log y: (20,)."""
    alpha, beta, gamma, delta = theta

    def slope(t, z):
        x, y = np.exp(z)
        return [alpha - beta * y, delta * x - gamma]

    start = np.log([30.0, 1.0])
    return solve_ivp(slope, (0, 19), start, t_eval=LV_TIMES, **TIGHT).y.flatten()


def scipy_epidemic(theta):
    """Solve the SIR equations in numbers of people; return log I / N: (10,)."""
    beta, gamma = theta

    def slope(t, state):
        s, i, r = state
        return [-beta * s * i / 1e6, beta * s * i / 1e6 - gamma * i, gamma * i]

    start, tight = [1e6 - 1, 1.0, 0.0], {**TIGHT, "atol": 1e-10}
    return np.log(solve_ivp(slope, (0, 153), start, t_eval=SIR_TIMES, **tight).y[1] / 1e6)


def prior_draws(name, n, seed):
    return draw(load(name).prior, n, generator(seed)).double()


def test_a_hunt_is_scipys_solution():
    """40 draws of the prior at 1e-11; float32 keeps one part in a hundred of the noise."""
    task, theta = load("lotka_volterra"), prior_draws("lotka_volterra", 40, 0)
    exact = np.array([scipy_hunt(row) for row in theta.numpy()])
    error = np.abs(task.solution(theta).numpy() - exact).max(1)
    assert np.median(error) < 1e-6 and error.max() < 1e-3
    single = np.abs(task.solution(theta.float()).numpy() - exact).max(1)
    assert np.median(single) < 1e-4 and single.max() < 1e-3


def test_an_epidemic_is_scipys_solution():
    task, theta = load("sir_ode"), prior_draws("sir_ode", 40, 1)
    exact = np.array([scipy_epidemic(row) for row in theta.numpy()])
    error = np.abs(task.solution(theta)[1].numpy() - exact).max(1)
    assert np.median(error) < 5e-6 and error.max() < 3e-4
    single = np.abs(task.solution(theta.float())[1].numpy() - exact).max(1)
    assert single.max() < 5e-4


@pytest.mark.parametrize(("name", "steps"), [("lotka_volterra", 60), ("sir_ode", 17)])
def test_the_error_falls_with_the_fourth_power_of_the_step(name, steps):
    """Halving the step divides it by 16; a third-order scheme would give 8."""
    task, theta = load(name), prior_draws(name, 200, 2)

    def solve(n):
        solution = task.solution(theta, n)
        return solution if name == "lotka_volterra" else solution[1]

    exact = solve(16 * steps)
    coarse, fine = ((solve(n) - exact).abs().amax(1) for n in (steps, 2 * steps))
    assert 13 < (coarse / fine).median().item() < 20


def test_what_the_equations_conserve_is_conserved():
    theta = prior_draws("lotka_volterra", 500, 3)
    alpha, beta, gamma, delta = theta.T[:, :, None]
    u, v = load("lotka_volterra").solution(theta).split(10, dim=1)
    energy = delta * u.exp() - gamma * u + beta * v.exp() - alpha * v
    assert (energy / energy[:, :1] - 1).abs().amax(1).quantile(0.9) < 1e-5
    theta = prior_draws("sir_ode", 500, 4)
    beta, gamma = theta.T[:, :, None]
    log_s, log_i = load("sir_ode").solution(theta)
    size = log_s.exp() + log_i.exp() - gamma / beta * log_s
    drift = (size - size[:, :1]).abs().amax(1)
    assert drift.median() < 1e-6 and drift.max() < 3e-4


def hunt_residuals(x, theta):
    """Return (log x - log solution) / 0.1 by scipy's solution, flat."""
    return (np.log(x.double().numpy()) - scipy_hunt(theta)).flatten() / 0.1


def test_a_hunt_is_counted_with_a_tenth_of_error():
    task, theta = load("lotka_volterra"), torch.tensor([0.7, 0.1, 0.9, 0.12])
    x = task.sample(theta.expand(2000, 4), generator(5))
    noise = hunt_residuals(x, theta.double().numpy())
    bound = stats.kstwo.isf(ALARM, noise.size)
    assert stats.kstest(noise, "norm").statistic < bound
    swapped = task.sample(theta[[0, 1, 3, 2]].expand(2000, 4), generator(6))
    interleaved = x.reshape(-1, 2, 10).mT.flatten(1)
    squared = (x.log() + 0.1 * torch.randn(x.shape, generator=generator(7))).exp()
    for wrong in (swapped, interleaved, squared):
        assert (
            stats.kstest(hunt_residuals(wrong, theta.double().numpy()), "norm").statistic > bound
        )


def test_the_density_of_a_hunt_is_log_normal_and_clamped():
    task, theta = load("lotka_volterra"), prior_draws("lotka_volterra", 20, 8)
    x = task.sample(theta, generator(9))
    mean = task.solution(theta).numpy()
    expected = stats.lognorm.logpdf(x.numpy(), 0.1, scale=np.exp(mean)).sum(1)
    np.testing.assert_allclose(task.log_prob(x, theta), expected, rtol=1e-9)
    extinct = torch.tensor([[0.1, 2.0, 0.05, 0.3]]).double()  # the prey falls below 1e-10
    assert task.solution(extinct)[0, :10].min() < math.log(1e-10) - 1
    assert task.sample(extinct, generator(10)).min() > 1e-10 * math.exp(-0.6)
    assert task.log_prob(torch.zeros(1, 20), extinct).item() == -math.inf


def test_tests_of_an_epidemic_are_binomial():
    """chi2 of the counts of each day against scipy's binomial at scipy's solution."""
    task, theta, n = load("sir_ode"), torch.tensor([0.6, 0.15]), 5000
    x = task.sample(theta.expand(n, 2), generator(11)).numpy()
    fraction = np.exp(scipy_epidemic(theta.double().numpy()))

    def chi2_is_small(day, p):
        k = np.arange(1001)
        pmf = stats.binom.pmf(k, 1000, p)
        often = n * pmf > 10
        counts = np.bincount(x[:, day].astype(int), minlength=1001)
        expected = np.append(n * pmf[often], max(n * pmf[~often].sum(), 1.0))
        observed = np.append(counts[often], counts[~often].sum())
        chi2 = ((observed - expected) ** 2 / expected).sum()
        return chi2 < stats.chi2.isf(ALARM, max(often.sum(), 1))

    assert all(chi2_is_small(day, p) for day, p in enumerate(fraction))
    assert not chi2_is_small(3, fraction[2])  # another day
    assert not chi2_is_small(3, 1.05 * fraction[3])  # five in a hundred more infected


def test_the_density_of_an_epidemic_is_binomial_and_sums_to_one():
    task, theta = load("sir_ode"), prior_draws("sir_ode", 20, 12)
    x = task.sample(theta, generator(13))
    p = task.solution(theta)[1].exp().numpy()
    expected = stats.binom.logpmf(x.numpy(), 1000, p).sum(1)
    np.testing.assert_allclose(task.log_prob(x, theta), expected, rtol=1e-8, atol=1e-8)
    every = x[:1].repeat(1001, 1)
    every[:, 2] = torch.arange(1001)
    others = stats.binom.logpmf(np.delete(x[0].numpy(), 2), 1000, np.delete(p[0], 2)).sum()
    total = torch.logsumexp(task.log_prob(every, theta[:1].expand(1001, 2)), 0).item()
    assert total == pytest.approx(others, abs=1e-8)
    wrong = x[:3].clone()
    wrong[:, 0] = torch.tensor([-1.0, 0.5, 1001.0])
    assert (task.log_prob(wrong, theta[:3]) == -math.inf).all()


OBSERVED = {
    "lotka_volterra": torch.tensor([0.9, 0.06, 0.7, 0.04]),
    "sir_ode": torch.tensor([0.5, 0.12]),
}


def grid_moments(task, x, draws, points):
    """Integrate the posterior by the midpoint rule in whitened log theta; return E z, E z z^T.

    z are the draws' own standardised coordinates, so that an exact sampler has 0 and 1: the grid
    reaches 5.5 deviations; wrong draws only make it less fit, not agree with them.
    """
    log_theta = draws.double().log()
    mean, factor = log_theta.mean(0), torch.linalg.cholesky(torch.cov(log_theta.mT))
    side = (torch.arange(points).double() + 0.5) * 11 / points - 5.5
    z = torch.cartesian_prod(*[side] * task.theta_dim)
    theta = (mean + z @ factor.mT).exp()
    log_p = task.log_prob(x.double().expand(len(z), -1), theta)
    log_p = log_p + task.prior.log_prob(theta) + theta.log().sum(1)
    weight = torch.softmax(log_p, 0)
    white = torch.linalg.solve_triangular(factor, (log_theta - mean).mT, upper=False).mT
    return z, weight, white


@pytest.mark.parametrize(("name", "points"), [("lotka_volterra", 11), ("sir_ode", 100)])
def test_the_posterior_is_its_quadrature(name, points):
    """Mean, variances and correlations of log theta; for SIR the marginals' distributions too."""
    task, n = load(name), 4000
    x = task.sample(OBSERVED[name][None], generator(14))
    draws = task.posterior_samples(x, n, generator(15))
    z, weight, white = grid_moments(task, x, draws, points)
    bound = stats.norm.isf(ALARM / 2)
    d = task.theta_dim
    for i in range(d):
        assert abs((weight @ z[:, i]).item()) < bound / math.sqrt(n)
        for j in range(i + 1):
            product = z[:, i] * z[:, j]
            mean = weight @ product
            error = ((weight @ (product - mean).square()) / n).sqrt()
            assert abs((white[:, i] * white[:, j]).mean() - mean) < bound * error
    if name == "sir_ode":
        mass = weight.reshape(points, points)
        for i in range(2):
            cdf = np.append(0, mass.sum(1 - i).cumsum(0).numpy())
            height = np.interp(white[:, i].numpy(), np.linspace(-5.5, 5.5, points + 1), cdf)
            assert stats.kstest(height, "uniform").statistic < stats.kstwo.isf(ALARM, n)


def test_a_posterior_of_half_the_noise_is_rejected():
    task, n = load("sir_ode"), 4000
    x = task.sample(OBSERVED["sir_ode"][None], generator(16))
    draws = task.posterior_samples(x, n, generator(17))
    center = draws.log().mean(0)
    narrow = (center + (draws.log() - center) * 0.9).exp()
    z, weight, white = grid_moments(task, x, narrow, 100)
    variance = weight @ z[:, 0].square()
    error = ((weight @ (z[:, 0].square() - variance).square()) / n).sqrt()
    assert abs(white[:, 0].square().mean() - variance) > stats.norm.isf(ALARM / 2) * error


def test_rates_that_are_none_and_counts_that_cannot_be_are_refused():
    for name in OBSERVED:
        task = load(name)
        with pytest.raises(ValueError, match="theta: expected rates > 0, got -1"):
            task.sample(torch.full((3, task.theta_dim), -1.0))
    with pytest.raises(ReferenceFailed, match="no likelihood at any of 500 prior draws"):
        task.posterior_samples(torch.full((10,), 0.5), 10, generator(18))
