"""A heavy resonance decaying to top quarks over a falling background, with exact densities.

It must never know how its mass is inferred.
"""

from math import log, pi

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

TOP = 172.5  # GeV, mass of the top quark
THRESHOLD = 2 * TOP  # GeV
PEAK, WIDTH = 0.7, 0.08  # share of signal events in the peak, and its relative width
FALL = 160.0  # GeV, of the background's mass spectrum
FORWARD = 1.4  # of the background's angle
BOOST = 0.8  # standard deviation of the pair's rapidity
MASS_ERROR = 0.05  # relative
PT_ERROR, PT_FLOOR = 0.10, 10.0  # relative, and in GeV
RAPIDITY_ERROR = 0.10
REACH = 6.5  # standard deviations on either side of what is measured that are integrated over
NODES = 40  # of each of the two integrals
CHUNK = 1_000  # events per pass of the quadrature


class Zprime:
    r"""Events (m_tt, pT_1, pT_2, y_1, y_2) of a resonance of mass theta = (m,), GeV and units.

    Behind an event are the pair's mass M, the cosine c of the angle of a top quark in the pair's
    frame, and the pair's rapidity Y ~ N(0, 0.8):

        signal      M ~ N(m, 0.08 m) above the threshold T = 345 GeV with probability 0.7, else a
                    radiating tail T + (m - T) sqrt(u) with u uniform; c uniform on [-1, 1],
        background  M = T + Gamma(2) 160 GeV, c = tanh(1.4 n) with n ~ N(0, 1).

    The tops have pT = sqrt(M^2 / 4 - m_t^2) sqrt(1 - c^2) and rapidities Y +- eta, tanh eta =
    c sqrt(1 - T^2 / M^2). The detector smears M by 5 %, each pT by 10 % and 10 GeV in quadrature,
    each y by 0.1, with Gaussians. ``sample`` and ``log_prob`` are the signal's. The prior is
    uniform on [500, 1500] GeV.

    The densities are integrals over M and eta, by Gauss-Legendre nodes around what was measured;
    Y is integrated in closed form. A toy in the manner of arXiv:1601.07913.
    """

    name = "zprime"
    theta_dim = 1
    x_dim = 5

    def __init__(self):
        self.prior = box_uniform([500.0], [1500.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one signal event for each mass: (N, 1) -> (N, 5)."""
        m = _mass(theta)
        u = _uniform(m, 4, generator)
        lowest = torch.special.ndtr(_pull_of_threshold(m))
        pull = torch.special.ndtri(lowest + u[1].clamp(min=1e-7) * (1 - lowest))
        tail = THRESHOLD + (m - THRESHOLD) * u[2].sqrt()
        mass = torch.where(u[0] < PEAK, m * (1 + WIDTH * pull), tail)
        return _detect(mass, 2 * u[3] - 1, generator)

    def sample_background(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n background events, (n, 5): they know no theta."""
        like = torch.empty(n, device="cpu" if generator is None else generator.device)
        mass = THRESHOLD - FALL * torch.log1p(-_uniform(like, 2, generator)).sum(0)
        return _detect(mass, torch.tanh(FORWARD * _normal(like, generator)), generator)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | m) of signal, (N,)."""
        m = _mass(theta)
        same_length(x=x, theta=theta)
        x = _events(x)
        parts = zip(x.split(CHUNK), m.double().split(CHUNK), strict=True)
        return torch.cat([_signal(*part) for part in parts]).to(theta.dtype)

    def background_log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) of background, (N,)."""
        return torch.cat([_background(part) for part in _events(x).split(CHUNK)]).to(x.dtype)

    def log_ratio(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | m) / p(x | background), (N,): no classifier is better."""
        return self.log_prob(x, theta) - self.background_log_prob(x)


def _detect(mass: Tensor, c: Tensor, generator) -> Tensor:
    """Smear what the detector sees of pairs of mass (N,) and angle c (N,): (N, 5)."""
    mass = mass.clamp(min=THRESHOLD)  # rounding
    pt = (mass.square() / 4 - TOP**2).sqrt() * (1 - c.square()).sqrt()
    eta = torch.atanh(c * (1 - (THRESHOLD / mass).square()).sqrt())
    boost, *noise = (_normal(mass, generator) for _ in range(6))
    pts = [pt + _pt_error(pt) * noise[k] for k in (1, 2)]
    boost = BOOST * boost
    ys = [boost + s * eta + RAPIDITY_ERROR * noise[k] for s, k in ((1, 3), (-1, 4))]
    return torch.stack([mass * (1 + MASS_ERROR * noise[0]), *pts, *ys], 1)


def _pt_error(pt: Tensor) -> Tensor:
    return ((PT_ERROR * pt).square() + PT_FLOOR**2).sqrt()


def _signal(x: Tensor, m: Tensor) -> Tensor:
    low, high = _mass_window(x)
    m = m[:, None]

    def peak(mass):
        above = torch.special.ndtr(-_pull_of_threshold(m))
        return _log_normal(mass, m, WIDTH * m) - above.log()

    def tail(mass):
        return (2 * (mass - THRESHOLD) / (m - THRESHOLD).square()).log()

    def flat(c):
        return torch.full_like(c, -log(2))

    full = _integral(x, low, high, peak, flat)
    reach = torch.minimum(high, m[:, 0])  # the tail ends at m: no node may lie beyond
    rest = _integral(x, low, torch.maximum(reach, low * (1 + 1e-9)), tail, flat)
    rest = rest.masked_fill(reach <= low, -torch.inf)
    return torch.logaddexp(full + log(PEAK), rest + log(1 - PEAK))


def _background(x: Tensor) -> Tensor:
    def spectrum(mass):
        waits = (mass - THRESHOLD) / FALL
        return waits.log() - waits - log(FALL)

    def forward(c):
        n = torch.atanh(c) / FORWARD
        return _log_normal(n, torch.zeros_like(n), 1.0) - (FORWARD * (1 - c.square())).log()

    return _integral(x, *_mass_window(x), spectrum, forward)


def _mass_window(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return between which true masses the measured one lies within REACH errors, (N,) each."""
    low = (x[:, 0] / (1 + REACH * MASS_ERROR)).clamp(min=THRESHOLD)
    return low, (x[:, 0] / (1 - REACH * MASS_ERROR)).clamp(min=1.05 * THRESHOLD)


def _integral(x: Tensor, low: Tensor, high: Tensor, spectrum, angle) -> Tensor:
    """Return log of the integral over M in [low, high] and eta of all densities, (N,)."""
    mass, mass_weight = _nodes(low, high)  # (N, K)
    difference, total = (x[:, 3] - x[:, 4]) / 2, (x[:, 3] + x[:, 4]) / 2
    error = RAPIDITY_ERROR / 2**0.5
    speed = (1 - (THRESHOLD / mass).square()).sqrt()  # (N, K) of a top in the pair's frame
    largest, seen = torch.atanh(speed), difference[:, None]
    first = torch.maximum(torch.minimum(seen - REACH * error, largest - 0.05), -largest)
    last = torch.minimum(torch.maximum(seen + REACH * error, 0.05 - largest), largest)
    eta, eta_weight = _nodes(first, last)  # (N, K, J)
    c = (torch.tanh(eta) / speed[:, :, None]).clamp(-1 + 1e-15, 1 - 1e-15)
    slope = (1 - torch.tanh(eta).square()) / speed[:, :, None]  # dc / d eta
    momentum = (mass.square() / 4 - TOP**2).sqrt()
    pt = momentum[:, :, None] * (1 - c.square()).sqrt()
    inner = angle(c) + slope.log() + eta_weight.log()
    inner = inner + _log_normal(difference[:, None, None], eta, error)
    for k in (1, 2):
        inner = inner + _log_normal(x[:, k, None, None], pt, _pt_error(pt))
    outer = spectrum(mass) + mass_weight.log() + torch.logsumexp(inner, 2)
    outer = outer + _log_normal(x[:, :1], mass, MASS_ERROR * mass)
    spread = (BOOST**2 + RAPIDITY_ERROR**2 / 2) ** 0.5
    boost = _log_normal(total, torch.zeros_like(total), spread)
    return torch.logsumexp(outer, 1) + boost - log(2)  # d(y_1, y_2) = 2 d(total, difference)


def _nodes(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [low, high], (..., NODES) each.

    Gauss-Legendre in an angle whose sine goes from end to end: square roots at the ends do not
    harm.
    """
    node, weight = (
        torch.from_numpy(v).to(low) * pi / 2 for v in np.polynomial.legendre.leggauss(NODES)
    )
    half = (high - low)[..., None] / 2
    return low[..., None] + half * (1 + torch.sin(node)), half * torch.cos(node) * weight


def _log_normal(x: Tensor, mean: Tensor, deviation) -> Tensor:
    deviation = torch.as_tensor(deviation, device=mean.device, dtype=mean.dtype)
    return -((x - mean) / deviation).square() / 2 - deviation.log() - log(2 * pi) / 2


def _pull_of_threshold(m: Tensor) -> Tensor:
    return (THRESHOLD - m) / (WIDTH * m)


def _normal(like: Tensor, generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _uniform(like: Tensor, k: int, generator) -> Tensor:
    shape = (k, len(like))
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)


def _events(x: Tensor) -> Tensor:
    return finite("x", batch("x", x, 5)).double()


def _mass(theta: Tensor) -> Tensor:
    m = finite("theta", batch("theta", theta, 1))[:, 0]
    if not (m > THRESHOLD).all():
        raise ValueError(
            f"theta: expected masses above the threshold of {THRESHOLD} GeV, got {m.min().item()}"
        )
    return m
