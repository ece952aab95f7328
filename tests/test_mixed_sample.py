"""Signal and background in any proportion: scipy's densities, moments and shares of events.

Each random gate fails by chance with a probability of at most 1e-6, for any seed.
"""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, multivariate_normal, norm

from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6
N = 50_000
SIMULATOR = load("mixed_sample")
MEAN = np.array([0.9, -0.6, 0.4, 0.0, 0.0])
SIGNAL = multivariate_normal(MEAN, np.eye(5) + 0.3)
BACKGROUND = multivariate_normal(np.zeros(5), 1.69 * np.eye(5))


def fractions(f, n=N):
    return torch.full((n, 1), float(f), device="cpu")


def moments_p(x, mean, covariance):
    """Return the p-value of the mean and covariance of x being these (chi2 of 20)."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    n, second = white.shape[1], white @ white.T / white.shape[1]
    z = [*white.mean(1), *(np.diag(second) - 1) / 2**0.5, *second[np.triu_indices(5, 1)]]
    return chi2.sf(n * np.square(z).sum(), len(z))


def test_events_of_each_kind_have_their_mean_and_covariance():
    x, y = (part.double().numpy() for part in SIMULATOR.labelled(fractions(0.4), generator(1)))
    signal, background = np.eye(5) + 0.3, 1.69 * np.eye(5)
    assert moments_p(x[y == 1], MEAN, signal) > ALARM
    assert moments_p(x[y == 0], 0, background) > ALARM
    assert moments_p(x[y == 0], MEAN, signal) < ALARM  # the kinds exchanged
    assert moments_p(x[y == 1], MEAN, np.eye(5)) < ALARM  # no correlation


def test_the_share_of_signal_is_the_fraction():
    tail = norm.isf(ALARM / 2)
    for f in (0.2, 0.8):
        share = SIMULATOR.labelled(fractions(f), generator(2))[1].mean().item()
        assert abs(share - f) < tail * (f * (1 - f) / N) ** 0.5
    assert SIMULATOR.labelled(fractions(0), generator(3))[1].sum() == 0
    assert SIMULATOR.labelled(fractions(1), generator(3))[1].sum() == N


def test_densities_are_those_of_scipy():
    x = 2 * torch.randn(200, 5, generator=generator(4), dtype=torch.float64)
    s, b = SIGNAL.pdf(x), BACKGROUND.pdf(x)
    for f in (0, 0.3, 1):
        theta = torch.full((200, 1), float(f), dtype=torch.float64, device="cpu")
        found = SIMULATOR.log_prob(x, theta)
        np.testing.assert_allclose(found, np.log(f * s + (1 - f) * b), rtol=1e-9)
    np.testing.assert_allclose(SIMULATOR.log_ratio(x), np.log(s / b), rtol=1e-9, atol=1e-9)


def test_sample_is_the_first_part_of_labelled():
    theta = fractions(0.5, 100)
    assert SIMULATOR.sample(theta, generator(5)).equal(SIMULATOR.labelled(theta, generator(5))[0])


def test_the_default_device_is_not_used(same_when_poisoned):
    def both():
        x = SIMULATOR.sample(fractions(0.5, 50), generator(6))
        return x, SIMULATOR.log_prob(x, fractions(0.5, 50)), SIMULATOR.log_ratio(x)

    same_when_poisoned(both)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="theta: expected a fraction"):
        SIMULATOR.sample(fractions(1.1, 3))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 5\)"):
        SIMULATOR.log_ratio(torch.zeros(3, 4, device="cpu"))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        SIMULATOR.log_prob(torch.zeros(3, 5, device="cpu"), fractions(0.5, 2))
