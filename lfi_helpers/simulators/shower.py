"""A quark radiates soft gluons, one after another: sequences of any length, and their likelihood.

Knows no method.
"""

from math import log, pi

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

LONGEST = 20  # gluons that are kept, those at the largest angles
DECADES = 3 * log(10.0)  # ln of the range of angles, and of that of energy shares
COLOUR = 4 / 3  # C_F
RATE = 2 * COLOUR / pi * DECADES  # gluons per unit of coupling and of ln(1/angle)
ROUNDING = 1e-4  # excess over DECADES that single precision may cause


class Shower:
    r"""Gluons radiated off a quark of coupling theta = (a,), from large angles to small.

    Soft and collinear radiation at fixed coupling is a Poisson process, uniform in the logarithms
    of the angle t and of the energy share z (the Lund plane):

    .. math:: dn = \frac{2 C_F}{\pi}\, a\, \frac{dt}{t}\, \frac{dz}{z}\, \frac{d\varphi}{2\pi},
        \quad 10^{-3} < t, z < 1,

    so the multiplicity is n ~ Poisson(40.5 a). An event is a row (ln t, ln z, cos phi, sin phi)
    for each gluon, in the order of falling t, padded by zeros to 20 rows and flattened: x is
    (N, 80). A twenty-first gluon is not recorded. The prior is uniform on [0.08, 0.22].

    Source: arXiv:1807.04758.
    """

    name = "shower"
    theta_dim = 1
    x_dim = 4 * LONGEST

    def __init__(self):
        self.prior = box_uniform([0.08], [0.22])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one shower for each coupling: (N, 1) -> (N, 80)."""
        coupling = _coupling(theta)
        shape = (3, len(coupling), LONGEST)
        u = torch.rand(shape, generator=generator, device=theta.device, dtype=coupling.dtype)
        gap = -torch.log1p(-u[0].clamp(min=1e-7)) / (RATE * coupling[:, None])
        ln_t, phi = -gap.cumsum(1), 2 * pi * u[2]
        rows = torch.stack([ln_t, -DECADES * u[1], phi.cos(), phi.sin()], 2)
        return rows.masked_fill(ln_t[..., None] < -DECADES, 0.0).flatten(1)

    def sequence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows (N, 20, 4), of which the first n are gluons, and the multiplicity n (N,)."""
        rows = finite("x", batch("x", x, self.x_dim)).unflatten(1, (LONGEST, 4))
        return rows, (rows[..., 0] < 0).sum(1)

    def multiplicity_log_prob(self, n: Tensor, theta: Tensor) -> Tensor:
        r"""Return the exact log p(n | a), (N,), of recorded multiplicities n (N,).

        Poisson below 20; at 20 the probability of twenty or more; -inf above and between integers.
        """
        mean = RATE * DECADES * _coupling(theta).double()
        same_length(n=n, theta=theta)
        n = n.double()
        inside = (n >= 0) & (n <= LONGEST) & (n == n.floor())
        count = torch.where(inside, n, 0.0)
        log_p = count * mean.log() - mean - torch.lgamma(count + 1)
        full = torch.full_like(mean, LONGEST)
        log_p = torch.where(count == LONGEST, torch.special.gammainc(full, mean).log(), log_p)
        return torch.where(inside, log_p, -torch.inf).to(theta.dtype)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        r"""Return the exact log p(x | a), (N,), in d(ln t) d(ln z) d(phi) of each gluon.

        :math:`n \log(RATE\,a) - RATE\,a\,\tau` and what knows no a; tau is the range of ln t that
        was looked at: all of it, or down to the twentieth gluon. So n holds all the information
        (but for showers of twenty).
        """
        coupling = _coupling(theta).double()
        same_length(x=x, theta=theta)
        rows, n = self.sequence(x)
        ln_t, ln_z = rows[..., 0].double(), rows[..., 1].double()
        present = torch.arange(LONGEST, device=x.device) < n[:, None]
        possible = ((ln_t < 0) == present) & (ln_t >= -DECADES - ROUNDING)
        possible &= (ln_z <= 0) & (ln_z >= -DECADES - ROUNDING)
        possible[:, 1:] &= (ln_t.diff(dim=1) <= 0) | ~present[:, 1:]
        looked_at = torch.where(n == LONGEST, -ln_t[:, -1], DECADES)
        rate = RATE * coupling
        log_p = n * (rate / (2 * pi * DECADES)).log() - rate * looked_at
        return torch.where(possible.all(1), log_p, -torch.inf).to(theta.dtype)


def _coupling(theta: Tensor) -> Tensor:
    coupling = finite("theta", batch("theta", theta, 1))[:, 0]
    if (coupling <= 0).any():
        raise ValueError(f"theta: expected couplings above 0, got {coupling.min().item()}")
    return coupling
