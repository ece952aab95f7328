"""Slice sampling of any log-density, all chains as one batch, and what says whether it converged.

Must never know what the density means.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.special import ndtri

from lfi_helpers.arguments import batch, finite, positive
from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.run import generator

EXPANSIONS, SHRINKS, ROUNDS = 4, 8, 8  # outward; draws evaluated together; such rounds

LogProb = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chains:
    """Draws of several chains: ``theta`` (S, C, D), and R-hat and effective size, (D,) each.

    R-hat and size are those of all states after the warm-up, also of those that were thinned out.
    """

    theta: Tensor
    r_hat: Tensor
    ess: Tensor
    n_evaluations: int


def slice_sample(
    log_prob: LogProb,
    start: Tensor,
    n_steps: int,
    *,
    warmup: int = 100,
    thin: int = 1,
    seed: int = 0,
    max_seconds: float = 300.0,
) -> Chains:
    r"""Draw from exp(log_prob) by slice sampling along differences of states.

    Each step takes a direction :math:`d = a - b` with a, b two states of a pool, a level
    :math:`\log y = \log p(\theta) - E`, E exponential, steps out from :math:`\theta` in units of
    d until both ends are below the level, and draws inside, shrinking towards :math:`\theta`,
    until a point is above it. During the warm-up the pool is the chains' present states; then it
    is frozen, so that chains are independent and the target is left exactly invariant. Nothing is
    to be tuned: directions have the shape of the target. Sources: doi:10.1214/aos/1056562461,
    arXiv:2002.06212.

    Args:
        log_prob: (N, D) -> (N,), up to a constant; -inf (or NaN) where theta is impossible.
        start: one state for each chain, where log_prob is finite, (C, D); C > 2 D and even.
        n_steps: how many states of each chain are returned.
        warmup: steps before them.
        thin: steps for each state returned.
        seed: of all randomness.
        max_seconds: the budget.

    Raises:
        ValueError: for a start of another shape, or where log_prob is not finite.
        BudgetExceeded: when the seconds are spent; says how many steps were taken.
    """
    theta = finite("start", batch("start", start))
    n_chains, dim = theta.shape
    if n_chains < 4 or n_chains <= 2 * dim:
        raise ValueError(f"start: expected over {max(3, 2 * dim)} chains, got {n_chains}")
    target = _Counted(log_prob)
    height = target(theta)
    if not torch.isfinite(height).all():
        bad = int((~torch.isfinite(height)).sum())
        raise ValueError(f"start: expected finite log_prob, got {bad} of {n_chains} without")
    positive("max_seconds", max_seconds)
    g, pool, kept, begun = generator(seed, device=theta.device), [], [], time.monotonic()
    total = warmup + n_steps * thin
    for i in range(total):
        if time.monotonic() - begun > max_seconds:
            raise BudgetExceeded(
                f"slice_sample: {i} of {total} steps of {n_chains} chains after {max_seconds} s"
            )
        if i <= warmup:
            pool = [theta] if 2 * i < warmup else [*pool, theta]
            states = torch.cat(pool) if i == warmup else theta
        theta, height = _step(target, theta, height, _directions(states, n_chains, g), g)
        if i >= warmup:
            kept.append(theta)
    theta = torch.stack(kept)
    halves = _halves(theta)
    z = _normal_scores(halves)  # ranks are dear, and both need them
    return Chains(theta[thin - 1 :: thin], _rank_r_hat(halves, z), _size(z), target.count)


class _Counted:
    """A log-density that counts its evaluations, and to which NaN is impossible."""

    def __init__(self, log_prob: LogProb):
        self.log_prob, self.count = log_prob, 0

    def __call__(self, theta: Tensor) -> Tensor:
        self.count += len(theta)
        value = self.log_prob(theta)
        if value.shape != theta.shape[:1]:
            raise ValueError(f"log_prob: expected {len(theta)} values, got {tuple(value.shape)}")
        return torch.where(torch.isnan(value), -torch.inf, value)


def _directions(states: Tensor, n: int, g: torch.Generator) -> Tensor:
    """Return n differences of two different states, (n, D)."""
    a = torch.randint(len(states), (n,), generator=g, device=states.device)
    shift = torch.randint(1, len(states), (n,), generator=g, device=states.device)
    return states[a] - states[(a + shift) % len(states)]


def _step(target, theta, height, d, g) -> tuple[Tensor, Tensor]:
    """Move every chain once along its direction d; return the states and their heights."""
    n, device, dtype = len(theta), theta.device, theta.dtype

    def uniform(rows=1):
        return torch.rand(rows, n, generator=g, device=device, dtype=dtype)

    level = height + torch.log(uniform()[0].clamp_min(torch.finfo(dtype).tiny))
    left = -uniform()[0]
    left, right = _step_out(
        target, theta, d, level, left, torch.floor((EXPANSIONS + 1) * uniform()[0])
    )
    return _shrink(target, theta, height, d, level, left, right, uniform)


def _evaluate(target, theta, d, t) -> Tensor:
    """Return the heights, (K, C), at theta + t d with t (K, C), in one call."""
    at = theta + t[:, :, None] * d
    return target(at.flatten(0, 1)).view(t.shape)


def _step_out(target, theta, d, level, left, n_left) -> tuple[Tensor, Tensor]:
    """Return the ends: each goes on by 1 while it is above the level, ``EXPANSIONS`` in all.

    Where the ends may go does not depend on heights: all are evaluated in one call.
    """
    k = torch.arange(EXPANSIONS, device=theta.device, dtype=theta.dtype)[:, None]
    is_left = k < n_left
    t = torch.where(is_left, left - k, left + 1 + (k - n_left))
    above = _evaluate(target, theta, d, t) > level
    went_left = (above & is_left).cumprod(0).sum(0)
    went_right = (above | is_left).cumprod(0).sum(0) - n_left
    return left - went_left, left + 1 + went_right


def _shrink(target, theta, height, d, level, left, right, uniform):
    """Draw between the ends, which close in on theta, until a draw is above the level.

    If all draws of a round are too low, where they lie does not depend on their heights: a round
    is evaluated in one call, and its first draw above the level is taken.
    """
    theta, height, start = theta.clone(), height.clone(), theta
    waiting = torch.ones_like(height, dtype=torch.bool)
    for _ in range(ROUNDS):
        places, u = [], uniform(SHRINKS)
        for row in u:
            t = torch.lerp(left, right, row)
            below = t < 0
            left, right = torch.where(below, t, left), torch.where(below, right, t)
            places.append(t)
        t, rows = torch.stack(places)[:, waiting], waiting.nonzero()[:, 0]
        value = _evaluate(target, start[rows], d[rows], t)
        good = value > level[rows]
        first = good.int().argmax(0)  # the first draw above the level, if there is one
        found = good.any(0)
        column = torch.arange(len(rows), device=theta.device)[found]
        chosen, rows = first[found], rows[found]
        theta[rows] = start[rows] + t[chosen, column, None] * d[rows]
        height[rows] = value[chosen, column]
        waiting[rows] = False
        if not waiting.any():
            break
    return theta, height


def r_hat(theta: Tensor) -> Tensor:
    """Return the rank-normalised split R-hat of draws (S, C, D), (D,): 1 if all chains agree.

    The larger of that of theta and of abs(theta - median). Source: arXiv:1903.08008.
    """
    halves = _halves(theta)
    return _rank_r_hat(halves, _normal_scores(halves))


def effective_size(theta: Tensor) -> Tensor:
    """Return how many independent draws (S, C, D) are worth, (D,): rank-normalised, split chains.

    S C / (1 + 2 sum of autocorrelations), summed in pairs while these are positive and falling.
    Source: arXiv:1903.08008.
    """
    return _size(_normal_scores(_halves(theta)))


def _rank_r_hat(halves: Tensor, z: Tensor) -> Tensor:
    folded = (halves - halves.flatten(0, 1).median(0).values).abs()
    return torch.maximum(_plain_r_hat(z), _plain_r_hat(_normal_scores(folded)))


def _size(z: Tensor) -> Tensor:
    n = len(z)
    within, total = _variances(z)
    centred = z - z.mean(0)
    spectrum = torch.fft.rfft(centred, 2 * n, dim=0)
    covariance = torch.fft.irfft(spectrum.abs() ** 2, 2 * n, dim=0)[:n].mean(1) / n  # (n, D)
    rho = 1 - (within - covariance * n / (n - 1)) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].view(n // 2, 2, -1).sum(1)  # (n // 2, D)
    positive_so_far = (pairs > 0).cummin(0).values
    falling = pairs.cummin(0).values * positive_so_far
    size = n * z.shape[1]
    return size / (2 * falling.sum(0) - 1).clamp_min(1 / math.log10(size))


def _halves(theta: Tensor) -> Tensor:
    """Cut each chain of (S, C, D) in two: (S // 2, 2 C, D) in float64."""
    if theta.ndim != 3 or len(theta) < 4:
        came = tuple(theta.shape)
        raise ValueError(f"theta: expected shape (S, C, D) with at least 4 steps, got {came}")
    n = len(theta) // 2
    return torch.cat([theta[:n], theta[-n:]], 1).double()


def _normal_scores(theta: Tensor) -> Tensor:
    """Replace each number by the normal quantile of its rank among all draws of its dimension."""
    flat = theta.flatten(0, 1).mT.contiguous()  # sorts run along rows
    n = flat.shape[1]
    places = torch.arange(1, n + 1, device=theta.device, dtype=theta.dtype).expand_as(flat)
    rank = torch.empty_like(flat).scatter_(1, flat.argsort(stable=True), places)
    return ndtri((rank - 0.375) / (n + 0.25)).mT.reshape(theta.shape)


def _variances(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean variance within chains, and that of all draws, (D,) each."""
    n = len(z)
    within = z.var(0).mean(0)
    return within, (n - 1) / n * within + z.mean(0).var(0)


def _plain_r_hat(z: Tensor) -> Tensor:
    within, total = _variances(z)
    return (total / within).sqrt()
