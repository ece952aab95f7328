"""Prior, simulator, summary and distance in one: what ABC calls, counted and within a budget.

Must never decide which simulation is accepted.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import finite, floating, positive
from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.run import draw, generator

Distance = Callable[[Tensor, Tensor], Tensor]


def euclidean(s: Tensor, s_obs: Tensor) -> Tensor:
    """Return the distance of each row of s (N, S) from s_obs (S,): (N,)."""
    return torch.linalg.vector_norm(s - s_obs, dim=1)


class Forward:
    """Prior, simulator, summary and distance in one, on one device, with a budget.

    Counts simulations (``n_sim``) and proposals (``n_draws``), and keeps the smallest distance.
    """

    def __init__(self, sample, prior, x_obs, summary, distance, seed, device, max_seconds):
        if not isinstance(prior, Distribution) or len(prior.event_shape) != 1:
            raise TypeError("prior: expected a torch Distribution with event shape (D,)")
        self._sample, self.prior, self._summary, self._distance = sample, prior, summary, distance
        self.device = torch.device(device)
        x_obs = finite("x_obs", floating("x_obs", x_obs)).to(self.device)
        self.s_obs = self._summarise(x_obs[None] if x_obs.ndim == 1 else x_obs)
        if len(self.s_obs) != 1:
            raise ValueError(f"x_obs: expected one observation, got {tuple(x_obs.shape)}")
        self.s_obs = self.s_obs[0]
        self._prior_hand = generator(seed, 0)
        self.hand, self._noise = (generator(seed, k, self.device) for k in (1, 2))
        self.n_sim, self.n_draws, self.smallest = 0, 0, math.inf
        self._seconds, self._begun = positive("max_seconds", max_seconds), time.monotonic()

    def _summarise(self, x: Tensor) -> Tensor:
        s = x if self._summary is None else self._summary(x)
        if s.ndim != 2 or len(s) != len(x):
            raise ValueError(f"summary: expected shape ({len(x)}, S), got {tuple(s.shape)}")
        return finite("x" if self._summary is None else "summary", s)

    def from_prior(self, n: int) -> Tensor:
        """Draw n values of theta from the prior: (n, D)."""
        return draw(self.prior, n, self._prior_hand).to(self.device)

    def __call__(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Simulate at theta (N, D): summaries (N, S) and distances (N,)."""
        if time.monotonic() - self._begun > self._seconds:
            raise BudgetExceeded(
                f"max_seconds: {self._seconds:g} s are spent after {self.n_sim} simulations; the "
                f"smallest distance is {self.smallest:g}"
            )
        s = self._summarise(self._sample(theta, self._noise))
        distance = self._distance(s, self.s_obs)
        if distance.shape != (len(theta),):
            came = tuple(distance.shape)
            raise ValueError(f"distance: expected shape ({len(theta)},), got {came}")
        if torch.isnan(distance).any() or (distance < 0).any():
            raise ValueError("distance: expected numbers >= 0, got NaN or a negative one")
        self.n_sim += len(theta)
        self.smallest = min(self.smallest, distance.min().item() if len(theta) else math.inf)
        return s, distance


def tolerance(name: str, value: float) -> float:
    """Return value if it is a number of at least zero; else raise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not value >= 0:
        raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return float(value)
