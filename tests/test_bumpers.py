"""Random bumpers against closed forms, a scalar program and a small-step integrator."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator, seeded
from lfi_helpers.simulators import Simulator, bumpers, load, simulate
from lfi_helpers.simulators.bumpers import Bumpers

ALARM = 1e-5  # probability that one statistical test fails although all is right
SPEEDS = [2 + (i + 0.5) / 10 for i in range(20)]


def world(*centres):
    """Build a world (1, 81) from the centres of its bumpers; the spare slots lie in the way."""
    spare = [(0.0, 5.0)] * (40 - len(centres))
    return torch.tensor([[len(centres), *np.ravel([*centres, *spare])]], dtype=torch.float64)


def worlds(n, seed, dtype=torch.float64):
    return draw(load("bumpers").prior, n, generator(seed)).to(dtype)


def land(vx, edges, e):
    """Follow one ball, one scalar at a time; return where it meets the ground."""
    x, y, vy = -5.0, 9.0, 0.0
    while True:
        best, edge = (vy + math.sqrt(vy * vy + 20.0 * y)) / 10.0, None
        for place, level in edges:
            square = vy * vy + 20.0 * (y - level)
            if square >= 0:
                t = (vy + math.sqrt(square)) / 10.0
                if abs(x + vx * t - place) < 0.5 and t < best:
                    best, edge = t, (place, level)
        x, vy = x + vx * best, vy - 10.0 * best
        if edge is None:
            return x
        y, vy = edge[1], -e * vy
        if vy < 0.4:
            x, vy = edge[0] + 0.5 + 0.001, 0.0


def scalar_count(theta, e=0.9):
    """Count the balls in the box of each world, one ball after the other."""
    counts = []
    for row in theta.tolist():
        n = int(row[0])
        edges = list(zip(row[1 : 1 + 2 * n : 2], row[2 : 2 + 2 * n : 2], strict=True))
        counts.append(sum(11 <= land(vx, edges, e) < 14 for vx in SPEEDS))
    return counts


def small_steps(vx, centre, dt, e=0.9):
    """Integrate one ball and one bumper with explicit steps dt; return where it lands."""
    x, y, vy = -5.0, 9.0, 0.0
    while y > 0:
        before = y
        x, y, vy = x + vx * dt, y + vy * dt, vy - 10 * dt
        if before >= centre[1] > y and abs(x - centre[0]) < 0.5:
            y, vy = centre[1], -e * vy
    return x


# --- one ball, closed forms


def test_free_fall():
    flight = load("bumpers").trajectories(world())
    t, x, y, vx, vy = flight[:, -1].T
    fall = math.sqrt(2 * 9 / 10)
    wanted = torch.tensor(SPEEDS, dtype=torch.float64)
    assert torch.allclose(t, torch.full_like(t, fall), atol=1e-14)
    assert torch.allclose(vx, wanted, atol=1e-14)
    assert torch.allclose(x, -5 + wanted * fall, atol=1e-13)
    assert torch.equal(y, torch.zeros_like(y))
    assert torch.allclose(vy, torch.full_like(vy, -10 * fall), atol=1e-13)
    assert load("bumpers").sample(world()).item() == 0


def test_one_bounce_in_closed_form():
    """Every ball falls 4 onto an edge below the launch, then rises to e^2 4 above it."""
    flight = load("bumpers").trajectories(world((-2.8, 5.0)))
    first, second = math.sqrt(0.8), 0.9 * math.sqrt(0.8)
    met = [abs(-5 + v * first + 2.8) < 0.5 for v in SPEEDS]
    assert 0 < sum(met) < 20
    rise = math.sqrt(2 * (5 + 0.81 * 4) / 10)
    wanted = [first + second + rise if hit else math.sqrt(1.8) for hit in met]
    assert torch.allclose(flight[:, -1, 0], torch.tensor(wanted, dtype=torch.float64), atol=1e-13)


def test_one_bounce_against_small_steps():
    """The landing place of an integrator with steps dt tends to the exact one, linearly."""
    centre = (-2.3, 6.0)
    exact = load("bumpers").trajectories(world(centre))[:, -1, 1]
    for i in (9, 13, 18):
        errors = [
            abs(small_steps(SPEEDS[i], centre, dt) - exact[i].item()) for dt in (1e-3, 1e-4, 1e-5)
        ]
        assert abs(exact[i] - (-5 + SPEEDS[i] * math.sqrt(1.8))) > 1  # it did bounce
        for dt, error in zip((1e-3, 1e-4, 1e-5), errors, strict=True):
            assert error < 20 * dt
        assert errors[2] < errors[0] / 20


def test_slide_over_a_platform():
    """Without restitution every ball slides over touching edges to the far end and falls."""
    platform = [(-5.0 + k, 7.0) for k in range(8)]
    flight = Bumpers(restitution=0.0).trajectories(world(*platform))
    wanted = 2.5 + 1e-3 + torch.tensor(SPEEDS, dtype=torch.float64) * math.sqrt(1.4)
    assert torch.allclose(flight[:, -1, 1], wanted, atol=1e-12)
    skips = NoSlide(restitution=0.0).trajectories(world(*platform))
    assert (skips[:, -1, 1] - wanted).abs().min() > 1e-6  # the closed form tells them apart
    assert (flight[:, :, 0].diff(dim=1) >= 0).all()
    drop = math.sqrt(0.4), math.sqrt(1.4)
    slide = (2.501 + 5) / flight[:, 0, 3]
    assert torch.allclose(flight[:, -1, 0], slide + drop[1], atol=1e-12)


def test_an_ascending_ball_passes():
    """A ball that rises through an edge after a bounce is not stopped by it."""
    low, above, ball = (-1.1, 1.0), (-0.5, 3.0), 10
    free, passed = (load("bumpers").trajectories(world(*edges)) for edges in ([low], [low, above]))
    rising = (passed[ball, :, 2] > 3.0) & (passed[ball, :, 0] > 1.27)
    assert rising.any()  # it did bounce, and rose above the second edge
    assert torch.equal(free[ball, -1], passed[ball, -1])
    stopped = TwoSided().trajectories(world(low, above))
    assert (stopped[ball, -1, 1] - passed[ball, -1, 1]).abs() > 1


# --- energy


@pytest.mark.parametrize("e", [1.0, 0.9, 0.5])
def test_energy(e):
    """Conserved in flight; a bounce keeps e^2 of the vertical part, a slide none of it."""
    board, legs = Bumpers(restitution=e), 0
    for theta in worlds(40, seed=1).split(1):
        flight = board.trajectories(theta, points=5)
        _, x, y, vx, vy = flight.unbind(2)
        energy = 0.5 * (vx**2 + vy**2) + 10 * y
        contact = torch.zeros_like(energy[0, 1:], dtype=torch.bool)
        contact[4::6] = True  # every leg: five states of flight, then the state after the contact
        change = energy.diff(dim=1)
        assert change[:, ~contact].abs().max() < 1e-9
        before, after = vy[:, :-1][:, contact], vy[:, 1:][:, contact]
        slid = after == 0
        assert torch.equal(slid & (before < 0), slid) and (e * before[slid] > -0.4).all()
        bounced = (after > 0) & ~slid
        kept = torch.ones_like(before).masked_fill(bounced, e**2).masked_fill(slid, 0.0)
        assert (change[:, contact] - (kept - 1) * before**2 / 2).abs().max() < 1e-9
        legs += int(bounced.sum())
        if e == 1.0:
            whole = (~slid).all(1)
            assert (energy[whole] - energy[whole][:, :1]).abs().max() < 1e-9
    assert legs > 500


# --- many worlds


def test_counts_equal_the_scalar_program():
    theta = worlds(400, seed=2)
    assert load("bumpers").sample(theta)[:, 0].tolist() == scalar_count(theta)
    assert Bumpers(restitution=1).sample(theta[:100])[:, 0].tolist() == scalar_count(
        theta[:100], 1
    )


def test_trajectories_end_where_sample_counts():
    board = load("bumpers")
    for theta in worlds(60, seed=3).split(1):
        flight = board.trajectories(theta, points=3)
        t, x, y = flight[..., 0], flight[..., 1], flight[..., 2]
        assert (t.diff(dim=1) >= 0).all() and (x.diff(dim=1) >= 0).all() and (y > -1e-12).all()
        assert (y[:, -1] == 0).all()
        landed = x[:, -1]
        assert ((landed >= 11) & (landed < 14)).sum() == board.sample(theta).item()


def test_a_crowded_world_ends():
    """A floor of forty edges: dozens of ever lower bounces, then a slide; as one by one."""
    floor = world(*[(-4.5 + k, 6.0) for k in range(40)])
    assert load("bumpers").sample(floor)[:, 0].tolist() == scalar_count(floor)
    flight = load("bumpers").trajectories(floor)
    assert flight.shape[1] > 25 * 17


def test_a_world_alone_is_the_world_in_a_batch():
    board = load("bumpers")
    for dtype in (torch.float32, torch.float64):
        theta = worlds(3000, seed=4, dtype=dtype)
        x = board.sample(theta)
        assert x.shape == (3000, 1) and x.dtype == dtype
        assert torch.equal(x, board.sample(theta, generator(1)))  # nothing is random
        assert torch.equal(x.flip(0), board.sample(theta.flip(0)))
        assert torch.equal(x[:100], torch.cat([board.sample(row) for row in theta[:100].split(1)]))


def test_spare_slots_do_not_matter():
    board, theta = load("bumpers"), worlds(500, seed=5)
    other = theta.clone()
    spare = torch.arange(40) >= theta[:, :1]
    other[:, 1:] = torch.where(spare.repeat_interleave(2, 1), 4.0, theta[:, 1:])
    assert not torch.equal(theta, other)
    assert torch.equal(board.sample(theta), board.sample(other))


def test_single_precision_changes_next_to_nothing():
    theta = worlds(2000, seed=6, dtype=torch.float32)
    different = load("bumpers").sample(theta) != load("bumpers").sample(theta.double()).float()
    assert different.sum() <= 4  # about 0.1 expected: contacts within 1e-6 of an edge's end


def fraction_excess(board, seed, n=30_000):
    """Compare P(4) and P(8) with 400 000 worlds of an earlier, separate program, in critical z."""
    _, x = simulate(board, n, seed=seed)
    z = []
    for k, p in ((4, 0.0471), (8, 0.00396)):
        error = math.sqrt(p * (1 - p) * (1 / n + 1 / 400_000))
        z.append(abs((x == k).double().mean().item() - p) / error)
    return max(z) / stats.norm.isf(ALARM / 4)


def test_fractions_are_those_of_another_program():
    assert fraction_excess(load("bumpers"), seed=7) < 1


# --- the prior


def test_prior():
    board = load("bumpers")
    assert isinstance(board, Simulator) and board.prior.event_shape == (81,)
    theta = worlds(50_000, seed=8)
    seen = np.bincount(theta[:, 0].long().numpy(), minlength=41)
    p = stats.poisson.pmf(np.arange(41), 20)
    wanted = 50_000 * p / p.sum()
    core = wanted > 10
    chi2 = ((seen - wanted)[core] ** 2 / wanted[core]).sum()
    chi2 += (seen[~core].sum() - wanted[~core].sum()) ** 2 / wanted[~core].sum()
    assert chi2 < stats.chi2.isf(ALARM, core.sum())
    centres = theta[:2000, 1:].unflatten(1, (40, 2)).reshape(-1, 2)
    for column, (low, high) in zip(centres.T, ((-5, 14), (0, 10)), strict=True):
        uniform = stats.uniform(low, high - low)
        assert stats.kstest(column.numpy(), uniform.cdf).pvalue > ALARM
    assert not torch.equal(worlds(5, seed=8), worlds(5, seed=9))


def test_prior_density():
    prior, theta = load("bumpers").prior, worlds(1, seed=10).repeat(41, 1)
    theta[:, 0] = torch.arange(41)
    log_density = prior.log_prob(theta)
    wanted = stats.poisson.logpmf(np.arange(41), 20) - 40 * math.log(190)
    wanted -= math.log(stats.poisson.cdf(40, 20))
    assert np.abs(log_density.numpy() - wanted).max() < 1e-4  # logits are float32
    assert (log_density + 40 * math.log(190)).exp().sum().item() == pytest.approx(1, abs=1e-5)
    for place, value in ((0, 41.0), (0, -1.0), (0, 19.5), (1, 14.1), (1, -5.1), (80, 10.1)):
        outside = theta[20:21].clone()
        outside[0, place] = value
        assert prior.log_prob(outside).item() == -torch.inf
    with seeded(12):
        assert prior.sample((3, 2)).shape == (3, 2, 81) and prior.sample().shape == (81,)


# --- the same judges reject programs written wrongly


class TwoSided(Bumpers):
    """Edges that stop ascending balls as well."""

    def _leg(self, state, edge_x, edge_y):
        x, y, vx, vy = state
        above = edge_y - y[:, None]
        t = (vy[:, None] - (vy[:, None] ** 2 - 20 * above).sqrt()) / 10
        blocked = (above > 0) & ((x[:, None] + vx[:, None] * t - edge_x).abs() < 0.5)
        blocked = blocked.any(1)
        state = torch.stack([x, y, vx, torch.where(blocked, 0.0, vy)])
        return super()._leg(state, edge_x, edge_y)


class NoSlide(Bumpers):
    """Slow balls are bounced for ever instead of sliding, until they pass the end."""

    def _leg(self, state, edge_x, edge_y):
        time, end, hit, leaves = super()._leg(state, edge_x, edge_y)
        slow = leaves[3] == 0
        bounce = torch.where(slow, torch.clamp(-self.restitution * end[3], min=0.05), leaves[3])
        return time, end, hit, torch.stack([end[0], leaves[1], leaves[2], bounce])


class LowestEdge(Bumpers):
    """Takes the last edge that a ball could meet, not the first."""

    def _leg(self, state, edge_x, edge_y):
        x, y, vx, vy = state
        t = bumpers._fall_time(y[:, None] - edge_y, vy[:, None])
        meets = (x[:, None] + vx[:, None] * t - edge_x).abs() < 0.5
        last = torch.where(meets, t, -1.0).max(1, keepdim=True).values
        return super()._leg(state, torch.where(meets & (t < last), 1e6, edge_x), edge_y)


@pytest.mark.parametrize("wrong", [TwoSided, LowestEdge, lambda: Bumpers(0.8)])
def test_wrong_programs_are_rejected(wrong):
    theta = worlds(300, seed=2)
    different = np.mean(np.array(wrong().sample(theta)[:, 0].tolist()) != scalar_count(theta))
    assert different > 0.01


def test_wrong_widths_and_gravity_are_rejected(monkeypatch):
    theta = worlds(300, seed=2)
    right = scalar_count(theta)
    for name, value in (("HALF_WIDTH", 1.0), ("GRAVITY", 9.81), ("BOX", (11.0, 13.0))):
        with monkeypatch.context() as patch:
            patch.setattr(bumpers, name, value)
            assert load("bumpers").sample(theta)[:, 0].tolist() != right
    monkeypatch.setattr(bumpers, "HALF_WIDTH", 1.0)
    assert fraction_excess(load("bumpers"), seed=7) > 1


# --- contracts


def test_flight_has_a_budget(monkeypatch):
    monkeypatch.setattr(bumpers, "MAX_LEGS", 2)
    with pytest.raises(RuntimeError, match="balls still fly after 2 legs"):
        load("bumpers").sample(worlds(50, seed=2))


def test_default_device_does_not_matter(same_when_poisoned):
    def everything():
        board = Bumpers()
        theta = draw(board.prior, 20, generator(11))
        flights = board.trajectories(theta[:1])
        return [theta, board.sample(theta), flights, board.prior.log_prob(theta)]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(81)), r"theta: expected shape \(N, 81\), got \(81,\)"),
        (lambda b: b.sample(torch.zeros(2, 3)), r"theta: expected shape \(N, 81\), got \(2, 3\)"),
        (lambda b: b.sample(torch.full((1, 81), torch.inf)), "theta: expected finite numbers"),
        (lambda b: b.sample(torch.full((1, 81), 41.0)), "theta: expected 0, 1, ... or 40 bumpers"),
        (lambda b: b.sample(torch.full((1, 81), 0.5)), "theta: expected 0, 1, ... or 40 bumpers"),
        (lambda b: b.trajectories(torch.zeros(2, 81)), "theta: expected one world"),
        (lambda b: b.trajectories(torch.zeros(1, 81), points=1), "points: expected"),
        (lambda b: Bumpers(restitution=1.1), r"restitution: expected a number in \[0, 1\]"),
        (lambda b: Bumpers(restitution="soft"), r"restitution: expected a number in \[0, 1\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(load("bumpers"))
