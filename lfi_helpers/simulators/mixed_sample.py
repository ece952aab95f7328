"""Signal and background in five dimensions, mixed in any proportion: exact densities.

It must never know who tells them apart, nor that labels may be missing.
"""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

MEAN = (0.9, -0.6, 0.4, 0.0, 0.0)  # of the signal
COMMON = 0.3  # covariance of any two features of the signal, on top of the identity
VARIANCE = 1.69  # of each feature of the background


class MixedSample:
    r"""Events x in R^5 for theta = (f,), the fraction of signal among them.

    .. math::
        p(x | f) = f\,s(x) + (1 - f)\,b(x), \quad s = N(m, I + 0.3\,J), \quad b = N(0, 1.69\,I),

    with m = (0.9, -0.6, 0.4, 0, 0) and J the matrix of ones. log s / b is a quadratic form in x
    without bounds on either side, so that no event is certain.
    """

    name = "mixed_sample"
    theta_dim = 1
    x_dim = 5

    def __init__(self):
        self.prior = box_uniform([0.0], [1.0])
        exact = {"device": "cpu", "dtype": torch.float64}
        self._mean = torch.tensor([MEAN, (0.0,) * 5], **exact)
        signal = torch.eye(5, **exact) + COMMON
        self._factor = torch.linalg.cholesky(
            torch.stack([signal, VARIANCE * torch.eye(5, **exact)])
        )

    def _fraction(self, theta: Tensor) -> Tensor:
        f = finite("theta", batch("theta", theta, 1))[:, 0]
        if ((f < 0) | (f > 1)).any():
            raise ValueError("theta: expected a fraction 0 <= f <= 1, got a value outside")
        return f

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each fraction: (N, 1) -> (N, 5)."""
        return self.labelled(theta, generator)[0]

    def labelled(
        self, theta: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw one event for each fraction, and tell what it was: x (N, 5), y (N,), 1 = signal."""
        f = self._fraction(theta)
        like = {"generator": generator, "device": f.device, "dtype": f.dtype}
        signal = torch.rand(len(f), **like) < f
        z = torch.randn(len(f), 5, **like)
        x = [
            m + z @ factor.T
            for m, factor in zip(self._mean.to(z), self._factor.to(z), strict=True)
        ]
        return torch.where(signal[:, None], *x), signal.to(f.dtype)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | f): (N, 5), (N, 1) -> (N,)."""
        f = self._fraction(theta).to(x)
        log_s, log_b = self._components(x)
        same_length(x=x, theta=f)
        return torch.logaddexp(f.log() + log_s, torch.log1p(-f) + log_b)

    def log_ratio(self, x: Tensor) -> Tensor:
        """Return the exact log s(x) / b(x), signal over background: (N, 5) -> (N,)."""
        log_s, log_b = self._components(x)
        return log_s - log_b

    def _components(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = finite("x", batch("x", x, 5))
        mean, factor = self._mean.to(x), self._factor.to(x)
        return tuple(
            MultivariateNormal(mean[k], scale_tril=factor[k], validate_args=False).log_prob(x)
            for k in (0, 1)
        )
