"""Ten readings of one unknown mean: a task whose posterior is exact at every tolerance.

It must never know how theta is inferred.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from lfi_helpers.arguments import batch, finite, positive, same_length
from lfi_helpers.simulators.references import as_float32, count, observation

NODES = 100  # of the Gauss-Legendre rule over what the mean may be
REACH = 10.0  # deviations of the mean beyond which the rule does not look


class Gaussian:
    r"""Readings x_1 ... x_n ~ N(theta, 1), with the prior theta ~ N(0, 1).

    With the mean m of the n readings the posterior is N(n m / (n + 1), 1 / (n + 1)). When all
    that is known is that m is within epsilon of its observed value, it is the average of these
    over m ~ N(0, 1 + 1 / n) in that window: ``near``, ``near_cdf`` and ``near_moments``.

    Args:
        n_obs: n, the number of readings.
    """

    name = "gaussian"
    theta_dim = 1

    def __init__(self, n_obs: int = 10):
        if isinstance(n_obs, bool) or not isinstance(n_obs, int) or n_obs < 1:
            raise ValueError(f"n_obs: expected an integer >= 1, got {n_obs!r}")
        self.n_obs = self.x_dim = n_obs
        loc = torch.zeros(1, device="cpu")
        self.prior = Independent(Normal(loc, torch.ones_like(loc), validate_args=False), 1)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw n readings for each theta: (N, 1) -> (N, n)."""
        theta = finite("theta", batch("theta", theta, 1))
        kind = {"generator": generator, "device": theta.device, "dtype": theta.dtype}
        return theta + torch.randn(len(theta), self.n_obs, **kind)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta."""
        x = finite("x", batch("x", x, self.n_obs))
        theta = finite("theta", batch("theta", theta, 1))
        same_length(x=x, theta=theta)
        return (-0.5 * (x - theta).square() - 0.5 * math.log(2 * math.pi)).sum(1)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from N(n m / (n + 1), 1 / (n + 1)): (n, 1)."""
        x = observation(x_obs, self.n_obs)
        z = torch.randn(count(n), 1, generator=generator, device=x.device, dtype=x.dtype)
        return as_float32(self._shrink * x.mean() + self._deviation * z)

    @property
    def _shrink(self) -> float:
        return self.n_obs / (self.n_obs + 1)

    @property
    def _deviation(self) -> float:
        return (self.n_obs + 1) ** -0.5

    def near(self, mean_obs: float, epsilon: float) -> float:
        """Return P(|m - mean_obs| <= epsilon) over the prior: what rejection accepts."""
        return min(1.0, float(self._window(mean_obs, epsilon)[1].sum()))

    def near_cdf(self, theta: Tensor, mean_obs: float, epsilon: float) -> Tensor:
        """Return P(theta' <= theta given |m - mean_obs| <= epsilon): (N,) -> (N,) in float64."""
        theta = finite("theta", torch.as_tensor(theta, dtype=torch.float64, device="cpu"))
        m, p = self._window(mean_obs, epsilon)
        centres, p = self._shrink * m, p / p.sum()

        def below(part: Tensor) -> Tensor:
            return torch.special.ndtr((part[:, None] - centres) / self._deviation) @ p

        return torch.cat([below(part) for part in theta.split(20_000)])

    def near_moments(self, mean_obs: float, epsilon: float) -> tuple[float, float]:
        """Return mean and standard deviation of theta given |m - mean_obs| <= epsilon."""
        m, p = self._window(mean_obs, epsilon)
        p = p / p.sum()
        middle = (p * m).sum()
        variance = self._shrink**2 * (p * (m - middle).square()).sum() + self._deviation**2
        return float(self._shrink * middle), math.sqrt(variance)

    def _window(self, mean_obs: float, epsilon: float) -> tuple[Tensor, Tensor]:
        """Return nodes in the window of m, (K,), and the probability that each stands for."""
        positive("epsilon", epsilon)
        deviation = math.sqrt(1 + 1 / self.n_obs)
        low = max(mean_obs - epsilon, -REACH * deviation)
        high = min(mean_obs + epsilon, REACH * deviation)
        if not low < high:
            raise ValueError(
                f"mean_obs: expected a mean within {REACH:g} prior deviations, got {mean_obs}"
            )
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES))
        m = (low + high) / 2 + (high - low) / 2 * nodes
        density = torch.exp(-0.5 * (m / deviation).square()) / (deviation * math.sqrt(2 * math.pi))
        return m, (high - low) / 2 * weights * density
