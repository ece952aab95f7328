"""Balls that fall on a random number of bumpers, event by event, without a time step.

Knows no method.
"""

from math import log

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lfi_helpers.arguments import batch, finite

GRAVITY = 10.0
N_BALLS = 20
LAUNCH = (-5.0, 9.0)  # where every ball starts, with vy = 0 and a vx of its own
BOX = (11.0, 14.0)  # opening of the box in the ground y = 0
MEAN_BUMPERS, MAX_BUMPERS = 20.0, 40
LOW, HIGH = (-5.0, 0.0), (14.0, 10.0)  # bumpers' centres are uniform between these corners
HALF_WIDTH = 0.5  # of a bumper
SLIDE_BELOW = 0.4  # a ball that leaves a bumper more slowly than this slides to its end
PAST_END = 1e-3  # where it then falls, beyond the end
MAX_LEGS = MAX_BUMPERS * 14 + 1  # bounces advance by 0.08 or more: 13 on one bumper, then a slide
WORLDS = 1024  # per pass


class BumperPrior(Distribution):
    """Number of bumpers n ~ Poisson(20) up to 40, centres of 40 slots uniform: event shape (81,).

    A row is (n, x_1, y_1, ..., x_40, y_40); only the first n slots are in the world, the others
    are spare, which keeps the width fixed and the density a plain product.
    """

    arg_constraints = {}

    def __init__(self):
        n = torch.arange(MAX_BUMPERS + 1, device="cpu", dtype=torch.float64)
        logits = n * log(MEAN_BUMPERS) - torch.lgamma(n + 1)
        self.number = Categorical(logits=logits.float(), validate_args=False)
        self.low, self.high = (torch.tensor(corner, device="cpu") for corner in (LOW, HIGH))
        event = torch.Size([1 + 2 * MAX_BUMPERS])
        super().__init__(event_shape=event, validate_args=False)

    def sample(self, sample_shape: torch.Size | tuple = ()) -> Tensor:
        """Draw worlds: (*sample_shape, 81)."""
        shape = torch.Size(sample_shape)
        n = self.number.sample(shape)[..., None]
        u = torch.rand(*shape, MAX_BUMPERS, 2, device=self.low.device)
        centres = self.low + (self.high - self.low) * u
        return torch.cat([n.to(u.dtype), centres.flatten(-2)], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(n) plus the log density of the 40 centres: (..., 81) -> (...)."""
        n, centres = value[..., 0], value[..., 1:].unflatten(-1, (MAX_BUMPERS, 2))
        low, high = self.low.to(value), self.high.to(value)
        counts = (n >= 0) & (n <= MAX_BUMPERS) & (n == n.floor())
        inside = counts & ((centres >= low) & (centres <= high)).all(-1).all(-1)
        number = self.number.logits.to(value)[torch.where(counts, n, 0.0).long()]
        area = (high - low).prod()
        return torch.where(inside, number - MAX_BUMPERS * area.log(), -torch.inf)


class Bumpers:
    """How many of 20 balls end in the box, for theta = (n, x_1, y_1, ..., x_40, y_40).

    Balls leave (-5, 9) with vy = 0 and vx = 2 + (i + 1/2) / 10, i = 0 ... 19, do not feel each
    other and fall with g = 10. Bumpers are horizontal edges of length 1 around the first n of the
    40 centres; a descending ball bounces off them, vy -> -e vy, an ascending one passes. If it
    leaves with vy < 0.4 it slides to the edge's end and falls. From (x, y, vx, vy) it meets the
    edge at height Y after

        t = (vy + sqrt(vy^2 + 2 g (y - Y))) / g    if |x + vx t - X| < 1/2,

    the earliest counts, else the ground y = 0; x = number of balls that land in 11 <= x < 14.
    All of the randomness is in the prior: sample is a function of theta.

    The program is the random-bumpers example of probabilistic programming, with straight physics
    in the place of a physics engine.

    Args:
        restitution: e, between 0 (every ball slides) and 1 (elastic).
    """

    name = "bumpers"
    theta_dim = 1 + 2 * MAX_BUMPERS
    x_dim = 1

    def __init__(self, restitution: float = 0.9):
        if not isinstance(restitution, int | float) or not 0 <= restitution <= 1:
            raise ValueError(f"restitution: expected a number in [0, 1], got {restitution!r}")
        self.restitution = float(restitution)
        self.prior = BumperPrior()

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Count the balls in the box: (N, 81) -> (N, 1). Uses no generator: nothing is random."""
        theta = _worlds(theta)
        order = theta[:, 0].argsort()  # worlds with equally many bumpers are computed together
        count = torch.empty_like(theta[:, 0])
        for worlds in order.split(WORLDS):
            count[worlds] = self._count(*_edges(theta[worlds]))
        return count[:, None]

    def _count(self, edge_x: Tensor, edge_y: Tensor) -> Tensor:
        """Follow all balls of W worlds, leg by leg, until every one has landed: (W, n) -> (W,)."""
        state = _launch(edge_x)
        world = torch.arange(len(edge_x), device=edge_x.device).repeat_interleave(N_BALLS)
        count = torch.zeros_like(edge_x[:, 0])
        edge_x, edge_y = edge_x[world], edge_y[world]  # (20 W, n)
        for _ in range(MAX_LEGS):
            _, end, hit, leaves = self._leg(state, edge_x, edge_y)
            boxed = ~hit & (end[0] >= BOX[0]) & (end[0] < BOX[1])
            count.index_add_(0, world, boxed.to(count.dtype))
            flying = hit.nonzero()[:, 0]
            if len(flying) == 0:
                return count
            state, world = leaves[:, flying], world[flying]
            edge_x, edge_y = edge_x[flying], edge_y[flying]
        raise RuntimeError(f"{len(world)} balls still fly after {MAX_LEGS} legs")

    def _leg(
        self, state: Tensor, edge_x: Tensor, edge_y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fly from states (x, y, vx, vy), (4, B), to the next contact: edge (B, n) or ground.

        Returns the time of flight (B,), the state at the contact, whether that is an edge (B,),
        and the state in which the ball leaves it.
        """
        x, y, vx, vy = state
        t = _fall_time(y[:, None] - edge_y, vy[:, None])  # (B, n), NaN where the edge is too high
        meets = (x[:, None] + vx[:, None] * t - edge_x).abs() < HALF_WIDTH
        first, which = torch.where(meets, t, torch.inf).min(1)
        ground = _fall_time(y, vy)
        hit = first < ground
        time = torch.where(hit, first, ground)
        met_x, met_y = (side.gather(1, which[:, None])[:, 0] for side in (edge_x, edge_y))
        end = torch.stack([x + vx * time, torch.where(hit, met_y, 0.0), vx, vy - GRAVITY * time])
        bounce = -self.restitution * end[3]
        slides = bounce < SLIDE_BELOW
        after_x = torch.where(slides, met_x + HALF_WIDTH + PAST_END, end[0])
        leaves = torch.stack([after_x, end[1], vx, torch.where(slides, 0.0, bounce)])
        return time, end, hit, leaves

    def trajectories(self, theta: Tensor, points: int = 16) -> Tensor:
        """Return the flights of the balls of one world, for a drawing: (1, 81) -> (20, T, 5).

        Columns are time, x, y, vx, vy. Each leg has ``points`` states, the last at the contact,
        and one more: the state in which the ball leaves. A landed ball repeats its last state.
        """
        theta = _worlds(theta)
        if len(theta) != 1:
            raise ValueError(f"theta: expected one world, shape (1, 81), got {tuple(theta.shape)}")
        if not isinstance(points, int) or points < 2:
            raise ValueError(f"points: expected an integer >= 2, got {points!r}")
        state = _launch(theta)
        clock = torch.zeros_like(state[0])
        flying = torch.ones_like(clock, dtype=torch.bool)
        part = torch.linspace(0, 1, points, device=theta.device, dtype=theta.dtype)[:, None]
        record = []
        edge_x, edge_y = (side.expand(N_BALLS, -1) for side in _edges(theta))
        for _ in range(MAX_LEGS):
            time, end, hit, leaves = self._leg(state, edge_x, edge_y)
            t = torch.where(flying, time, 0.0) * part  # (points, 20)
            x, y, vx, vy = state
            flight = [clock + t, x + vx * t, y + vy * t - GRAVITY / 2 * t.square()]
            record.append(torch.stack([*flight, vx.expand_as(t), vy - GRAVITY * t], 2))
            end = torch.where(flying, end, state)
            flying = flying & hit
            state = torch.where(flying, leaves, end)
            clock = clock + t[-1] + (state[0] - end[0]) / vx  # a slide takes its time
            record.append(torch.stack([clock, *state], 1)[None])
            if not flying.any():
                return torch.cat(record).transpose(0, 1)
        raise RuntimeError(f"{int(flying.sum())} balls still fly after {MAX_LEGS} legs")


def _fall_time(height: Tensor, vy: Tensor) -> Tensor:
    """Return when a ball at ``height`` above a level comes down on it (height, vy broadcast)."""
    return (vy + (vy * vy + 2 * GRAVITY * height).sqrt()) / GRAVITY


def _launch(like: Tensor) -> Tensor:
    """Return the first state (x, y, vx, vy) of the 20 balls of each row of ``like``: (4, 20 W)."""
    ball = torch.arange(N_BALLS, device=like.device, dtype=like.dtype)
    vx = (2 + 2 * (ball + 0.5) / N_BALLS).repeat(len(like))
    start = [torch.full_like(vx, value) for value in LAUNCH]
    return torch.stack([*start, vx, torch.zeros_like(vx)])


def _edges(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return X and Y of the edges of W worlds, each (W, largest n); spare ones lie underground."""
    n, centres = theta[:, :1], theta[:, 1:].unflatten(1, (MAX_BUMPERS, 2))
    most = int(max([1, *n.flatten().tolist()]))
    spare = torch.arange(most, device=theta.device) >= n
    return centres[:, :most, 0], centres[:, :most, 1].masked_fill(spare, -1.0)


def _worlds(theta: Tensor) -> Tensor:
    """Return theta as floating-point worlds (N, 81), or raise."""
    theta = finite("theta", batch("theta", theta, Bumpers.theta_dim))
    n = theta[:, 0]
    if ((n < 0) | (n > MAX_BUMPERS) | (n != n.floor())).any():
        raise ValueError(
            f"theta: expected 0, 1, ... or {MAX_BUMPERS} bumpers in column 0, got other numbers"
        )
    return theta
