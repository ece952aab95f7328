"""Two Gaussian hypotheses: moments, distribution functions, quadrature, and scipy's densities.

Each random gate fails by chance with a probability of at most 1e-6, for any seed.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest, multivariate_normal, norm

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.gaussian_pair import GaussianPair

ALARM = 1e-6
N = 50_000
MEAN = np.array([[0.0, 0.0], [1.0, 1.0]])
COVARIANCE = np.array([[[1.0, -0.5], [-0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
HYPOTHESES = list(zip(MEAN, COVARIANCE, strict=True))
PAIR = load("gaussian_pair")
GRID = torch.linspace(-9, 9, 361, dtype=torch.float64)  # steps of .05
PLANE = torch.cartesian_prod(GRID, GRID)
CELL = 0.05**2


def theta_of(h, n):
    return torch.full((n, 1), float(h), device="cpu")


def density(h):
    return PAIR.log_prob(PLANE, theta_of(h, len(PLANE))).exp()


def mean_and_covariance_p(x, h):
    """Return the p-value of mean and covariance being those of hypothesis h (chi2_5)."""
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE[h]), (x - MEAN[h]).T)
    a, b = white
    z = [a.mean(), b.mean(), (a * a - 1).mean() / 2**0.5, (b * b - 1).mean() / 2**0.5]
    z.append((a * b).mean())
    return chi2.sf(len(a) * np.square(z).sum(), 5)


def ks_p(x, h):
    """Return the smallest p-value of the whitened components against a unit normal."""
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE[h]), (x - MEAN[h]).T)
    parts = [*white, (white[0] + white[1]) / 2**0.5, (white[0] - white[1]) / 2**0.5]
    return 4 * min(kstest(part, norm.cdf).pvalue for part in parts)


def draws(h, n=N, seed=0):
    return PAIR.draw(h, n, generator(seed, h)).double().numpy()


@pytest.mark.parametrize("h", [0, 1])
def test_events_have_the_mean_covariance_and_shape(h):
    assert mean_and_covariance_p(draws(h), h) > ALARM
    assert ks_p(draws(h), h) > ALARM
    assert mean_and_covariance_p(draws(1 - h), h) < ALARM  # the other hypothesis
    assert ks_p(draws(1 - h), h) < ALARM


def test_wrong_samplers_are_seen():
    z = torch.randn(N, 2, generator=generator(1)).double().numpy()
    factor = np.linalg.cholesky(COVARIANCE[0])
    wrong = {
        "sign of the correlation": z @ np.abs(factor.T),
        "factor transposed": z @ factor,
        "covariance for its root": z @ COVARIANCE[0],
        "no correlation": z,
        "shifted a little": z @ factor.T + 0.05,
    }
    assert mean_and_covariance_p(z @ factor.T, 0) > ALARM
    for name, x in wrong.items():
        assert mean_and_covariance_p(x, 0) < ALARM, name
    flat = (np.argsort(np.argsort(z, 0), 0) + 0.5) / N * 12**0.5 - 3**0.5
    assert ks_p(1 + flat, 1) < ALARM  # right mean and covariance, wrong shape


def test_rows_follow_their_own_theta():
    theta = (torch.arange(2 * N)[:, None] % 3 == 0).float()
    x = PAIR.sample(theta, generator(2)).double().numpy()
    for h in (0, 1):
        mine = x[theta[:, 0].numpy() == h]
        assert mean_and_covariance_p(mine, h) > ALARM
    mixed = np.roll(x, 1, axis=0)[theta[:, 0].numpy() == 1]
    assert mean_and_covariance_p(mixed, 1) < ALARM


def test_draw_is_sample_of_one_hypothesis():
    for h in (0, 1):
        sample = PAIR.sample(theta_of(h, 100), generator(3))
        assert torch.equal(PAIR.draw(h, 100, generator(3)), sample)
    assert PAIR.draw(0, 0, generator(3)).shape == (0, 2)


@pytest.mark.parametrize("h", [0, 1])
def test_log_prob_is_that_of_another_library(h):
    x = torch.from_numpy(draws(h, 1000, seed=4))
    theirs = multivariate_normal(MEAN[h], COVARIANCE[h]).logpdf(x.numpy())
    np.testing.assert_allclose(PAIR.log_prob(x, theta_of(h, 1000)), theirs, rtol=0, atol=1e-12)
    single = PAIR.log_prob(x.float(), theta_of(h, 1000))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, theirs, rtol=0, atol=1e-4)


def test_log_ratio_is_hypothesis_zero_over_one():
    x = torch.from_numpy(np.concatenate([draws(0, 1000, seed=5), draws(1, 1000, seed=5)]))
    p0, p1 = (multivariate_normal(m, c).logpdf(x.numpy()) for m, c in HYPOTHESES)
    np.testing.assert_allclose(PAIR.log_ratio(x), p0 - p1, rtol=0, atol=1e-12)
    a, b = x.T.numpy()
    written_out = ((a - 1) ** 2 + (b - 1) ** 2) / 2 - 2 / 3 * (a * a + a * b + b * b)
    written_out += math.log(4 / 3) / 2
    np.testing.assert_allclose(PAIR.log_ratio(x), written_out, rtol=0, atol=1e-12)


@pytest.mark.parametrize("h", [0, 1])
def test_density_integrates_to_one_with_its_moments(h):
    # the trapezoidal rule on a Gaussian is exact up to the tails: 1e-12 at eight sigma
    p = density(h) * CELL
    mean = (p[:, None] * PLANE).sum(0)
    centred = PLANE - mean
    assert p.sum().item() == pytest.approx(1, abs=1e-11)
    np.testing.assert_allclose(mean, MEAN[h], atol=1e-11)
    np.testing.assert_allclose((p[:, None] * centred).T @ centred, COVARIANCE[h], atol=1e-10)


def test_mean_ratio_and_its_square_by_quadrature():
    p0, p1 = density(0), density(1)
    r = PAIR.log_ratio(PLANE).exp()
    assert ((p1 * r).sum() * CELL).item() == pytest.approx(1, abs=1e-9)
    square = 4 / 3 * math.exp(4 / 3)  # E_p1[r^2] = E_p0[r]: two Gaussian integrals
    assert ((p0 * r).sum() * CELL).item() == pytest.approx(square, abs=1e-3)
    divergence = (2 + 2 - 2 - math.log(3 / 4)) / 2
    log_r = PAIR.log_ratio(PLANE)
    assert ((p0 * log_r).sum() * CELL).item() == pytest.approx(divergence, abs=1e-9)


def test_the_mean_of_the_ratio_of_draws():
    r = PAIR.log_ratio(PAIR.draw(1, 200_000, generator(6))).double().exp()
    # no third moment, P(r > t) ~ t^-3: one event moves the mean by 12 errors in 1e-6 of the cases
    error = math.sqrt((4 / 3 * math.exp(4 / 3) - 1) / 200_000)
    assert abs(r.mean() - 1) < 12 * error
    wrong = PAIR.log_ratio(PAIR.draw(0, 200_000, generator(6))).double().exp()
    assert abs(wrong.mean() - 1) > 12 * error


def test_prior_is_a_fair_coin():
    theta = draw(PAIR.prior, N, generator(7))
    assert theta.shape == (N, 1) and set(theta.unique().tolist()) == {0.0, 1.0}
    assert abs(theta.mean() - 0.5) < norm.isf(ALARM / 2) * 0.5 / math.sqrt(N)


def test_precision_and_random_state(same_when_poisoned):
    same_when_poisoned(lambda: GaussianPair().draw(0, 50, generator(8)))
    same_when_poisoned(lambda: PAIR.draw(1, 50, generator(8)))
    x = draws(0, 50)
    same_when_poisoned(lambda: PAIR.log_ratio(torch.from_numpy(x)))
    assert PAIR.draw(0, 5, generator(9)).dtype == torch.float32
    assert PAIR.log_ratio(torch.from_numpy(x)).dtype == torch.float64
    x = torch.zeros(3, 2, requires_grad=True)
    assert torch.autograd.grad(PAIR.log_ratio(x).sum(), x)[0].shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PAIR.sample(torch.zeros(5)), r"theta: expected shape \(N, 1\), got \(5,\)"),
        (lambda: PAIR.sample(torch.full((5, 1), 0.5)), "theta: expected hypothesis 0 or 1"),
        (lambda: PAIR.sample(torch.full((5, 1), torch.nan)), "theta: expected hypothesis 0 or 1"),
        (lambda: PAIR.draw(2, 5), "hypothesis: expected 0 or 1, got 2"),
        (lambda: PAIR.log_ratio(torch.zeros(2)), r"x: expected shape \(N, 2\), got \(2,\)"),
        (lambda: PAIR.log_ratio(torch.zeros(4, 3)), r"x: expected shape \(N, 2\), got \(4, 3\)"),
        (lambda: PAIR.log_ratio(torch.full((4, 2), torch.inf)), "x: expected finite numbers"),
        (
            lambda: PAIR.log_prob(torch.zeros(4, 2), torch.zeros(3, 1)),
            "x and theta: expected equally many rows",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
