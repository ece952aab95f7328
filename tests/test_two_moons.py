"""Two moons against quadrature: the density's Jacobian, the signs, both crescents."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.references import ReferenceFailed

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 50_000
BOUND = stats.kstwo.isf(ALARM, N)


@pytest.fixture
def task():
    return load("two_moons")


def centre(theta):
    """Return the moon's centre for one theta, written out."""
    first, second = theta
    return np.array([0.25 - abs(first + second) / np.sqrt(2), (second - first) / np.sqrt(2)])


def polar(x, theta):
    """Return radius and angle of points around the centre of their moon."""
    u, v = (x.double().numpy() - centre(theta)).T
    return np.hypot(u, v), np.arctan2(v, u)


def follows_the_moon(x, theta):
    """Is the radius N(0.1, 0.01), and the angle uniform on the right half circle?"""
    radius, angle = polar(x, theta)
    return (
        stats.kstest(radius, stats.norm(0.1, 0.01).cdf).statistic < BOUND
        and stats.kstest(angle, stats.uniform(-math.pi / 2, math.pi).cdf).statistic < BOUND
    )


@pytest.mark.parametrize("theta", [(0.3, -0.8), (-0.5, -0.4), (0.0, 0.0)])
def test_the_sampler_draws_the_moon(task, theta):
    x = task.sample(torch.tensor(theta).expand(N, 2), generator(0))
    assert follows_the_moon(x, theta)


@pytest.mark.parametrize("fault", ["left half", "radius sd", "square root", "sign of x_1", "x_2"])
def test_wrong_moons_are_rejected(fault):
    hand, theta = generator(1), (0.3, -0.8)
    a = math.pi * (torch.rand(N, generator=hand, dtype=torch.float64) - 0.5)
    if fault == "left half":
        a = a + math.pi / 2  # angles from 0 to pi
    r = 0.1 + (0.1 if fault == "radius sd" else 0.01) * torch.randn(N, generator=hand).double()
    root = 1.0 if fault == "square root" else math.sqrt(2)
    first = abs(sum(theta)) / root * (1 if fault == "sign of x_1" else -1)
    second = (theta[1] - theta[0]) / root * (-1 if fault == "x_2" else 1)
    x = torch.stack([r * a.cos() + 0.25 + first, r * a.sin() + second], 1)
    assert not follows_the_moon(x, theta)


def density_grid(task, theta, bins):
    """Return p(x | theta) at the middle of cells around the moon, and the cells' area."""
    width = 0.4 / bins
    side = (torch.arange(bins, dtype=torch.float64) + 0.5) * width - 0.2
    x = torch.cartesian_prod(side, side) + torch.from_numpy(centre(theta))
    return task.log_prob(x, torch.tensor(theta).double().expand(len(x), 2)).exp(), width**2


def test_the_density_integrates_to_one_only_with_the_jacobian(task):
    theta = (-0.2, 0.7)
    density, area = density_grid(task, theta, 1000)
    assert density.sum().item() * area == pytest.approx(1, abs=1e-4)  # cells cut by u = 0
    side = (torch.arange(1000, dtype=torch.float64) + 0.5) * 4e-4 - 0.2
    radius = torch.cartesian_prod(side, side).norm(dim=1)
    without = (density * radius * math.pi).sum().item() * area
    assert without == pytest.approx(math.pi * 0.1, rel=1e-3)  # far from one


def test_the_density_is_the_samplers(task):
    """chi2 of counts in 40 x 40 cells, each integrated on 25 x 25 points."""
    theta = (-0.2, 0.7)
    density, area = density_grid(task, theta, 1000)
    cells = (density * area).reshape(40, 25, 40, 25).sum((1, 3)).flatten().numpy()
    x = task.sample(torch.tensor(theta).expand(N, 2), generator(2)).double().numpy()
    edges = np.linspace(-0.2, 0.2, 41)
    counts = np.histogram2d(*(x - centre(theta)).T, bins=[edges, edges])[0].flatten()

    def chi2_is_small(cells):
        large = N * cells > 10
        expected = np.append(N * cells[large], N * (1 - cells[large].sum()))
        observed = np.append(counts[large], N - counts[large].sum())
        return ((observed - expected) ** 2 / expected).sum() < stats.chi2.isf(ALARM, large.sum())

    assert chi2_is_small(cells)
    side = (np.arange(40) + 0.5) * 0.01 - 0.2
    without = cells * np.hypot(*np.meshgrid(side, side, indexing="ij")).flatten()
    assert not chi2_is_small(without / without.sum())  # the density without its Jacobian


def test_both_mirror_images_have_the_same_density(task):
    theta = torch.rand(50, 2, generator=generator(3)).double() * 2 - 1
    x = task.sample(theta, generator(4))
    mirror = -theta.flip(1)
    torch.testing.assert_close(task.log_prob(x, mirror), task.log_prob(x, theta))


def test_the_density_is_finite_where_the_sampler_can_round_to(task):
    """Angles of +-pi/2 may round to a u just below zero, and the centre has radius zero."""
    theta = torch.zeros(3, 2)
    x = torch.tensor([[0.25 - 1e-7, 0.1], [0.25, -0.1], [0.25, 0.0]])
    theta.requires_grad_()
    log_prob = task.log_prob(x, theta)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert torch.isfinite(theta.grad).all()


def posterior_cells(task, x, bins=40, fine=32):
    """Return the posterior's mass in cells of the prior's square, by the midpoint rule."""
    n = bins * fine
    side = (torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n - 1
    density = [
        task.log_prob(x.expand(n, 2), torch.stack([first.expand(n), side], 1)).exp()
        for first in side
    ]
    mass = torch.stack(density).reshape(bins, fine, bins, fine).sum((1, 3))
    return (mass / mass.sum()).flatten().numpy()


def chi2_gate(draws, cells, bins=40):
    edges = np.linspace(-1, 1, bins + 1)
    counts = np.histogram2d(*draws.double().numpy().T, bins=[edges, edges])[0].flatten()
    large = len(draws) * cells > 10
    expected = np.append(len(draws) * cells[large], len(draws) * (1 - cells[large].sum()) + 1e-9)
    observed = np.append(counts[large], len(draws) - counts[large].sum())
    chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1)).sum()
    return chi2 < stats.chi2.isf(ALARM, large.sum())


# In the middle; at a wall, where the crescents are cut; where they touch and most are cut.
@pytest.mark.parametrize("x", [(0.0, 0.0), (-0.15, 0.9), (0.3, 0.05)])
def test_the_posterior_is_its_quadrature(task, x):
    x = torch.tensor(x, dtype=torch.float64)
    draws = task.posterior_samples(x, N, generator(5))
    assert (task.prior.log_prob(draws) > -math.inf).all()
    assert chi2_gate(draws, posterior_cells(task, x))


@pytest.mark.parametrize("fault", ["one crescent", "no test of the sign", "swapped"])
def test_wrong_posterior_samplers_are_rejected(task, fault):
    x = torch.tensor([0.3, 0.05], dtype=torch.float64)
    moon = task.sample(torch.zeros(4 * N, 2, dtype=torch.float64), generator(6))
    q = x - moon
    if fault != "no test of the sign":
        q = q[q[:, 0] <= 0]
    sign = torch.where(torch.rand(len(q), generator=generator(7)) < 0.5, 1.0, -1.0)
    z = q[:, 0].abs() * (1 if fault == "one crescent" else sign)
    pair = [z - q[:, 1], z + q[:, 1]]
    theta = torch.stack(pair[::-1] if fault == "swapped" else pair, 1) / math.sqrt(2)
    theta = theta[(theta.abs() < 1).all(1)][:N]
    assert not chi2_gate(theta, posterior_cells(task, x))


def test_an_observation_out_of_reach_is_an_error_within_a_second(task):
    with pytest.raises(ReferenceFailed, match="expected 10 draws within 300000 .* got 0 of"):
        task.posterior_samples(torch.tensor([1.0, 0.0]), 10, generator(8))
