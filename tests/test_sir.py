"""The small epidemic: its recursion against other exact forms, its sampler against the recursion.

The sampler jumps from infection to infection, the recursion follows every event, and the
triangular equations know of no events.
"""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6  # false-alarm probability of each statistical gate below


def triangular(n, rate, initial=1):
    """Return P(x = 0 ... n) from the triangular equations of Ball, in exact fractions.

    sum_(j <= k) C(n - j, k - j) P_j / phi(k)^(j + initial) = C(n, k), where phi(k) is the chance
    that n - k people all escape one who is ill: 1 / (1 + R (n - k) / (n + 1)) for a time T ~ Exp.
    """
    p = []
    for k in range(n + 1):
        phi = 1 / (1 + rate * Fraction(n - k, n + 1))
        known = sum(comb(n - j, k - j) * p[j] / phi ** (j + initial) for j in range(k))
        p.append((comb(n, k) - known) * phi ** (k + initial))
    return [float(value) for value in p]


@pytest.mark.parametrize(("n", "rate"), [(1, "1/2"), (6, "3/2"), (12, "1/5"), (50, "4")])
def test_the_recursion_solves_the_triangular_equations(n, rate):
    p = load("sir", n_people=n).pmf(torch.tensor([[float(Fraction(rate))]], dtype=torch.float64))[
        0
    ]
    expected = triangular(n, Fraction(rate).limit_denominator(10))
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-11)
    assert p.sum().item() == pytest.approx(1, abs=1e-13)
    other = triangular(n, Fraction(rate), initial=2)
    assert abs(p.numpy() - other).max() > 0.05  # the equations see a second one who is ill


def test_one_neighbour_has_a_closed_form():
    rate = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    p = load("sir", n_people=1).pmf(rate)
    torch.testing.assert_close(p[:, 1], rate[:, 0] / (rate[:, 0] + 2))


def p_value(counts, p):
    """Return the p-value of chi-squared; cells with less than ten expected are joined."""
    order = np.argsort(p)
    cells = np.minimum(np.cumsum(p[order]) * counts.sum() // 10, 10_000).astype(int)
    expected = np.bincount(cells, p[order] * counts.sum())
    observed = np.bincount(cells, counts[order])
    keep = expected > 0
    chi2 = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
    return stats.chi2(keep.sum() - 1).sf(chi2)


@pytest.mark.parametrize(("n", "rate"), [(3, 1.0), (50, 0.8), (50, 1.6), (50, 4.0)])
def test_the_sampler_follows_the_recursion(n, rate):
    sir = load("sir", n_people=n)
    theta = torch.full((50_000, 1), rate)
    counts = torch.bincount(sir.sample(theta, generator(0))[:, 0].long(), minlength=n + 1).numpy()
    exact, wrong = (sir.pmf(torch.tensor([[r]]).double())[0].numpy() for r in (rate, rate * 1.06))
    assert p_value(counts, exact) > ALARM
    assert p_value(counts, wrong) < ALARM  # as if a village of 51 had 54 people


def test_each_row_of_a_batch_keeps_its_own_rate():
    sir, rates = load("sir", n_people=20), (0.5, 1.5, 3.0)
    theta = torch.tensor(rates).repeat(20_000)[:, None]
    x = sir.sample(theta, generator(2)).view(-1, 3).long()
    for column, rate in zip(x.T, rates, strict=True):
        counts = torch.bincount(column, minlength=21).numpy()
        own, mean = (sir.pmf(torch.tensor([[r]]).double())[0].numpy() for r in (rate, 5 / 3))
        assert p_value(counts, own) > ALARM
        assert p_value(counts, mean) < ALARM  # as if rows were exchanged


def test_the_density_is_the_recursion_and_has_a_gradient():
    sir = load("sir", n_people=9)
    theta = torch.linspace(0.3, 3.9, 10, dtype=torch.float64)[:, None].requires_grad_()
    x = torch.arange(10, dtype=torch.float64)[:, None]
    log_p = sir.log_prob(x, theta)
    torch.testing.assert_close(log_p.exp(), sir.pmf(theta).diagonal())
    (slope,) = torch.autograd.grad(log_p.sum(), theta)
    rise = sir.log_prob(x, theta.detach() + 1e-6) - sir.log_prob(x, theta.detach() - 1e-6)
    torch.testing.assert_close(slope[:, 0], rise / 2e-6, rtol=1e-6, atol=1e-8)
    nowhere = sir.log_prob(torch.tensor([[-1.0], [10.0], [2.5]]), torch.ones(3, 1))
    assert torch.isneginf(nowhere).all()


def test_rare_sizes_keep_a_finite_logarithm():
    log_p = load("sir").log_prob(torch.tensor([[50.0]]), torch.tensor([[0.2]]))
    assert log_p.dtype == torch.float32
    assert -100 < log_p.item() < -20


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="n_people: expected an integer >= 1, got 0"):
        load("sir", n_people=0)
    with pytest.raises(ValueError, match="theta: expected numbers > 0, got -1"):
        load("sir").sample(-torch.ones(2, 1))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        load("sir").log_prob(torch.zeros(3, 1), torch.ones(2, 1))


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.ones(3, 1)
    same_when_poisoned(lambda: load("sir").pmf(theta))
    same_when_poisoned(lambda: load("sir").sample(theta, generator(1)))
