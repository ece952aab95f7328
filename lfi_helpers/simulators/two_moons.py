"""Two moons: a posterior with two crescents that can be drawn exactly.

It must never know how theta is inferred.
"""

import math

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform
from lfi_helpers.simulators.references import as_float32, count, observation, thin

OFFSET, RADIUS, WIDTH = 0.25, 0.1, 0.01  # of the moon: its centre, radius, and radius' deviation


class TwoMoons:
    r"""Points x in the plane for theta in the square (-1, 1)^2.

    With an angle a ~ U(-pi/2, pi/2) and a radius r ~ N(0.1, 0.01),

        x_1 = r cos a + 1/4 - |theta_1 + theta_2| / sqrt 2,
        x_2 = r sin a + (theta_2 - theta_1) / sqrt 2.

    With (u, v) = (r cos a, r sin a) and r of the sign of u, log p = log N(r; 0.1, 0.01) -
    log(pi |r|): the Jacobian 1 / |r| of polar coordinates belongs to it. theta and its mirror
    image (-theta_2, -theta_1) give the same density. Source: the task of arXiv:2101.04653.
    """

    name = "two_moons"
    theta_dim = 2
    x_dim = 2

    def __init__(self):
        self.prior = box_uniform([-1.0, -1.0], [1.0, 1.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one point for each theta: (N, 2) -> (N, 2)."""
        shift = _shift(finite("theta", batch("theta", theta, 2)))
        return shift + _moon(len(shift), shift, generator)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta."""
        x = finite("x", batch("x", x, 2))
        theta = finite("theta", batch("theta", theta, 2))
        same_length(x=x, theta=theta)
        u, v = (x - _shift(theta)).unbind(1)
        u = u - OFFSET
        r = (u * u + v * v).clamp(min=torch.finfo(u.dtype).tiny).sqrt()
        z = (torch.where(u < 0, -r, r) - RADIUS) / WIDTH
        return -0.5 * z * z - math.log(WIDTH * math.sqrt(2 * math.pi)) - torch.log(math.pi * r)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from the posterior exactly, by rejection: (n, 2).

        x - moon = (-|z_1|, z_2) has one z_1 of either sign if its first component is not above
        zero; theta = ((z_1 - z_2), (z_1 + z_2)) / sqrt 2 is kept if the prior allows it.

        Raises:
            ReferenceFailed: if x_obs is too far from what the prior can give.
        """
        x, n = observation(x_obs, 2), count(n)

        def propose(m: int) -> tuple[Tensor, Tensor]:
            q = x - _moon(m, x, generator)
            coin = torch.rand(m, generator=generator, device=x.device) < 0.5
            z = torch.where(coin, q[:, 0], -q[:, 0])
            theta = torch.stack([z - q[:, 1], z + q[:, 1]], 1) / math.sqrt(2)
            kept = (q[:, 0] <= 0) & (theta.abs() < 1).all(1)
            return theta, torch.where(kept, 0.0, -math.inf)

        return as_float32(thin(propose, n, generator), -1.0, 1.0)


def _shift(theta: Tensor) -> Tensor:
    """Return (-|theta_1 + theta_2|, theta_2 - theta_1) / sqrt 2: (N, 2) -> (N, 2)."""
    first, second = theta.unbind(1)
    return torch.stack([-(first + second).abs(), second - first], 1) * math.sqrt(0.5)


def _moon(n: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw (r cos a + 1/4, r sin a) on like's device and of its type: (n, 2)."""
    kind = {"generator": generator, "device": like.device, "dtype": like.dtype}
    a = math.pi * (torch.rand(n, **kind) - 0.5)
    r = RADIUS + WIDTH * torch.randn(n, **kind)
    return torch.stack([r * a.cos() + OFFSET, r * a.sin()], 1)
