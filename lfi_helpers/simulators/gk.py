"""The g-and-k distribution: skewed and heavy-tailed, its density exact by inversion.

It must never know how its parameters are inferred.
"""

from math import log, pi

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

SKEW = 0.8  # c: below 0.83 the quantile function rises for every g
MAX_STEPS = 200  # of the inversion; it needs about ten


class InversionFailed(RuntimeError):
    """The quantile function was not inverted; the message says for how many events."""


class Gk:
    r"""Events x on the line for theta = (A, B, g, k): location, scale, skewness, tails.

    A standard normal z is bent by an increasing function,

        x = Q(z) = A + B (1 + c tanh(g z / 2)) (1 + z^2)^k z,  c = 0.8,

    so that p(x | theta) = N(z; 0, 1) / Q'(z) at the z with Q(z) = x. A is the median; g = k = 0 is
    the normal distribution N(A, B). Q has no inverse in closed form: z is found by Newton steps
    inside a bracket. Asks for B > 0 and k >= 0. The same generator state gives the same z at
    every theta. The prior is uniform, A, B and g in [1, 5], k in [0, 1].

    Source: arXiv:1506.02169 and the public code of its example: A = 3, B = 1.5, g = 2, k = 0.5.
    """

    name = "gk"
    theta_dim = 4
    x_dim = 1

    def __init__(self):
        self.prior = box_uniform([1.0, 1.0, 1.0, 0.0], [5.0, 5.0, 5.0, 1.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each theta: (N, 4) -> (N, 1)."""
        theta = _valid(theta)
        z = torch.randn(len(theta), generator=generator, device=theta.device, dtype=theta.dtype)
        return _bent(z, theta)

    def quantile(self, u: Tensor, theta: Tensor) -> Tensor:
        """Return the x below which a share u of the events lies: (N,), (N, 4) -> (N, 1)."""
        theta = _valid(theta)
        same_length(u=u, theta=theta)
        if not ((u > 0) & (u < 1)).all():
            raise ValueError("u: expected shares 0 < u < 1, got a value outside")
        return _bent(torch.special.ndtri(u), theta)

    def latent(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the z that became x, in float64: (N, 1), (N, 4) -> (N,).

        Three times differentiable in theta and x: two Newton steps from the solution are zero
        but carry its derivatives.
        """
        x, theta = finite("x", batch("x", x, 1)), _valid(theta)
        same_length(x=x, theta=theta)
        location, scale, g, k = theta.double().unbind(1)
        y = (x[:, 0].double() - location) / scale
        z = _solve(y.detach(), g.detach(), k.detach())
        for _ in range(2):  # errors of order d, d^2, d^4 where theta or x moves by d
            z = z - (_bend(z, g, k) - y) / _slope(z, g, k)
        return z

    def cdf(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the share of events below x, in float64: (N, 1), (N, 4) -> (N,)."""
        return torch.special.ndtr(self.latent(x, theta))

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Twice differentiable in theta and x."""
        z = self.latent(x, theta)
        _, scale, g, k = theta.double().unbind(1)
        log_prob = -z.square() / 2 - log(2 * pi) / 2 - (scale * _slope(z, g, k)).log()
        return log_prob.to(theta.dtype)


def _valid(theta: Tensor) -> Tensor:
    theta = finite("theta", batch("theta", theta, 4))
    bad = (theta[:, 1] <= 0) | (theta[:, 3] < 0)
    if bad.any():
        got = theta[bad][0].tolist()
        raise ValueError(f"theta: expected (A, B, g, k) with B > 0 and k >= 0, got {got}")
    return theta


def _bent(z: Tensor, theta: Tensor) -> Tensor:
    location, scale, g, k = theta.unbind(1)
    return (location + scale * _bend(z, g, k))[:, None]


def _bend(z: Tensor, g: Tensor, k: Tensor) -> Tensor:
    """Return (Q(z) - A) / B."""
    return (1 + SKEW * torch.tanh(g * z / 2)) * (1 + z * z) ** k * z


def _slope(z: Tensor, g: Tensor, k: Tensor) -> Tensor:
    """Return Q'(z) / B, at least 0.04."""
    t, square = torch.tanh(g * z / 2), z * z
    stretch = (1 + SKEW * t) * (1 + (2 * k + 1) * square) / (1 + square)
    return (1 + square) ** k * (stretch + SKEW * g * z / 2 * (1 - t * t))


def _solve(y: Tensor, g: Tensor, k: Tensor) -> Tensor:
    """Solve _bend(z) = y: z has the sign of y, and |z| is at most |y| / (1 - c)."""
    far = y / (1 - SKEW)
    low, high = (
        torch.minimum(far, torch.zeros_like(far)),
        torch.maximum(far, torch.zeros_like(far)),
    )
    z, todo = y.clone(), torch.arange(len(y), device=y.device)
    for _ in range(MAX_STEPS):
        here, gap = z[todo], _bend(z[todo], g[todo], k[todo]) - y[todo]
        low[todo] = torch.where(gap < 0, here, low[todo])
        high[todo] = torch.where(gap > 0, here, high[todo])
        there = here - gap / _slope(here, g[todo], k[todo])
        inside = (there >= low[todo]) & (there <= high[todo])
        there = torch.where(inside, there, (low[todo] + high[todo]) / 2)
        z[todo] = there
        todo = todo[(there - here).abs() > 1e-12 * there.abs()]
        if len(todo) == 0:
            return z
    raise InversionFailed(
        f"x: {len(todo)} of {len(y)} not inverted in {MAX_STEPS} steps, the first with "
        f"(x - A) / B = {y[todo[0]]:.4g}, g = {g[todo[0]]:.4g}, k = {k[todo[0]]:.4g}"
    )
