"""Electrons and positrons become muon pairs, e+ e- -> gamma*/Z -> mu+ mu-: exact at tree level.

It must never know how theta is inferred.
"""

from math import pi

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating, same_length
from lfi_helpers.simulators.base import Gold, box_uniform

Z_MASS = 91.1876  # GeV
Z_WIDTH = 2.4952  # GeV
ALPHA = 1 / 128  # fine-structure constant at the Z mass
NANOBARN = 3.893793721e5  # nb GeV^2, turns 1 / GeV^2 into nanobarn


class Weinberg:
    r"""Angle of the muon in e+ e- -> mu+ mu-, for theta = (sin^2 theta_W,).

    With g_L = -1/2 + theta, g_R = theta and the propagator ratio
    chi = s / (s - M_Z^2 + i M_Z Gamma_Z) / (theta (1 - theta)), the helicity amplitudes are
    G_ij = |1 + g_i g_j chi|^2. Beams polarised by P_e, P_p weigh them with
    w_L = (1 - P_e)(1 + P_p), w_R = (1 + P_e)(1 - P_p):

        A = w_L G_LL + w_R G_RR,   B = w_L G_LR + w_R G_RL,   A_FB = 3/4 (A - B) / (A + B),
        p(c | theta) = 3/8 (1 + c^2) + A_FB c,   -1 <= c = cos(angle of the mu-) <= 1.

    A setting is one number, or a tensor (N,) for batches of N rows that each have their own.

    Args:
        sqrt_s: energy of the collision in the centre of mass, GeV.
        electron_polarisation, positron_polarisation: longitudinal, each in [-1, 1].

    Raises:
        ValueError: for a setting outside its range.

    Source: tree-level electroweak theory with lepton universality and massless leptons.
    """

    name = "weinberg"
    theta_dim = 1
    x_dim = 1

    def __init__(
        self,
        sqrt_s: float | Tensor = Z_MASS,
        electron_polarisation: float | Tensor = 0.0,
        positron_polarisation: float | Tensor = 0.0,
    ):
        self.sqrt_s = _setting("sqrt_s", sqrt_s, 1e-6, 1e6, "> 0, in GeV")
        self.electron_polarisation, self.positron_polarisation = (
            _setting(name, value, -1, 1, "in [-1, 1]")
            for name, value in (
                ("electron_polarisation", electron_polarisation),
                ("positron_polarisation", positron_polarisation),
            )
        )
        w_l, w_r = self._weights()
        if torch.as_tensor(w_l + w_r == 0, device="cpu").any():
            raise ValueError(
                "polarisations: expected beams that annihilate, got both fully right or left"
            )
        self.prior = box_uniform([0.20], [0.26])

    def _weights(self) -> tuple[float | Tensor, float | Tensor]:
        e, p = self.electron_polarisation, self.positron_polarisation
        return (1 - e) * (1 + p), (1 + e) * (1 - p)

    def _rows(self, theta: Tensor, value: float | Tensor) -> float | Tensor:
        """Return a setting as it is, or as one number for each theta (N,)."""
        if isinstance(value, Tensor):
            same_length(settings=value, theta=theta)
            return value.to(theta)
        return value

    def _forward_backward(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return A and B, the weights of (1 + c)^2 and (1 - c)^2, each (N,)."""
        theta = finite("theta", batch("theta", theta, 1))[:, 0]
        if ((theta <= 0) | (theta >= 1)).any():
            raise ValueError("theta: expected 0 < sin^2 theta_W < 1, got a value outside")
        s = self.sqrt_s**2
        propagator = s / (s - Z_MASS**2 + 1j * Z_MASS * Z_WIDTH)
        scale = theta * (1 - theta)
        parts = propagator.real, propagator.imag
        real, imaginary = (self._rows(theta, part) / scale for part in parts)

        def helicity(g_in, g_out):
            g = g_in * g_out
            return (1 + g * real).square() + (g * imaginary).square()

        g_l, g_r = theta - 0.5, theta
        w_l, w_r = (self._rows(theta, weight) for weight in self._weights())
        a = w_l * helicity(g_l, g_l) + w_r * helicity(g_r, g_r)
        b = w_l * helicity(g_l, g_r) + w_r * helicity(g_r, g_l)
        return a, b

    def asymmetry(self, theta: Tensor) -> Tensor:
        """Return the forward-backward asymmetry A_FB of (N, 1) theta: (N,), within [-3/4, 3/4]."""
        a, b = self._forward_backward(theta)
        return 0.75 * (a - b) / (a + b)

    def cross_section(self, theta: Tensor) -> Tensor:
        """Return the total cross section pi alpha^2 (A + B) / (3 s) in nanobarn: (N,)."""
        a, b = self._forward_backward(theta)
        return NANOBARN * pi * ALPHA**2 / (3 * self._rows(a, self.sqrt_s) ** 2) * (a + b)

    def information(self, theta: Tensor) -> Tensor:
        """Return the Fisher information of one event, (dA_FB / dtheta)^2 int c^2 / p dc: (N,).

        The integral is a Gauss-Legendre sum of 64 terms.
        """
        with torch.enable_grad():
            theta = batch("theta", theta, 1).detach().requires_grad_()
            asymmetry = self.asymmetry(theta)
            slope = torch.autograd.grad(asymmetry.sum(), theta)[0][:, 0]
        c, weight = (torch.from_numpy(v).to(slope) for v in np.polynomial.legendre.leggauss(64))
        density = 0.375 * (1 + c.square()) + asymmetry.detach()[:, None] * c
        return slope.square() * ((c.square() / density) @ weight)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw cos(angle) for each theta, exactly and without rejection: (N, 1) -> (N, 1).

        p is the mixture of 3/8 (1 + c)^2 with weight A / (A + B) and of 3/8 (1 - c)^2: pick one,
        then invert its distribution function, c = +-(2 u^(1/3) - 1).
        """
        return self._draw(*self._forward_backward(theta), generator)[0]

    def _draw(self, a: Tensor, b: Tensor, generator) -> tuple[Tensor, Tensor]:
        """Return x (N, 1) and which of the two parts it was drawn from, the forward one?, (N,)."""
        u = torch.rand(2, len(a), generator=generator, device=a.device, dtype=a.dtype)
        forward = u[0] * (a + b) < a
        sign = torch.where(forward, 1.0, -1.0)
        return (sign * (2 * u[1].pow(1 / 3) - 1))[:, None], forward

    def mine_swapped(self, theta: Tensor, generator: torch.Generator | None = None) -> Gold:
        r"""Draw cos(angle) at each theta, (N, 1), with gold against a world of swapped charges.

        The latent z is which of the two parts an event was drawn from, P(forward) = A / (A + B);
        given z, the angle no longer knows theta. Exchange mu- and mu+, and z is the other part:

            log r(x, z) = log P(z | theta) - log P(not z | theta),
            t(x, z) = d/dtheta log P(z | theta).

        Here the reference of the ratio is this swapped world at the same theta.
        """
        with torch.enable_grad():
            theta = batch("theta", theta, 1).detach().requires_grad_()
            a, b = self._forward_backward(theta)
            x, forward = self._draw(a.detach(), b.detach(), generator)
            log_odds = torch.where(forward, a / b, b / a).log()
            log_p = torch.nn.functional.logsigmoid(log_odds)
            score = torch.autograd.grad(log_p.sum(), theta)[0]
        return Gold(x, log_odds.detach(), score)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,); -inf where |x| > 1. Differentiable in theta."""
        c = batch("x", x, 1)[:, 0]
        asymmetry = self.asymmetry(theta)
        same_length(x=c, theta=asymmetry)
        inside = c.abs() <= 1
        c = torch.where(inside, c, 0.0)
        density = 0.375 * (1 + c.square()) + asymmetry * c
        return torch.where(inside, density.log(), -torch.inf)

    def momenta(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (E, px, py, pz) of mu- and mu+ in GeV at a random azimuth: (N, 2, 4)."""
        c = batch("x", x, 1)[:, 0]
        phi = 2 * pi * torch.rand(len(c), generator=generator, device=c.device, dtype=c.dtype)
        sine = (1 - c.square()).clamp(min=0).sqrt()
        direction = torch.stack([sine * phi.cos(), sine * phi.sin(), c], dim=1)
        energy = torch.ones_like(c)[:, None]
        pair = [torch.cat([energy, side * direction], dim=1) for side in (1, -1)]
        sqrt_s = self._rows(c, self.sqrt_s)
        beam = sqrt_s[:, None, None] / 2 if isinstance(sqrt_s, Tensor) else sqrt_s / 2
        return beam * torch.stack(pair, dim=1)


def _setting(name: str, value: float | Tensor, low: float, high: float, wanted: str):
    """Return a float, or a double tensor of one number for each row, if it lies in its range."""
    if isinstance(value, Tensor):
        value = finite(name, floating(name, value)).double()
        if value.ndim != 1:
            raise ValueError(f"{name}: expected shape (N,), got {tuple(value.shape)}")
        outside = value[(value < low) | (value > high)]
        if len(outside):
            raise ValueError(f"{name}: expected numbers {wanted}, got {outside[0].item():g}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number {wanted}, got {value!r}")
    return float(value)
