"""A conjugate bank: pairs with an exactly known posterior, and seven posteriors that are wrong.

theta ~ N((1, -0.5), diag(1.5, 0.8)^2) in two dimensions, x = A theta + noise in three. Posteriors
are Gaussian with a mean linear in x; they know the diagnostics' methods, vectorised.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lfi_helpers.run import generator

EXACT = {"dtype": torch.float64, "device": "cpu"}
MEAN = torch.tensor([1.0, -0.5], **EXACT)
COVARIANCE = torch.diag(torch.tensor([1.5, 0.8], **EXACT) ** 2)
MIX = torch.tensor([[1.0, 0.0], [-0.5, 1.0], [0.4, 0.4]], **EXACT)
NOISE = torch.diag(torch.tensor([1.0, 0.7, 1.4], **EXACT) ** 2)


def conjugate(mix: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return gain and covariance of the posterior N(MEAN + gain (x - mix MEAN), covariance)."""
    gain = COVARIANCE @ mix.mT @ torch.linalg.inv(mix @ COVARIANCE @ mix.mT + noise)
    return gain, COVARIANCE - gain @ mix @ COVARIANCE


GAIN, POSTERIOR = conjugate(MIX, NOISE)


def normal(mean: Tensor, covariance: Tensor, n: int, draws: torch.Generator) -> Tensor:
    """Draw n of N(mean, covariance) for every row of mean: (N, D) -> (n, N, D)."""
    z = torch.randn(n, *mean.shape, generator=draws, **EXACT)
    return mean + z @ torch.linalg.cholesky(covariance).mT


def normal_log_prob(value: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return log N(value; mean, covariance): (..., D) -> (...)."""
    root = torch.linalg.cholesky(covariance)
    flat = (value - mean).reshape(-1, covariance.shape[0])
    z = torch.linalg.solve_triangular(root, flat.mT, upper=False).square().sum(0)
    constant = torch.log(2 * torch.pi * root.diagonal() ** 2).sum()
    return (-0.5 * (z + constant)).reshape(value.shape[:-1])


def joint(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw n pairs (theta, x) from prior and simulator."""
    draws = generator(seed)
    theta = normal(MEAN[None], COVARIANCE, n, draws)[:, 0]
    return theta, normal(theta @ MIX.mT, NOISE, 1, draws)[0]


@dataclass(frozen=True)
class Gaussian:
    """A posterior N(centre + gain (x - MIX MEAN), covariance), in the form that every row has."""

    gain: Tensor = GAIN
    covariance: Tensor = POSTERIOR
    centre: Tensor = MEAN
    permuted: bool = False  # answers about another row's x

    def mean(self, x: Tensor) -> Tensor:
        if self.permuted:
            x = x.roll(1, 0)  # rows are independent: as good as any permutation
        return self.centre + (x - MEAN @ MIX.mT) @ self.gain.mT

    def sample_batch(self, n: int, x: Tensor, seed: int) -> Tensor:
        return normal(self.mean(x), self.covariance, n, generator(seed))

    def log_prob_batch(self, theta: Tensor, x: Tensor) -> Tensor:
        return normal_log_prob(theta, self.mean(x), self.covariance)

    def sample(self, n: int, x_obs: Tensor, seed: int = 0) -> Tensor:
        return self.sample_batch(n, x_obs[None], seed)[:, 0]

    def log_prob(self, theta: Tensor, x_obs: Tensor) -> Tensor:
        return self.log_prob_batch(theta[:, None], x_obs[None])[:, 0]


def _half_informed() -> Gaussian:
    """The exact posterior of the first feature alone: the second dimension keeps its prior."""
    gain, covariance = conjugate(MIX[:1], NOISE[:1, :1])
    return Gaussian(torch.nn.functional.pad(gain, (0, 2)), covariance)


WRONG = {
    "prior": Gaussian(torch.zeros_like(GAIN), COVARIANCE),
    "half informed": _half_informed(),
    "sign flipped": Gaussian(-GAIN),
    "shifted": Gaussian(centre=MEAN + 0.5 * POSTERIOR.diagonal().sqrt()),
    "narrow": Gaussian(covariance=0.7**2 * POSTERIOR),
    "wide": Gaussian(covariance=1.5**2 * POSTERIOR),
    "permuted": Gaussian(permuted=True),
}


@dataclass(frozen=True)
class BrokenBeyond(Gaussian):
    """Exact where the first feature is below ``edge``, shifted by two deviations above it."""

    edge: float = 2.0

    def mean(self, x: Tensor) -> Tensor:
        shift = 2 * self.covariance.diagonal().sqrt()
        return super().mean(x) + torch.where(x[:, :1] > self.edge, shift, torch.zeros_like(shift))
