"""Posterior: what every method of inference returns, and its form as a conditional density.

Must never know a simulator, nor how its density was trained.
"""

import math
import time
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import batch, finite, floating
from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.inference.pairs import Seen, count, log_prior, one_observation
from lfi_helpers.run import draw, generator
from lfi_helpers.training import History

CHUNK = 100_000  # rows that pass through the network at once
MAX_PROPOSALS, MAX_SECONDS = 1_000, 60.0  # of rejection: draws for each draw wanted, and seconds


class Posterior(ABC):
    """The density of theta given an observation: ``sample``, ``log_prob`` and ``map``.

    ``x_obs`` is one observation, (L,) or (1, L). Draws and densities are on its device. The
    ``prior`` is the one it was learned with, ``history`` the training's.
    """

    def __init__(self, prior: Distribution, seen: Seen, history: History | None):
        self.prior, self.history = prior, history
        self._seen = seen

    @abstractmethod
    def sample(self, n: int, x_obs: Tensor, seed: int = 0) -> Tensor:
        """Draw n values of theta, (n, D)."""

    @abstractmethod
    def log_prob(self, theta: Tensor, x_obs: Tensor) -> Tensor:
        """Return the log-density of each row of theta (n, D): (n,)."""

    def map(self, x_obs: Tensor) -> Tensor:
        """Return theta of the largest density, (D,): a seeded search from the best draws.

        Each of 64 starts takes 300 steps along differences of draws; a step is kept if it climbs,
        and lengths follow the one-fifth rule. No gradient is needed, no wall is crossed.
        """
        pool = self.sample(2_000, x_obs, seed=0)
        height = self.log_prob(pool, x_obs)
        best = height.topk(64).indices
        theta, height = pool[best], height[best]
        g, step = generator(1), torch.full((64, 1), 0.5, device=pool.device, dtype=pool.dtype)
        for _ in range(300):
            pair = torch.randint(len(pool), (2, 64), generator=g, device="cpu").to(pool.device)
            trial = theta + step * (pool[pair[0]] - pool[pair[1]])
            climbed = self.log_prob(trial, x_obs)
            better = climbed > height
            theta = torch.where(better[:, None], trial, theta)
            height = torch.where(better, climbed, height)
            step = step * torch.where(better, 1.5, 1.5**-0.25)[:, None]
        return theta[height.argmax()]

    def _theta(self, theta: Tensor) -> Tensor:
        """Return theta as finite (n, D) float32."""
        width = self.prior.event_shape[0]
        return finite("theta", batch("theta", theta, width)).detach().float()


class DensityPosterior(Posterior):
    """A posterior that is a conditional density q(theta | x): no Markov chain, many x at once.

    Args:
        density: module; ``density(x)`` is a Distribution with x's batch shape, event shape (D,).
        prior: event shape (D,).
        bounded: does the density vanish by itself wherever the prior does? If not, draws outside
            the support are rejected within a budget, and ``log_prob`` is renormalised, for each
            observation by itself.
    """

    def __init__(self, density, prior, seen, history, bounded: bool):
        super().__init__(prior, seen, history)
        self.density, self.bounded = density, bounded

    def sample(self, n: int, x_obs: Tensor, seed: int = 0) -> Tensor:
        """Draw n values of theta, (n, D).

        Raises:
            ValueError: if x_obs is not one finite observation.
            BudgetExceeded: if nearly all of an unbounded density lies outside the prior.
        """
        x = one_observation(self._seen.observations(x_obs))
        return self._draw(count("n", n), x, seed)[:, 0]

    def sample_batch(self, n: int, x: Tensor, seed: int = 0) -> Tensor:
        """Draw n values of theta for each row of x (B, L): (n, B, D)."""
        x = self._seen.observations(batch("x", x), "x")
        return self._draw(count("n", n), x, seed)

    def log_prob(self, theta: Tensor, x_obs: Tensor) -> Tensor:
        """Return log q(theta | x_obs) of each row of theta (n, D): (n,); -inf off the prior."""
        x = one_observation(self._seen.observations(x_obs))
        return self._log_prob(self._theta(theta)[:, None], x)[:, 0]

    def log_prob_batch(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log q(theta_nb | x_b), (n, B), of theta (n, B, D) or (B, D) and x (B, L)."""
        x, theta = self._seen.observations(batch("x", x), "x"), floating("theta", theta)
        wanted = (len(x), self.prior.event_shape[0])
        if theta.ndim not in (2, 3) or theta.shape[-2:] != wanted:
            came = tuple(theta.shape)
            raise ValueError(f"theta: expected shape (n, *{wanted}) or {wanted}, got {came}")
        log_q = self._log_prob(finite("theta", theta).float().reshape(-1, *wanted), x)
        return log_q.reshape(theta.shape[:-1])

    @torch.no_grad()
    def _log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log q, (n, B), of theta (n, B, D) and x (B, L)."""
        home, device = next(self.density.parameters()).device, x.device
        rows = max(1, CHUNK // len(x))
        parts = [self.density(x.to(home)).log_prob(t.to(home)) for t in theta.split(rows)]
        log_q = torch.cat(parts).to(device)
        if self.bounded:
            return log_q
        inside = self._inside(theta.expand(*log_q.shape, -1))
        return torch.where(inside.to(device), log_q - torch.log(self._kept(x)), -math.inf)

    def _kept(self, x: Tensor) -> Tensor:
        """Return the share of the density inside the prior's support for each x, (B,)."""
        theta = self._propose(10_000, x, generator(0, 1))
        inside = self._inside(theta)
        return ((inside.sum(0) + 0.5) / (len(inside) + 0.5)).to(x.device)

    def _inside(self, theta: Tensor) -> Tensor:
        """Say which theta (..., D) lie in the prior's support, (...)."""
        log_p = log_prior(self.prior, theta.reshape(-1, theta.shape[-1]))
        return torch.isfinite(log_p).view(theta.shape[:-1])

    @torch.no_grad()
    def _propose(self, n: int, x: Tensor, g: torch.Generator) -> Tensor:
        """Draw from q for each x (B, L), inside or outside the prior's support: (n, B, D)."""
        home = next(self.density.parameters()).device
        rows = max(1, CHUNK // n)
        parts = [draw(self.density(part.to(home)), n, g) for part in x.split(rows)]
        return torch.cat(parts, 1).to(x.device)

    def _draw(self, n: int, x: Tensor, seed: int) -> Tensor:
        """Draw n values of theta inside the prior's support for each x: (n, B, D)."""
        g = generator(seed)
        theta = self._propose(n, x, g)
        if self.bounded:
            return theta
        start, proposed, outside = time.monotonic(), 1, ~self._inside(theta)
        while outside.any():
            for b in outside.any(0).nonzero()[:, 0].tolist():
                again = self._propose(n, x[b : b + 1], g)[:, 0]
                good, holes = again[self._inside(again)], outside[:, b].nonzero()[:, 0]
                filled = holes[: len(good)]
                theta[filled, b] = good[: len(filled)]
                outside[filled, b] = False
            proposed += 1
            late = time.monotonic() - start > MAX_SECONDS
            if outside.any() and (late or proposed >= MAX_PROPOSALS):
                done = n - int(outside.sum(0).max())
                raise BudgetExceeded(
                    f"sample: {done} of {n} draws lie inside the prior's support after "
                    f"{proposed * n} proposals and {time.monotonic() - start:.1f} s"
                )
        return theta
