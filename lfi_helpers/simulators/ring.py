"""Eight Gaussians on a circle: many modes in a plane, exact.

It must never know who imitates it.
"""

import math

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

MODES = 8
DEVIATION = 0.2  # of each Gaussian, in both directions


class Ring:
    r"""Points x in the plane for theta = (r,), the radius of the circle.

    .. math:: p(x | r) = \frac18 \sum_{k=0}^7 N(x;\, c_k, 0.2^2 I), \qquad
        c_k = r\,(\cos(\pi k/4), \sin(\pi k/4)).

    At r = 2 neighbours are 1.53 apart, almost eight standard deviations: nothing but the sample
    says that they belong together.
    """

    name = "ring"
    theta_dim = 1
    x_dim = 2

    def __init__(self):
        self.prior = box_uniform([1.0], [3.0])

    def centres(self, theta: Tensor) -> Tensor:
        """Return the centres c_k for each radius: (N, 1) -> (N, 8, 2)."""
        radius = finite("theta", batch("theta", theta, 1))
        if not (radius > 0).all():
            raise ValueError("theta: expected a radius > 0, got another number")
        k = torch.arange(MODES, device=radius.device, dtype=radius.dtype)
        angle = 2 * math.pi / MODES * k
        return radius[:, :, None] * torch.stack([angle.cos(), angle.sin()], 1)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one point for each radius: (N, 1) -> (N, 2)."""
        centres = self.centres(theta)
        n, like = len(centres), {"device": centres.device, "generator": generator}
        k = torch.randint(MODES, (n,), dtype=torch.int64, **like)
        noise = torch.randn(n, 2, dtype=centres.dtype, **like)
        return centres[torch.arange(n, device=k.device), k] + DEVIATION * noise

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | r), (N,). Differentiable in theta."""
        x, centres = finite("x", batch("x", x, 2)), self.centres(theta)
        same_length(x=x, theta=centres)
        pull = ((x[:, None] - centres) / DEVIATION).square().sum(2)  # (N, 8)
        return torch.logsumexp(-pull / 2, 1) - math.log(MODES * 2 * math.pi * DEVIATION**2)
