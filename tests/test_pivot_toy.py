"""The moved class and its nuisance: scipy's densities, Bayes' theorem, the exact best pivot.

Each random gate fails by chance with a probability of at most 1e-6, for any seed.
"""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, ks_2samp, kstest, multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load

ALARM = 1e-6
N = 40_000
TOY = load("pivot_toy")
CLASS_0 = multivariate_normal([0, 0], [[1, -0.5], [-0.5, 1]])


def at(z, n=N):
    return torch.full((n, 1), float(z), device="cpu")


def moments_p(x, mean, covariance):
    """Return the p-value of the mean and covariance of x being these (chi2 of 5)."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
    n, second = white.shape[1], white @ white.T / white.shape[1]
    pulls = [*white.mean(1), *(np.diag(second) - 1) / 2**0.5, second[0, 1]]
    return chi2.sf(n * np.square(pulls).sum(), 5)


@pytest.mark.parametrize("z", [-1.0, 0.0, 2.0])
def test_only_class_1_is_moved(z):
    x, y = (part.double().numpy() for part in TOY.labelled(at(z), generator(1)))
    assert abs(y.mean() - 0.5) < norm.isf(ALARM / 2) * 0.5 / N**0.5
    assert moments_p(x[y == 0], 0, [[1, -0.5], [-0.5, 1]]) > ALARM
    assert moments_p(x[y == 1], [1, 1 + z], np.eye(2)) > ALARM
    assert moments_p(x[y == 1], [1, 1 - z - 0.1], np.eye(2)) < ALARM  # moved the other way


def test_density_is_that_of_scipy():
    x = 2 * torch.randn(100, 2, generator=generator(2), dtype=torch.float64)
    for z in (-1.5, 0.0, 1.0):
        expected = (CLASS_0.pdf(x) + multivariate_normal([1, 1 + z]).pdf(x)) / 2
        found = TOY.log_prob(x, at(z, 100).double())
        np.testing.assert_allclose(found, np.log(expected), rtol=1e-10)


def test_ratio_and_posterior_are_those_of_bayes():
    x = 2 * torch.randn(50, 2, generator=generator(3), dtype=torch.float64)
    node = np.linspace(-12, 12, 241)  # the trapezium rule is exact to rounding here
    weight = norm.pdf(node) * 0.1
    joint = np.stack([TOY.log_prob(x, at(z, 50).double()) for z in node])  # (80, 50)
    evidence = np.log(weight @ np.exp(joint))
    class_0 = CLASS_0.logpdf(x)
    ratio = np.log(2 * np.exp(evidence - class_0) - 1)
    np.testing.assert_allclose(TOY.log_ratio(x), ratio, rtol=1e-6, atol=1e-6)
    for z in (-1.0, 0.3, 2.5):
        expected = TOY.log_prob(x, at(z, 50).double()).numpy() + norm.logpdf(z) - evidence
        found = TOY.nuisance_log_prob(at(z, 50).double(), x)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_best_pivot_is_the_rank_of_the_ratio_among_events_of_one_x2():
    x = 2 * torch.randn(30, 2, generator=generator(4), dtype=torch.float64)
    grid = torch.linspace(-8, 10, 20_001, dtype=torch.float64)
    share = torch.softmax(-(grid - 1).square() / 2, 0)  # of class 1 in x_1
    for row, u in zip(x, TOY.best_pivot(x), strict=True):
        line = torch.stack([grid, row[1].expand_as(grid)], 1)
        below = TOY.log_ratio(line) < TOY.log_ratio(row[None])
        assert abs(share[below].sum() - u) < 1e-3


def test_best_pivot_has_one_law_for_every_nuisance_and_beats_x1():
    moved = {}
    for k, z in enumerate((-2.0, 0.0, 3.0)):
        x, y = TOY.labelled(at(z), generator(5, k))
        assert kstest(TOY.best_pivot(x)[y == 1], "uniform").pvalue > ALARM
        moved[z] = TOY.log_ratio(x)[y == 1]
    assert ks_2samp(moved[0.0], moved[3.0]).pvalue < ALARM  # no pivot: another law for each z
    x, y = TOY.labelled(draw(TOY.prior, N, generator(6)), generator(7))
    exact, pivot, x1 = (
        roc_auc_score(y, s) for s in (TOY.log_ratio(x), TOY.best_pivot(x), x[:, 0])
    )
    alone = norm.cdf(0.5**0.5)  # of x_1, which is a pivot too
    assert abs(x1 - alone) < 5 * 0.3 / (N / 2) ** 0.5  # 5 bounds on its standard error
    assert exact > pivot + 0.05 > x1 + 0.05


def test_the_default_device_is_not_used(same_when_poisoned):
    def everything():
        x, y = TOY.labelled(at(0.5, 20), generator(8))
        return x, y, TOY.log_ratio(x), TOY.best_pivot(x), TOY.nuisance_log_prob(at(0, 20), x)

    same_when_poisoned(everything)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"theta: expected shape \(N, 1\)"):
        TOY.labelled(torch.zeros(3, 2, device="cpu"))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\)"):
        TOY.best_pivot(torch.zeros(3, 5, device="cpu"))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        TOY.log_prob(torch.zeros(3, 2, device="cpu"), at(0, 2))
