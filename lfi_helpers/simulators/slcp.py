"""Simple likelihood, complex posterior: four points of a Gaussian in the plane, five parameters.

It must never know how theta is inferred.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Chi2

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.run import draw
from lfi_helpers.simulators.base import box_uniform
from lfi_helpers.simulators.references import as_float32, count, observation, thin

BOUND = 3.0
N_POINTS = 4
JITTER = 1e-6  # on both variances
DEGREES = 2.5  # of freedom of the inverse-Wishart that proposes covariances


class Slcp:
    r"""Four points in the plane, x = (x_11, x_12, ..., x_41, x_42), for theta in (-3, 3)^5.

    They come from N(m, S) with m = (theta_1, theta_2), s_1 = theta_3^2, s_2 = theta_4^2,
    rho = tanh theta_5 and

        S = [[s_1^2, rho s_1 s_2], [rho s_1 s_2, s_2^2]] + 10^-6 I.

    The signs of theta_3 and theta_4 do not matter: the posterior has four equal parts. Source:
    arXiv:1805.07226, with the jitter of arXiv:2101.04653.
    """

    name = "slcp"
    theta_dim = 5
    x_dim = 2 * N_POINTS

    def __init__(self):
        self.prior = box_uniform([-BOUND] * 5, [BOUND] * 5)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw four points for each theta: (N, 5) -> (N, 8)."""
        theta = finite("theta", batch("theta", theta, 5))
        var_1, var_2, cov, det = _covariance(theta)
        kind = {"generator": generator, "device": theta.device, "dtype": theta.dtype}
        e_1, e_2 = torch.randn(2, len(theta), N_POINTS, **kind)
        sd_1 = var_1.sqrt()
        first = theta[:, :1] + sd_1 * e_1
        second = theta[:, 1:2] + cov / sd_1 * e_1 + (det / var_1).sqrt() * e_2
        return torch.stack([first, second], 2).flatten(1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta."""
        x = finite("x", batch("x", x, self.x_dim))
        theta = finite("theta", batch("theta", theta, 5))
        same_length(x=x, theta=theta)
        var_1, var_2, cov, det = _covariance(theta)
        d_1, d_2 = (x.unflatten(1, (N_POINTS, 2)) - theta[:, None, :2]).unbind(2)  # (N, 4) each
        square = (var_2 * d_1 * d_1 - 2 * cov * d_1 * d_2 + var_1 * d_2 * d_2) / det
        return (-0.5 * square - 0.5 * det.log() - math.log(2 * math.pi)).sum(1)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Draw from the posterior by rejection from a conjugate one: (n, 5).

        With the points' mean xbar and scatter matrix A, m given S is N(xbar, S / 4), and S has the
        inverse-Wishart density of 5/2 degrees of freedom, ~ |S|^(-11/4) exp(-tr(S^-1 A) / 2),
        times |S|^(5/4) / (s_1^(5/2) s_2^(5/2) (1 - rho^2)): the uniform prior of theta_3, theta_4,
        theta_5 as a density of S. Without jitter that factor is (1 - rho^2)^(1/4) <= 1. Draws
        outside of the prior's box are dropped, the signs are fair coins.

        Raises:
            ValueError: if the four points lie on one line.
            ReferenceFailed: where too few proposals can be kept: for about 3 % of what the prior
                gives, mostly those with a spread like the jitter's, 10^-3.
        """
        x, n = observation(x_obs, self.x_dim).reshape(N_POINTS, 2), count(n)
        scatter = torch.cov(x.mT, correction=0) * N_POINTS
        factor, failed = torch.linalg.cholesky_ex(scatter)
        if failed:
            raise ValueError(f"x_obs: expected points that span the plane, got {x.tolist()}")

        def propose(m: int) -> tuple[Tensor, Tensor]:
            root = _inverse_wishart_root(factor, m, generator)  # S = root root^T
            noise = torch.randn(m, 2, generator=generator, device=x.device, dtype=x.dtype)
            mean = x.mean(0) + 0.5 * (root @ noise[:, :, None])[:, :, 0]
            theta, log_w = _shape(root @ root.mT)
            sign = torch.randint(2, (m, 2), generator=generator, device=x.device) * 2 - 1
            theta = torch.cat([mean, theta[:, :2] * sign, theta[:, 2:]], 1)
            return theta, torch.where((theta.abs() < BOUND).all(1), log_w, -math.inf)

        return as_float32(thin(propose, n, generator), -BOUND, BOUND)


def _covariance(theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return S_11, S_22, S_12 and det S of each theta, (N, 1) each, without cancellation."""
    a, b = theta[:, 2:3].pow(4), theta[:, 3:4].pow(4)  # s^2
    t = theta[:, 4:]
    cov = theta[:, 2:3].square() * theta[:, 3:4].square() * t.tanh()
    det = a * b / t.cosh().square() + JITTER * (a + b) + JITTER**2
    return a + JITTER, b + JITTER, cov, det


def _inverse_wishart_root(factor: Tensor, m: int, generator: torch.Generator | None) -> Tensor:
    """Draw R, (m, 2, 2), with R R^T inverse-Wishart of scale factor factor^T (Bartlett)."""
    kind = {"device": factor.device, "dtype": factor.dtype}
    freedom = torch.tensor([DEGREES, DEGREES - 1], **kind)
    t_1, t_2 = draw(Chi2(freedom, validate_args=False), m, generator).sqrt().unbind(1)
    off = torch.randn(m, generator=generator, **kind)
    upper = torch.stack([1 / t_1, -off / (t_1 * t_2), torch.zeros_like(off), 1 / t_2], 1)
    return factor @ upper.unflatten(1, (2, 2))


def _shape(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return (|theta_3|, |theta_4|, theta_5) of each S, and the log of its prior's factor.

    Both for S without jitter; where that is no covariance, theta is outside of the prior.
    """
    a, b = covariance[:, 0, 0] - JITTER, covariance[:, 1, 1] - JITTER
    room = a * b - covariance[:, 0, 1].square()  # s_1^2 s_2^2 (1 - rho^2)
    valid = (a > 0) & (b > 0) & (room > 0)
    a, b, room = (torch.where(valid, value, 1.0) for value in (a, b, room))
    rho = torch.where(valid, covariance[:, 0, 1] / (a * b).sqrt(), 1.0)
    theta = torch.stack([a.pow(0.25), b.pow(0.25), rho.atanh()], 1)
    det = room + JITTER * (a + b) + JITTER**2
    return theta, 1.25 * det.log() - 0.25 * (a * b).log() - room.log()
