"""The coordinates in which a flow works: standardised, or those where a prior fills a cube.

Must never know what a flow does with them. Tensors are (features, N).

``forward(theta) -> (z, log_det)`` and ``inverse(z) -> (theta, log_det)``; ``cube`` says whether z
fills the cube from -sqrt(3) to sqrt(3), on which the uniform density has mean 0 and deviation 1;
``outside(theta)`` marks the columns where the density is zero.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LogNormal,
    Normal,
    Uniform,
    constraints,
)
from torch.special import ndtr, ndtri

from lfi_helpers.arguments import batch, finite, floating

CUBE = math.sqrt(3)
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class StandardCoordinates(nn.Module):
    """Shift and scale each feature to mean 0 and deviation 1 of theta (N, D).

    log |dz/dtheta| = - sum_i log deviation_i. A constant feature is shifted only.
    """

    cube = False
    support = constraints.real_vector

    def __init__(self, theta: Tensor):
        super().__init__()
        theta = finite("theta", batch("theta", theta))
        deviation = theta.std(0, unbiased=False)[:, None]
        self.features = theta.shape[1]
        self.register_buffer("mean", theta.mean(0)[:, None])
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log |det dz/dtheta|."""
        log_det = -torch.log(self.deviation).sum()
        return (theta - self.mean) / self.deviation, log_det.expand(theta.shape[1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return theta and log |det dtheta/dz|."""
        log_det = torch.log(self.deviation).sum()
        return self.mean + self.deviation * z, log_det.expand(z.shape[1])

    def outside(self, theta: Tensor) -> None:
        """Return None: every theta is possible."""


class BoxCoordinates(nn.Module):
    """Map the box from low (D,) to high (D,) onto the cube, by its uniform density's deviation.

    Nothing leaks: draws lie in the box, and the density outside it is zero.
    """

    cube = True

    def __init__(self, low: Tensor, high: Tensor):
        super().__init__()
        low, high = (
            finite(name, batch(name, floating(name, side)[None]))
            for name, side in (("low", low), ("high", high))
        )
        if low.shape != high.shape or not bool((low < high).all()):
            raise ValueError(
                f"low and high: expected low < high in each of equally many features, "
                f"got {low[0].tolist()} and {high[0].tolist()}"
            )
        self.features = low.shape[1]
        self.register_buffer("low", low.mT.clone())
        self.register_buffer("high", high.mT.clone())

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z in the cube and log |det dz/dtheta|; outside, the nearest z."""
        slope = 2 * CUBE / (self.high - self.low)
        z = ((theta - self.low) * slope - CUBE).clamp(-CUBE, CUBE)
        return z, torch.log(slope).sum().expand(theta.shape[1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return theta in [low, high) and log |det dtheta/dz|."""
        slope = 2 * CUBE / (self.high - self.low)
        theta = torch.maximum(self.low + (z + CUBE) / slope, self.low)
        theta = torch.minimum(theta, torch.nextafter(self.high, self.low))
        return theta, -torch.log(slope).sum().expand(z.shape[1])

    @property
    def support(self):
        """Return the constraint on theta (..., D)."""
        return constraints.independent(constraints.interval(self.low[:, 0], self.high[:, 0]), 1)

    def outside(self, theta: Tensor) -> Tensor:
        """Return which columns of theta lie outside the box, (N,)."""
        return ((theta < self.low) | (theta > self.high)).any(0)


class NormalCoordinates(nn.Module):
    r"""Map a normal or log-normal prior onto the cube by its cumulative distribution.

    :math:`z_i = \sqrt{3} (2 \Phi(t_i) - 1)`, :math:`t_i = (g(\theta_i) - m_i) / s_i` with g the
    identity or the logarithm. A uniform density on the cube is the prior.
    """

    cube = True

    def __init__(self, loc: Tensor, scale: Tensor, log: bool = False):
        super().__init__()
        self.features, self.log = loc.numel(), log
        self.register_buffer("loc", loc.reshape(-1, 1).clone())
        self.register_buffer("scale", scale.reshape(-1, 1).clone())

    def forward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z in the cube and log |det dz/dtheta|."""
        g = torch.log(torch.where(theta > 0, theta, 1.0)) if self.log else theta
        z, log_slope = _from_normal((g - self.loc) / self.scale)
        log_slope = log_slope - torch.log(self.scale)
        return z, (log_slope - g if self.log else log_slope).sum(0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return theta and log |det dtheta/dz|."""
        t, log_slope = _to_normal(z)
        g, log_slope = self.loc + self.scale * t, log_slope + torch.log(self.scale)
        return (torch.exp(g), (log_slope + g).sum(0)) if self.log else (g, log_slope.sum(0))

    @property
    def support(self):
        """Return the constraint on theta (..., D)."""
        one = constraints.positive if self.log else constraints.real
        return constraints.independent(one, 1)

    def outside(self, theta: Tensor) -> Tensor | None:
        """Return which columns of theta are impossible, (N,); None if every theta is possible."""
        return (theta <= 0).any(0) if self.log else None


class Probit(nn.Module):
    """A layer from the cube to unbounded space: the normal quantile of each feature.

    With a normal base, the identity after it is the uniform density on the cube. What lies more
    than 8 deviations out (5 in float32) falls on the cube's faces.
    """

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return t and log |det dt/dz|."""
        t, log_slope = _to_normal(z)
        return t, log_slope.sum(0)

    def inverse(self, t: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z and log |det dz/dt|."""
        z, log_slope = _from_normal(t)
        return z, log_slope.sum(0)


def prior_coordinates(prior: Distribution) -> BoxCoordinates | NormalCoordinates:
    """Return the coordinates in which a prior with independent components is uniform on the cube.

    Args:
        prior: ``Independent`` of ``Uniform``, ``Normal`` or ``LogNormal``, event shape (D,).

    Raises:
        ValueError: for any other prior; ``StandardCoordinates`` fits those without bounds.
    """
    components = prior
    while isinstance(components, Independent):
        components = components.base_dist
    if isinstance(prior, Independent) and len(prior.event_shape) == 1 and not prior.batch_shape:
        if isinstance(components, Uniform):
            return BoxCoordinates(components.low, components.high)
        if isinstance(components, Normal | LogNormal):
            log = isinstance(components, LogNormal)
            return NormalCoordinates(components.loc, components.scale, log)
    raise ValueError(
        "prior: expected Independent(Uniform, Normal or LogNormal) of event shape (D,), "
        f"got {prior}"
    )


def _from_normal(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return z = CUBE (2 Phi(t) - 1) and log dz/dt."""
    return CUBE * (2 * ndtr(t) - 1), math.log(2 * CUBE) - 0.5 * t * t - HALF_LOG_TWO_PI


def _to_normal(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of ``_from_normal``; z is kept off the cube's faces by one rounding."""
    eps = torch.finfo(z.dtype).eps
    t = ndtri(((z / CUBE + 1) / 2).clamp(eps, 1 - eps))
    return t, 0.5 * t * t + HALF_LOG_TWO_PI - math.log(2 * CUBE)
