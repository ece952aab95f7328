"""Truncated sequential rounds: simulate where the posterior of one observation may be.

Must never know the simulator: it is handed in as a callable.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import batch, finite, floating
from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.inference.npe import npe
from lfi_helpers.inference.pairs import count
from lfi_helpers.inference.posterior import DensityPosterior
from lfi_helpers.run import check_seed, draw, generator, spawn_seeds

OUTSIDE = 1e-4  # mass of the posterior that the truncation may cut away
MAX_SECONDS, CHUNK = 120.0, 20_000


def tsnpe(
    sample: Callable[[Tensor, torch.Generator], Tensor],
    prior: Distribution,
    x_obs: Tensor,
    *,
    n_sim: int,
    rounds: int = 4,
    seed: int = 0,
    **settings,
) -> DensityPosterior:
    r"""Learn the posterior of one x_obs in rounds, each simulated from a truncated prior.

    After each round the prior is cut further, to where :math:`q(\theta | x_{obs})` exceeds the
    level that all but a share 1e-4 of its draws exceed. Inside the region the prior keeps its
    form, so the loss is ``npe``'s, on the pairs of all rounds inside it, and nothing is to be
    corrected. What leaks out of the region, where nothing was simulated, is rejected and
    ``log_prob`` renormalised. The result holds for x_obs only. Source: arXiv:2210.04815.

    Args:
        sample: the simulator, (theta (N, D), generator) -> x (N, L).
        prior: event shape (D,).
        x_obs: the observation, (L,) or (1, L).
        n_sim: how many simulations, all rounds together.
        rounds: among which they are shared equally.
        seed: of everything.
        settings: of ``npe``.

    Raises:
        BudgetExceeded: if the truncated prior is so small that its draws cannot be found.
        ValueError, TypeError: as from ``npe``.
    """
    check_seed(seed)
    if count("rounds", rounds) > count("n_sim", n_sim):
        raise ValueError(f"rounds: expected at most n_sim = {n_sim}, got {rounds}")
    x_obs = finite("x_obs", floating("x_obs", x_obs)).float()
    cuts, pairs = [], None
    for k, round_seed in enumerate(spawn_seeds(seed, rounds)):
        g = generator(round_seed)
        n_round = n_sim * (k + 1) // rounds - n_sim * k // rounds
        theta = _draw_inside(prior, cuts, x_obs, n_round, g)
        x = batch("x", sample(theta, g))
        if pairs is not None:
            kept = _inside(cuts[-1:], pairs[0], x_obs)
            theta, x = torch.cat([pairs[0][kept], theta]), torch.cat([pairs[1][kept], x])
        pairs = theta, x
        learned = npe(theta, x, prior, seed=round_seed, **settings)
        posterior = TruncatedPosterior(learned, cuts, x_obs)
        cuts = [*cuts, (learned, _level(posterior, x_obs, round_seed))]
    return posterior


class TruncatedPosterior(DensityPosterior):
    """A learned posterior without what lies outside the cuts of earlier rounds; for one x_obs."""

    def __init__(self, learned: DensityPosterior, cuts: list, x_obs: Tensor):
        bounded = learned.bounded and not cuts
        super().__init__(learned.density, learned.prior, learned._seen, learned.history, bounded)
        self.learned, self._cuts, self._x_obs = learned, cuts, x_obs

    def _inside(self, theta: Tensor) -> Tensor:
        rows = theta.reshape(-1, theta.shape[-1])
        inside = _inside(self._cuts, rows, self._x_obs).view(theta.shape[:-1])
        return inside & super()._inside(theta)


def _level(posterior: TruncatedPosterior, x_obs: Tensor, seed: int) -> float:
    """Return the log-density that a share 1 - OUTSIDE of the posterior's draws exceed."""
    theta = posterior.sample(int(2 / OUTSIDE), x_obs, seed=seed)
    return float(posterior.learned.log_prob(theta, x_obs).quantile(OUTSIDE))


def _inside(cuts: list, theta: Tensor, x_obs: Tensor) -> Tensor:
    """Say which rows of theta exceed the level of every cut, (N,)."""
    inside = torch.ones(len(theta), dtype=torch.bool, device=theta.device)
    for posterior, level in cuts:
        rest = inside.nonzero()[:, 0]
        if len(rest):
            inside[rest] = (posterior.log_prob(theta[rest], x_obs) > level).to(theta.device)
    return inside


def _draw_inside(prior, cuts, x_obs, n, g) -> Tensor:
    """Draw n values from the prior inside every cut, (n, D)."""
    parts, found, tried, begun = [], 0, 0, time.monotonic()
    while found < n:
        if tried and time.monotonic() - begun > MAX_SECONDS:
            raise BudgetExceeded(
                f"tsnpe: {found} of {n} draws lie in the truncated prior after {tried} draws and "
                f"{MAX_SECONDS:.0f} s"
            )
        theta = draw(prior, CHUNK if cuts else n, g)
        parts.append(theta[_inside(cuts, theta, x_obs)])
        found, tried = found + len(parts[-1]), tried + len(theta)
    return torch.cat(parts)[:n]
