"""Two muons from a resonance or from a continuum: six momenta, and closed densities.

Knows no method.
"""

from math import log, pi, sqrt

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform
from lfi_helpers.simulators.kinematics import boost, decay, direction, lab_momentum, mass

WIDTH = 12.0  # GeV, standard deviation of the resonance's mass
LOWEST, FALL = 40.0, 50.0  # GeV: where the pair's mass begins, and how fast the continuum falls
PT, RAPIDITY = 30.0, 0.7  # scale of the pair's pT in GeV, standard deviation of its rapidity
ROUNDING = 1e-3  # GeV below LOWEST that a mass computed from single precision may be


class Dimuon:
    r"""Events (p_1x, p_1y, p_1z, p_2x, p_2y, p_2z) in GeV of a resonance of mass theta = (M,).

    Two massless particles of mass m together; c is the cosine, in their rest frame, between the
    first one and the direction in which the pair flies:

        resonance  m ~ N(M, 12 GeV) above 40 GeV,    p(c) = 3/4 (1 - c^2),
        continuum  m = 40 GeV + Exp(50 GeV),         p(c) = 3/8 (1 + c^2).

    The pair has pT = 30 GeV times Rayleigh, rapidity y ~ N(0, 0.7) and any azimuth, whatever made
    it; so has the first particle about the direction of flight. All of the difference is in m and
    c, which are functions of the momenta, m^2 = 2 (E_1 E_2 - p_1 . p_2) and
    c = (E_1 - E_2) / |p_1 + p_2|, and the density is

        p(x) = p(m) p(c) p(pT) p(y) / (4 pi^2) * 2 / (E_1 E_2 m pT).

    ``sample`` and ``log_prob`` are the resonance's. The prior is uniform on [70, 120] GeV.
    """

    name = "dimuon"
    theta_dim = 1
    x_dim = 6

    def __init__(self):
        self.prior = box_uniform([70.0], [120.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event of the resonance for each mass: (N, 1) -> (N, 6)."""
        peak = _mass(theta)
        u = _uniform(peak, 6, generator)
        low = torch.special.ndtr((LOWEST - peak) / WIDTH)
        pull = torch.special.ndtri(low + u[0].clamp(1e-7, 1 - 1e-7) * (1 - low))
        cosine = 2 * torch.sin(torch.asin(2 * u[1] - 1) / 3)
        return _event(peak + WIDTH * pull, cosine, u[2:])

    def sample_background(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n events of the continuum, (n, 6): they know no theta."""
        like = torch.empty(n, device="cpu" if generator is None else generator.device)
        u = _uniform(like, 6, generator)
        cosine = 2 * torch.sinh(torch.asinh(4 * u[1] - 2) / 3)
        return _event(LOWEST - FALL * torch.log1p(-u[0]), cosine, u[2:])

    def high_level(self, x: Tensor) -> Tensor:
        """Return what a physicist would compute, (m in GeV, c), in float64: (N, 6) -> (N, 2)."""
        first, second, pair = _pair(x)
        flight = pair[:, 1:].norm(dim=1)
        return torch.stack([mass(pair), (first[:, 0] - second[:, 0]) / flight], 1)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | M) of the resonance, (N,)."""
        peak = _mass(theta)
        same_length(x=x, theta=theta)
        return (self._log_shape(x, peak) + self._log_common(x)).to(theta.dtype)

    def background_log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) of the continuum, (N,)."""
        return (self._log_shape(x, None) + self._log_common(x)).to(x.dtype)

    def log_ratio(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | M) / p(x | continuum), (N,): no classifier is better."""
        peak = _mass(theta)
        same_length(x=x, theta=theta)
        return (self._log_shape(x, peak) - self._log_shape(x, None)).to(theta.dtype)

    def _log_shape(self, x: Tensor, peak: Tensor | None) -> Tensor:
        """Return log p(m) p(c) of the resonance with masses peak (N,), or of the continuum."""
        m, c = self.high_level(x).unbind(1)
        square = c.square().clamp(max=1 - 1e-12)
        if peak is None:
            return torch.log(3 / 8 * (1 + square)) - (m - LOWEST).clamp(min=0) / FALL - log(FALL)
        pull = (m - peak) / WIDTH
        above = torch.special.log_ndtr((peak.double() - LOWEST) / WIDTH)
        return torch.log(3 / 4 * (1 - square)) - pull**2 / 2 - log(WIDTH * sqrt(2 * pi)) - above

    def _log_common(self, x: Tensor) -> Tensor:
        """Return log of all that resonance and continuum share; -inf below the lowest mass."""
        first, second, pair = _pair(x)
        m, pt = mass(pair), pair[:, 1:3].norm(dim=1)
        y = torch.atanh(pair[:, 3] / pair[:, 0])
        motion = torch.log(pt / PT**2) - (pt / PT) ** 2 / 2
        motion = motion - (y / RAPIDITY) ** 2 / 2 - log(RAPIDITY * sqrt(2 * pi))
        volume = torch.log(first[:, 0] * second[:, 0] * m * pt) - log(2)
        shared = motion - 2 * log(2 * pi) - volume
        return shared.masked_fill(m < LOWEST - ROUNDING, -torch.inf)


def _event(m: Tensor, cosine: Tensor, u: Tensor) -> Tensor:
    """Let pairs of mass m (N,) fly and decay, by four uniform numbers each (4, N): (N, 6)."""
    pt = PT * torch.sqrt(-2 * torch.log1p(-u[0].clamp(min=1e-7)))
    y = RAPIDITY * torch.special.ndtri(u[1].clamp(1e-7, 1 - 1e-7))
    return _momenta(torch.stack([m, cosine, pt, y, 2 * pi * u[2], 2 * pi * u[3]], 1))


def _momenta(latent: Tensor) -> Tensor:
    """Return the momenta of (m, c, pT, y, azimuth, azimuth about the flight), (N, 6) each."""
    m, cosine, pt, y, azimuth, around = latent.unbind(1)
    pair = lab_momentum(m, pt, azimuth, y)
    polar = pair[:, 3] / pair[:, 1:].norm(dim=1)
    flight = direction(polar, azimuth)
    sideways = direction(torch.zeros_like(m), azimuth + pi / 2)
    inwards = torch.linalg.cross(sideways, flight)
    about = around.cos()[:, None] * inwards + around.sin()[:, None] * sideways
    sine = (1 - cosine**2).clamp(min=0).sqrt()
    towards = cosine[:, None] * flight + sine[:, None] * about
    massless = torch.zeros_like(m)
    muons = boost(decay(m, massless, massless, towards), pair[:, None])  # (N, 2, 4)
    return muons[..., 1:].flatten(1)


def _pair(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the four-vectors of both particles and of the pair, (N, 4) each, in float64."""
    p = finite("x", batch("x", x, 6)).double().reshape(-1, 2, 3)
    muons = torch.cat([p.norm(dim=2, keepdim=True), p], 2)
    return muons[:, 0], muons[:, 1], muons.sum(1)


def _uniform(like: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    shape = (k, len(like))
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)


def _mass(theta: Tensor) -> Tensor:
    peak = finite("theta", batch("theta", theta, 1))[:, 0]
    if (peak <= LOWEST).any():
        raise ValueError(f"theta: expected masses above {LOWEST} GeV, got {peak.min().item()}")
    return peak
