"""The ring of eight Gaussians against quadrature, its symmetry and its moments."""

import math

import pytest
import torch
from scipy.stats import chi2, norm

from lfi_helpers.run import generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.ring import DEVIATION, MODES

ALARM = 1e-6  # false-alarm probability of each statistical gate below
RADIUS = 2.0
N = 200_000


@pytest.fixture(scope="module")
def ring():
    return load("ring")


def column(n, radius=RADIUS):
    return torch.full((n, 1), radius, dtype=torch.float64)


def plane(side=401, half=4.5):
    axis = torch.linspace(-half, half, side, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]).item() ** 2


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.0])
def test_the_density_integrates_to_one(ring, radius):
    x, area = plane()
    total = ring.log_prob(x, column(len(x), radius)).exp().sum().item() * area
    assert total == pytest.approx(1, abs=1e-9)  # the trapezoidal rule is exact here


def test_the_density_is_a_sum_of_eight_gaussians(ring):
    x = torch.randn(50, 2, generator=generator(0), dtype=torch.float64) * 2
    expected = torch.zeros(50, dtype=torch.float64)
    for k in range(MODES):
        c = RADIUS * math.cos(math.pi * k / 4), RADIUS * math.sin(math.pi * k / 4)
        one = norm.pdf(x[:, 0], c[0], DEVIATION) * norm.pdf(x[:, 1], c[1], DEVIATION)
        expected += torch.as_tensor(one) / MODES
    torch.testing.assert_close(ring.log_prob(x, column(50)).exp(), expected)


def test_a_turn_by_an_eighth_changes_nothing(ring):
    x = torch.randn(50, 2, generator=generator(1), dtype=torch.float64) * 2
    turned = torch.stack([x[:, 0] - x[:, 1], x[:, 0] + x[:, 1]], 1) * math.sqrt(0.5)
    before, after = (ring.log_prob(v, column(50)) for v in (x, turned))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def distances(ring, x):
    """Return chi-squared of the modes' counts, and the pull of the mean of |x - centre|^2."""
    near = torch.cdist(x.double(), ring.centres(column(1))[0]).min(1)
    counts = torch.bincount(near.indices, minlength=MODES).double()
    expected = len(x) / MODES
    squares = (near.values / DEVIATION).square()  # chi-squared, 2 degrees of freedom
    pull = (squares.mean() - 2).item() * math.sqrt(len(x) / 4)
    return ((counts - expected) ** 2 / expected).sum().item(), abs(pull)


def test_the_sampler_fills_every_mode_alike_with_the_right_width(ring):
    spread, pull = distances(ring, ring.sample(column(N), generator(2)))
    assert spread < chi2.isf(ALARM, MODES - 1)
    # a point nearer to another centre is 3.8 deviations away: 1e-4 of them, and a bias of 1e-3
    assert pull < norm.isf(ALARM / 2) + 0.5


def test_wrong_samplers_are_rejected(ring):
    hand, seven = generator(3), torch.arange(N) % 7
    noise = torch.randn(N, 2, generator=hand, dtype=torch.float64)
    centres = ring.centres(column(1))[0]
    lost_a_mode = centres[seven] + DEVIATION * noise
    variance = centres[torch.arange(N) % 8] + DEVIATION**2 * noise
    assert distances(ring, lost_a_mode)[0] > chi2.isf(ALARM, MODES - 1)
    assert distances(ring, variance)[1] > 100


def test_every_row_has_its_own_radius(ring):
    theta = torch.tensor([[1.0], [3.0]]).repeat(20_000, 1)
    x = ring.sample(theta, generator(4)).double()
    mean = x.square().sum(1).view(-1, 2).mean(0)
    exact = torch.tensor([1.0, 9.0], dtype=torch.float64) + 2 * DEVIATION**2
    # var of |x|^2 is 4 s^2 (r^2 + s^2); two numbers, five standard errors: 1.2e-6
    error = torch.sqrt(4 * DEVIATION**2 * (exact - DEVIATION**2) / 20_000)
    assert ((mean - exact).abs() < 5 * error).all()


def test_wrong_input_is_named(ring):
    with pytest.raises(ValueError, match="theta: expected a radius > 0"):
        ring.sample(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        ring.log_prob(torch.zeros(3, 2), torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\)"):
        ring.log_prob(torch.zeros(3, 3), torch.ones(3, 1))
