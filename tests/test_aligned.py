"""The layer that starts at a linear regression: bijection, Jacobian, and what it knows untrained.

Exact where nothing is trained: regressions of 20 000 rows; tolerances are ten standard errors.
"""

import math
import warnings

import pytest
import torch
from torch.distributions import Independent, Normal, Uniform

from lfi_helpers.flows import Flow, StandardCoordinates, prior_coordinates
from lfi_helpers.flows.aligned import CUBE, Aligned
from lfi_helpers.run import draw, generator

NOISE = 0.5


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), device="cpu", dtype=torch.float64)


def layer(cube, seed=0, spread=1.0):
    """Return a layer of three features and two contexts, in float64, off its regression."""
    z, c = rows(3, 400, seed=seed), rows(2, 400, seed=seed + 1)
    made = Aligned(z.clamp(-CUBE, CUBE), c, cube).double()
    with torch.no_grad():
        made.slope.add_(spread * rows(3, 2, seed=seed + 2))
        made.log_scale.add_(0.3 * rows(3, 1, seed=seed + 3))
    return made


def jacobian_error(cube):
    """Return the largest error of log_det against the autograd Jacobian, at 30 places."""
    made, c = layer(cube), rows(2, 30, seed=5)
    z = CUBE * (2 * torch.rand(3, 30, generator=generator(6), dtype=torch.float64) - 1)
    worst = 0.0
    for k in range(30):
        one = c[:, k : k + 1]

        def map_(v, one=one):
            return made(v[:, None], one)[0][:, 0]

        exact = torch.autograd.functional.jacobian(map_, z[:, k]).det().abs().log()
        found = made(z[:, k : k + 1], one)[1][0]
        worst = max(worst, (found - exact).abs().item())
    return worst


@pytest.mark.parametrize("cube", [True, False])
def test_the_jacobian_is_autograds(cube):
    assert jacobian_error(cube) < 1e-10


def test_a_forgotten_truncation_is_seen(monkeypatch):
    def without_mass(self, t, mass):
        ones = torch.ones_like(mass)
        return right(self, t, ones)

    right = Aligned._log_slope
    monkeypatch.setattr(Aligned, "_log_slope", without_mass)
    assert jacobian_error(True) > 1e-2


@pytest.mark.parametrize("cube", [True, False])
def test_round_trip(cube):
    made, c = layer(cube), rows(2, 500, seed=7)
    z = CUBE * (2 * torch.rand(3, 500, generator=generator(8), dtype=torch.float64) - 1)
    there, log_det = made(z, c)
    back, back_log_det = made.inverse(there, c)
    assert (back - z).abs().max() < 1e-8 and (log_det + back_log_det).abs().max() < 1e-8
    if cube:
        assert there.abs().max() <= CUBE
        faces = torch.tensor([[-CUBE], [CUBE]], dtype=torch.float64)
        for face in faces:
            at = face.expand(3, 1).clone()
            assert torch.allclose(made(at, c[:, :1])[0], at, atol=1e-12)


def box(low, high):
    return Independent(Uniform(torch.tensor(low), torch.tensor(high)), 1)


BOX = box([-1.0, 0.0], [1.0, 4.0])
WIDE = Independent(Normal(torch.tensor([1.0, -2.0]), torch.tensor([1.0, 3.0])), 1)


def pairs(prior, n=20_000, seed=0):
    theta = draw(prior, n, generator(seed))
    return theta, theta + NOISE * torch.randn(n, 2, generator=generator(seed, 1), device="cpu")


def untrained(prior, align=True, coordinates=None):
    """Return a flow whose splines are the identity: only the first layer says something."""
    theta, x = pairs(prior)
    place = prior_coordinates(prior) if coordinates is None else coordinates(theta)
    flow = Flow(2, 2, coordinates=place, align=(theta, x) if align else None, hidden=(8,))
    with torch.no_grad():
        for name, value in flow.named_parameters():
            if "network" in name:
                value.zero_()
    return flow


@torch.no_grad()
def log_loss(flow, prior):
    theta, x = pairs(prior, 4_000, seed=3)
    return -flow(x).log_prob(theta).mean().item()


@pytest.mark.parametrize("coordinates", [None, StandardCoordinates])
def test_a_normal_posterior_needs_no_training(coordinates):
    """Prior normal, x = theta + noise: the posterior is normal, its mean linear in x."""
    theta, x = pairs(WIDE, 4_000, seed=3)
    scale = WIDE.base_dist.scale
    variance = 1 / (1 / scale**2 + 1 / NOISE**2)
    mean = variance * (WIDE.base_dist.loc / scale**2 + x / NOISE**2)
    exact = -Independent(Normal(mean, variance.sqrt()), 1).log_prob(theta).mean().item()
    found = untrained(WIDE, coordinates=coordinates)
    if coordinates is None:
        assert log_loss(found, WIDE) == pytest.approx(exact, abs=0.02)
        assert log_loss(untrained(WIDE, align=False), WIDE) > exact + 1
    else:  # its splines' base is normal too
        assert log_loss(found, WIDE) == pytest.approx(exact, abs=0.02)


def test_in_a_box_nearly_all_is_known_untrained():
    """A truncated bell for a truncated bell: logistic instead of normal, 0.1 nat a dimension."""
    theta, x = pairs(BOX, 4_000, seed=3)
    bell = Normal(x, NOISE)
    mass = bell.cdf(BOX.base_dist.high) - bell.cdf(BOX.base_dist.low)
    exact = -(bell.log_prob(theta) - mass.log()).sum(1).mean().item()
    assert exact < log_loss(untrained(BOX), BOX) < exact + 0.2
    assert log_loss(untrained(BOX, align=False), BOX) > exact + 0.5


def test_a_regression_on_other_rows_is_seen(monkeypatch):
    right = Aligned.__init__

    def rolled(self, z, c, cube):
        right(self, z, c.roll(1, 1), cube)

    good = log_loss(untrained(WIDE), WIDE)
    monkeypatch.setattr(Aligned, "__init__", rolled)
    assert log_loss(untrained(WIDE), WIDE) > good + 1


def test_the_density_in_the_box_is_one_and_far_contexts_are_finite():
    flow = untrained(BOX)
    u = (torch.arange(400, device="cpu") + 0.5) / 400
    grid = torch.cartesian_prod(-1 + 2 * u, 4 * u)
    for x in ([0.2, 1.0], [0.99, 3.9], [-300.0, 4000.0]):
        density = flow(torch.tensor(x))
        with torch.no_grad():
            log_q = density.log_prob(grid)
        assert torch.isfinite(log_q).all()
        assert log_q.double().exp().mean().item() * 8 == pytest.approx(1, abs=2e-3)
        theta = draw(density, 5_000, generator(4))
        assert torch.isfinite(BOX.log_prob(theta)).all()


def test_gradients_reach_the_regression():
    theta, x = pairs(BOX, 200)
    flow = untrained(BOX)
    (-flow(x).log_prob(theta).mean()).backward()
    for value in flow.layers[0].parameters():
        assert torch.isfinite(value.grad).all() and value.grad.abs().max() > 0


def test_constant_and_repeated_contexts_have_a_regression():
    theta, x = pairs(BOX, 50)
    x = torch.cat([x, x, torch.ones_like(x)], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow = Flow(2, 6, coordinates=prior_coordinates(BOX), align=(theta, x))
    assert math.isfinite(flow(x).log_prob(theta).mean().item())


def test_aligned_flows_are_the_same_on_every_default_device(same_when_poisoned):
    theta, x = pairs(BOX, 300)

    def compute():
        flow = Flow(2, 2, coordinates=prior_coordinates(BOX), align=(theta, x), hidden=(8,))
        return [flow(x).log_prob(theta).detach(), draw(flow(x[:5]), 10, generator(1)).detach()]

    same_when_poisoned(compute)
