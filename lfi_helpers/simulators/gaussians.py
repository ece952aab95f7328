"""Gaussian tasks in ten and in two dimensions, whose posteriors are drawn without any rejection.

They must never know how theta is inferred.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.special import erfc, ndtri

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform
from lfi_helpers.simulators.references import as_float32, count, observation

DIM = 10
VARIANCE = 0.1  # of the noise, and of GaussianLinear's prior: a variance, not a deviation
MIXED = (1.0, 0.1)  # standard deviations of the mixture's two components
BOUND = 10.0  # of the mixture's prior


class GaussianLinear:
    r"""Points x in R^10 around theta: x ~ N(theta, 0.1 I), prior N(0, 0.1 I).

    0.1 is the variance. The posterior is N(x / 2, 0.05 I). Source: the task of arXiv:2101.04653.
    """

    name = "gaussian_linear"
    theta_dim = x_dim = DIM

    def __init__(self):
        loc = torch.zeros(DIM, device="cpu")
        scale = torch.full_like(loc, math.sqrt(VARIANCE))
        self.prior = Independent(Normal(loc, scale, validate_args=False), 1)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one point for each theta: (N, 10) -> (N, 10)."""
        theta = finite("theta", batch("theta", theta, DIM))
        return theta + math.sqrt(VARIANCE) * _noise(theta, generator)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta."""
        return _log_normal(*_pair(x, theta, DIM), math.sqrt(VARIANCE))

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from N(x / 2, 0.05 I): (n, 10)."""
        mean = 0.5 * observation(x_obs, DIM).expand(count(n), DIM)
        return as_float32(mean + math.sqrt(VARIANCE / 2) * _noise(mean, generator))


class GaussianLinearUniform(GaussianLinear):
    r"""Points x in R^10 around theta: x ~ N(theta, 0.1 I), prior uniform on (-1, 1)^10.

    The posterior is N(x, 0.1 I) between the walls, each component on its own. Source: the task of
    arXiv:2101.04653.
    """

    name = "gaussian_linear_uniform"

    def __init__(self):
        self.prior = box_uniform([-1.0] * DIM, [1.0] * DIM)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from N(x, 0.1 I) between the walls, exactly: (n, 10).

        Raises:
            ValueError: if x_obs is so far outside that nothing of it is between them (37 sd).
        """
        mean = observation(x_obs, DIM).expand(count(n), DIM)
        return as_float32(_between(mean, math.sqrt(VARIANCE), 1.0, generator)[0], -1.0, 1.0)


class GaussianMixture:
    r"""Points x in the plane, p(x | theta) = 1/2 N(theta, I) + 1/2 N(theta, 0.1^2 I).

    The prior is uniform on (-10, 10)^2. Each point has a component of its own: the earlier
    definition, in which a whole batch shared one, is another model. The posterior is the same
    mixture around x between the walls, its components weighted by what of them is there. Source:
    the task of arXiv:2101.04653 as its software has defined it since version 1.1.
    """

    name = "gaussian_mixture"
    theta_dim = x_dim = 2

    def __init__(self):
        self.prior = box_uniform([-BOUND] * 2, [BOUND] * 2)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one point for each theta: (N, 2) -> (N, 2)."""
        theta = finite("theta", batch("theta", theta, 2))
        coin = torch.rand(len(theta), 1, generator=generator, device=theta.device) < 0.5
        noise = _noise(theta, generator)
        return theta + torch.where(coin, MIXED[0] * noise, MIXED[1] * noise)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta."""
        x, theta = _pair(x, theta, 2)
        wide, narrow = (_log_normal(x, theta, deviation) for deviation in MIXED)
        return torch.logaddexp(wide, narrow) - math.log(2)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from the mixture between the walls, exactly: (n, 2).

        Raises:
            ValueError: if x_obs is so far outside that nothing of it is between them (37 sd).
        """
        mean = observation(x_obs, 2).expand(count(n), 2)
        wide, mass_wide = _between(mean, MIXED[0], BOUND, generator)
        narrow, mass_narrow = _between(mean, MIXED[1], BOUND, generator, required=False)
        share = mass_wide.prod(1) / (mass_wide.prod(1) + mass_narrow.prod(1))
        u = torch.rand(n, generator=generator, device=mean.device, dtype=mean.dtype)
        return as_float32(torch.where((u < share)[:, None], wide, narrow), -BOUND, BOUND)


def _pair(x: Tensor, theta: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return x and theta, (N, width) each, or raise."""
    x, theta = finite("x", batch("x", x, width)), finite("theta", batch("theta", theta, width))
    same_length(x=x, theta=theta)
    return x, theta


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _log_normal(x: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """Return log N(x; mean, deviation^2 I) of each row: (N, D) -> (N,)."""
    constant = x.shape[1] * math.log(deviation * math.sqrt(2 * math.pi))
    return -0.5 * ((x - mean) / deviation).square().sum(1) - constant


def _between(
    mean: Tensor,
    deviation: float,
    bound: float,
    generator: torch.Generator | None,
    required: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draw each N(mean, deviation^2) between -bound and bound by its quantile function.

    Returns the draws and the mass that was there, each (N, D). The walls are mirrored so that
    what is drawn is in the lower tail, where float64 resolves masses down to 1e-300.
    """
    side = torch.where(mean > 0, 1.0, -1.0)  # the tail that is drawn points to the origin
    low, high = (-bound - mean.abs()) / deviation, (bound - mean.abs()) / deviation
    below = 0.5 * erfc(-low / math.sqrt(2))  # torch's ndtr loses its lower tail
    mass = 0.5 * erfc(-high / math.sqrt(2)) - below
    if required and not (mass > 0).all():
        raise ValueError(
            f"x_obs: expected a point within 37 standard deviations of the box of half width "
            f"{bound:g}, got {mean[0].tolist()}"
        )
    u = torch.rand(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    z = ndtri(below + u * mass).clamp(low, high)
    return side * (mean.abs() + deviation * z), mass
