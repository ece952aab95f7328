"""Draws of a posterior at many observations, and the place of the truth among them.

A posterior is an object with the house's methods, a callable or its draws; nothing is fitted here.
"""

import numpy as np
import torch
from scipy.stats import kstwo
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating, same_length
from lfi_helpers.run import check_seed, draw, generator, spawn_seeds


class Amortised:
    """A posterior for many observations made of one function x (N, ...) -> Distribution.

    The distribution's batch shape is (N,), its event shape (D,): an exact posterior in closed form
    or the conditional density inside a learned one.
    """

    def __init__(self, density):
        self.density = density

    @torch.no_grad()
    def sample_batch(self, n: int, x: Tensor, seed: int = 0) -> Tensor:
        """Draw n theta for each row of x: (n, N, D)."""
        return draw(self.density(x), n, generator(seed))

    @torch.no_grad()
    def log_prob_batch(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log q(theta_nb | x_b) of theta (n, N, D): (n, N)."""
        return self.density(x).log_prob(theta)


def draw_each(posterior, x: Tensor, n: int, seed: int = 0) -> Tensor:
    """Draw n theta from the posterior at every row of x: (n, N, D).

    Args:
        posterior: the draws themselves, (n, N, D); or an object with ``sample_batch(n, x, seed=)``
            that returns them; or one with ``sample(n, x_obs, seed=)``, or a callable of the same
            form, that returns the (n, D) of one observation.
        x: the observations, (N, ...).
        n: how many draws at each.
        seed: what the posterior gets is derived from it; without a batch, one for each row of x.

    Raises:
        ValueError: if the draws have another shape or are not finite.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n: expected an integer >= 1, got {n!r}")
    check_seed(seed)
    if isinstance(posterior, Tensor):
        draws = posterior
    elif hasattr(posterior, "sample_batch"):
        draws = posterior.sample_batch(n, x, seed=spawn_seeds(seed, 1)[0])
    else:
        sample = getattr(posterior, "sample", posterior)
        if not callable(sample):
            kind = type(posterior).__name__
            raise TypeError(f"posterior: expected draws, a posterior or a callable, got {kind}")
        seeds = spawn_seeds(seed, len(x))
        rows = [sample(n, x_obs, seed=s) for x_obs, s in zip(x, seeds, strict=True)]
        draws = torch.stack([floating("posterior", row) for row in rows], 1)
    if draws.ndim != 3 or draws.shape[:2] != (n, len(x)):
        raise ValueError(
            f"posterior: expected draws of shape ({n}, {len(x)}, D), got {tuple(draws.shape)}"
        )
    return finite("posterior", draws.detach())


def chance(seed: int) -> torch.Generator:
    """Return a generator whose numbers are not those of ``run.generator(seed)``.

    Whoever simulates and diagnoses with the same seed must not meet the same numbers twice: draws
    that repeat the noise of the truths are no draws.
    """
    return generator(spawn_seeds(seed, 2)[1])


def log_prob_each(posterior, theta: Tensor, x: Tensor) -> Tensor:
    """Return log q(theta | x) at n theta for every row of x: (n, N, D), (N, ...) -> (n, N).

    The posterior has ``log_prob_batch(theta, x)`` of this form, or ``log_prob(theta, x_obs)`` for
    one observation, (n, D) -> (n,); or it is a callable like the latter.

    Raises:
        ValueError: for a NaN or another shape; minus infinity is allowed.
    """
    if hasattr(posterior, "log_prob_batch"):
        values = posterior.log_prob_batch(theta, x)
    else:
        log_prob = getattr(posterior, "log_prob", posterior)
        if not callable(log_prob):
            kind = type(posterior).__name__
            raise TypeError(f"log_prob: expected a log-density log q(theta | x_obs), got {kind}")
        values = torch.stack([log_prob(theta[:, i], x_obs) for i, x_obs in enumerate(x)], 1)
    if values.shape != theta.shape[:2]:
        wanted, came = tuple(theta.shape[:2]), tuple(values.shape)
        raise ValueError(f"log_prob: expected shape {wanted}, got {came}")
    bad = int(torch.isnan(values).sum())
    if bad:
        raise ValueError(f"log_prob: expected no NaN, got {bad} of {values.numel()}")
    return values.detach()


def pairs(theta, x, fewest: int = 1) -> tuple[Tensor, Tensor]:
    """Return theta (N, D) and x (N, ...), finite and of equal length, at least ``fewest`` rows."""
    theta, x = finite("theta", batch("theta", theta)), finite("x", floating("x", x))
    if x.ndim < 2:
        raise ValueError(f"x: expected shape (N, L), got {tuple(x.shape)}")
    same_length(theta=theta, x=x)
    if len(theta) < fewest:
        raise ValueError(f"theta: expected at least {fewest} rows, got {len(theta)}")
    return theta, x


def rank(truth: Tensor, draws: Tensor, generator: torch.Generator) -> Tensor:
    """Count the draws below the truth: (N, ...) among (n, N, ...) -> (N, ...), from 0 to n.

    Ties are broken at random, so that ranks of exchangeable numbers are uniform on 0...n, also
    where numbers repeat.
    """
    below = (draws < truth).sum(0)
    equal = (draws == truth).sum(0)
    share = torch.rand(equal.shape, generator=generator, dtype=torch.float64, device="cpu")
    return below + (share.to(equal.device) * (equal + 1)).long()


def level(ranks: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Spread each rank evenly over its part of [0, 1]: uniform ranks become U(0, 1), exactly."""
    share = torch.rand(ranks.shape, generator=generator, dtype=torch.float64, device="cpu")
    return (ranks.cpu() + share) / (n + 1)


def ks_uniform(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Compare each column of (N, K) with U(0, 1): Kolmogorov-Smirnov distance and its p-value.

    The p-value is that of N independent values (exact, not asymptotic).
    """
    n = len(values)
    ordered = np.sort(values.numpy(), axis=0)
    steps = np.arange(n)[:, None]
    above, below = ((steps + 1) / n - ordered).max(0), (ordered - steps / n).max(0)
    distance = np.maximum(above, below)
    return distance, kstwo.sf(distance, n)
