"""Two Gaussian hypotheses in the plane with an exact likelihood ratio.

The smallest testing problem; it must never know who tests.
"""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal

from lfi_helpers.arguments import batch, finite, same_length


class GaussianPair:
    """Events x in R^2 under hypothesis theta = (0,) or (1,).

    p(x | 0) = N(0, [[1, -1/2], [-1/2, 1]]),   p(x | 1) = N((1, 1), I).

    The classes of the toy of arXiv:1611.01046, without its nuisance parameter. log p(x | 0) /
    p(x | 1) is quadratic in x, and heavy: under p(x | 1) the ratio has no third moment.
    """

    name = "gaussian_pair"
    theta_dim = 1
    x_dim = 2

    def __init__(self):
        half = torch.full((1,), 0.5, device="cpu")
        self.prior = Independent(Bernoulli(half, validate_args=False), 1)
        exact = {"device": "cpu", "dtype": torch.float64}
        self._mean = torch.tensor([[0.0, 0.0], [1.0, 1.0]], **exact)
        covariance = torch.tensor([[[1.0, -0.5], [-0.5, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], **exact)
        self._factor = torch.linalg.cholesky(covariance)

    def _hypothesis(self, theta: Tensor) -> Tensor:
        theta = batch("theta", theta, 1)[:, 0]
        if not ((theta == 0) | (theta == 1)).all():
            raise ValueError("theta: expected hypothesis 0 or 1 in every row, got another number")
        return theta.long()

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each hypothesis: (N, 1) -> (N, 2)."""
        k = self._hypothesis(theta)
        noise = torch.randn(len(k), 2, generator=generator, device=k.device)
        mean, factor = self._mean.to(noise), self._factor.to(noise)
        return mean[k] + (factor[k] @ noise[:, :, None])[:, :, 0]

    def draw(self, hypothesis: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n events of one hypothesis, 0 or 1, on the generator's device: (n, 2)."""
        if hypothesis not in (0, 1):
            raise ValueError(f"hypothesis: expected 0 or 1, got {hypothesis!r}")
        device = "cpu" if generator is None else generator.device
        return self.sample(torch.full((n, 1), float(hypothesis), device=device), generator)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta): (N, 2), (N, 1) -> (N,)."""
        x = finite("x", batch("x", x, 2))
        k = self._hypothesis(theta)
        same_length(x=x, theta=k)
        both = torch.stack([self._density(h, x) for h in (0, 1)], dim=1)
        return both.gather(1, k.to(x.device)[:, None])[:, 0]

    def log_ratio(self, x: Tensor) -> Tensor:
        """Return the exact log p(x | 0) / p(x | 1), hypothesis 0 over 1: (N, 2) -> (N,)."""
        x = finite("x", batch("x", x, 2))
        return self._density(0, x) - self._density(1, x)

    def _density(self, h: int, x: Tensor) -> Tensor:
        mean, factor = (part[h].to(x) for part in (self._mean, self._factor))
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False).log_prob(x)
