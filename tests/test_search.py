"""A count over an uncertain background and a bump on a slope, against scipy's minimisers."""

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm, truncexpon

from lfi_helpers.likelihoods import bump_fit, counting_significance

EDGES = np.linspace(50, 300, 51)
PEAK = np.diff(norm.cdf(EDGES, 125, 10))


def falling(slope):
    return np.diff(truncexpon(b=250 / slope, loc=50, scale=slope).cdf(EDGES))


@pytest.mark.parametrize("s", [0.1, 20.0, 300.0])
@pytest.mark.parametrize("sigma", [0.5, 10.0, 80.0])
def test_significance_is_the_profiled_likelihood_ratio(s, sigma):
    b, n = 100.0, 100.0 + s

    def q(free):  # -2 log of the likelihood without signal over the one with it
        return 2 * (free - n + n * np.log(n / free)) + ((b - free) / sigma) ** 2

    best = minimize_scalar(q, bounds=(50, 2 * n), method="bounded", options={"xatol": 1e-10}).fun
    assert abs(counting_significance(s, b, sigma) ** 2 - best) < 1e-8 + 1e-6 * best
    naive = s / np.sqrt(b + sigma**2)  # the usual approximation, wrong for large s
    assert s < 100 or abs(naive - counting_significance(s, b, sigma)) > 0.05


def test_significance_without_uncertainty_is_the_limit():
    s, b = np.array([5.0, 50.0]), 40.0
    limit = np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s))
    np.testing.assert_allclose(counting_significance(s, b, 0.0), limit, rtol=1e-12)
    np.testing.assert_allclose(counting_significance(s, b, 1e-4), limit, rtol=1e-7)
    assert counting_significance(5.0, 40.0, 1e6) < 1e-4
    assert counting_significance(0.0, 40.0, 3.0) == 0


@pytest.mark.parametrize("signal", [-60.0, 0.0, 250.0])
def test_bump_fit_returns_what_was_put_in(signal):
    counts = signal * PEAK + 5_000 * falling(60)
    fit = bump_fit(counts, EDGES, 125, 10)
    assert fit[:1] + fit[2:4] == pytest.approx((signal, 5_000, 60), abs=1e-4)
    np.testing.assert_allclose(fit.expected, counts, rtol=1e-6)


def test_bump_fit_is_the_minimum_of_scipy_with_the_error_of_its_curvature():
    counts = np.random.default_rng(3).poisson(200 * PEAK + 5_000 * falling(70)).astype(float)
    fit = bump_fit(counts, EDGES, 125, 10)

    def nll(p):
        mu = 100 * p[0] * PEAK + 1_000 * p[1] * falling(10 * p[2])
        return (mu - counts * np.log(mu)).sum()

    start = np.array([1.0, 5.0, 6.0])
    best = minimize(nll, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    assert fit.signal == pytest.approx(100 * best.x[0], abs=0.02)
    assert fit.slope == pytest.approx(10 * best.x[2], abs=0.02)

    def profiled(s):
        rest = minimize(lambda p: nll([s / 100, *p]), best.x[1:], method="Nelder-Mead")
        return rest.fun - best.fun

    step = (profiled(fit.signal + fit.error) + profiled(fit.signal - fit.error)) / 2
    assert step == pytest.approx(0.5, abs=0.03)  # one standard deviation
    untouched = np.diag(1 / fit.expected)  # the error if B and slope were known: too small
    assert (PEAK @ untouched @ PEAK) ** -0.5 < 0.95 * fit.error


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="s, b, sigma: expected"):
        counting_significance(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="counts and edges: expected"):
        bump_fit(np.ones(5), EDGES, 125, 10)
