"""A resonance over a falling spectrum, and four features that partly know the mass.

It must never know who tags, nor who fits the spectrum. Exact densities.
"""

from math import exp, log, pi

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

LOW, HIGH, FALL = 50.0, 300.0, 60.0  # GeV: window and slope of the background's mass
PEAK, WIDTH = 125.0, 10.0  # GeV: the signal's mass
NODES = 200  # of the integral over the background's mass; a quarter of them for the signal's
CHUNK = 20_000  # events per pass of it


class MassTagger:
    r"""Events x = (m, x_0, x_1, x_2, x_3), m in GeV, for theta = (f,), the share of signal.

    Background falls as :math:`e^{-m/60}` on [50, 300], signal is N(125, 10). With y = 1 for
    signal, u = ln(m / 125) and independent g ~ N(0, 1),

    .. math::
        x_0 = u / 0.35 + 0.6 g, \quad x_1 = -1.2 y + 0.8 u + g, \quad
        x_2 = 0.9 y + 0.6 - 0.6 u + (1 - 0.2 y) g, \quad x_3 = 0.7 y + g .

    x_0 is of the same law for signal and background of one mass: it only measures the mass. A
    tagger of the four features learns from it where the signal is. After arXiv:1703.03507.
    """

    name = "mass_tagger"
    theta_dim = 1
    x_dim = 5

    def __init__(self):
        self.prior = box_uniform([0.0], [1.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each share of signal: (N, 1) -> (N, 5)."""
        return self.labelled(theta, generator)[0]

    def labelled(
        self, theta: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw one event for each share, and tell what it was: x (N, 5), y (N,), 1 = signal."""
        f = _fraction(theta)
        like = {"generator": generator, "device": f.device, "dtype": f.dtype}
        y = (torch.rand(len(f), **like) < f).to(f.dtype)
        share = torch.rand(len(f), **like)
        g = torch.randn(len(f), 5, **like)
        falling = LOW - FALL * torch.log1p(-share * (1 - exp((LOW - HIGH) / FALL)))
        m = torch.where(y == 1, PEAK + WIDTH * g[:, 0], falling.clamp(LOW, HIGH))
        features = [mean + sd * g[:, k + 1] for k, (mean, sd) in enumerate(_laws(m, y))]
        return torch.stack([m, *features], 1), y

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | f): (N, 5), (N, 1) -> (N,)."""
        x, f = _events(x, 5), _fraction(theta)
        same_length(x=x, theta=f)
        f, m = f.to(x), x[:, 0]
        b = _log_mass(m, 0) + _log_features(x[:, 1:], m, torch.zeros_like(m))
        s = _log_mass(m, 1) + _log_features(x[:, 1:], m, torch.ones_like(m))
        return torch.logaddexp(f.log() + s, torch.log1p(-f) + b)

    def log_ratio_at_mass(self, x: Tensor) -> Tensor:
        """Return the exact log p(x_0..x_3 | m, signal) / p(x_0..x_3 | m, background): -> (N,).

        Its law under background is the same at every mass: a perfectly decorrelated tagger, and by
        Neyman and Pearson the most efficient one.
        """
        x = _events(x, 5)
        m, y = x[:, 0], torch.ones_like(x[:, 0])
        return _log_features(x[:, 1:], m, y) - _log_features(x[:, 1:], m, 0 * y)

    def log_ratio_without_mass(self, features: Tensor) -> Tensor:
        """Return the exact log s / b of the four features, m integrated out: (N, 4) -> (N,).

        No tagger that sees these features only is more efficient at a given background.
        """
        features = _events(features, 4, "features")
        return torch.cat(
            [_marginal(part, 1) - _marginal(part, 0) for part in features.split(CHUNK)]
        )


def _laws(m: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor | float]]:
    """Return mean and standard deviation of each feature, given mass and kind."""
    u = (m / PEAK).log()
    return [
        (u / 0.35, 0.6),
        (-1.2 * y + 0.8 * u, 1.0),
        (0.9 * y + 0.6 - 0.6 * u, 1 - 0.2 * y),
        (0.7 * y + 0 * u, 1.0),
    ]


def _log_features(features: Tensor, m: Tensor, y: Tensor) -> Tensor:
    """Return log p(x_0..x_3 | m, y); m and y broadcast against features[..., 0]."""
    laws = _laws(m, y)
    return sum(_log_normal(features[..., k], *law) for k, law in enumerate(laws))


def _log_mass(m: Tensor, kind: int) -> Tensor:
    if kind == 1:
        return _log_normal(m, PEAK, WIDTH)
    inside = (m >= LOW) & (m <= HIGH)
    norm = log(FALL * (1 - exp((LOW - HIGH) / FALL)))
    return ((LOW - m) / FALL - norm).masked_fill(~inside, -torch.inf)


def _marginal(features: Tensor, kind: int) -> Tensor:
    """Integrate m out by Gauss-Legendre nodes over the window, or over 7 widths of the peak."""
    low, high = (PEAK - 7 * WIDTH, PEAK + 7 * WIDTH) if kind else (LOW, HIGH)
    node, weight = np.polynomial.legendre.leggauss(NODES // 4 if kind else NODES)
    node, weight = (torch.from_numpy(v).to(features) for v in (node, weight))
    m = low + (high - low) / 2 * (1 + node)
    log_weight = (weight * (high - low) / 2).log() + _log_mass(m, kind)
    y = torch.full_like(m, float(kind))
    return torch.logsumexp(_log_features(features[:, None], m, y) + log_weight, 1)


def _log_normal(x: Tensor, mean: Tensor | float, sd: Tensor | float) -> Tensor:
    sd = torch.as_tensor(sd, device=x.device, dtype=x.dtype)
    return -((x - mean) / sd).square() / 2 - sd.log() - log(2 * pi) / 2


def _events(x: Tensor, width: int, name: str = "x") -> Tensor:
    x = finite(name, batch(name, x, width))
    if width == 5 and not (x[:, 0] > 0).all():
        raise ValueError(f"x: expected masses > 0 GeV, got {x[:, 0].min().item()}")
    return x


def _fraction(theta: Tensor) -> Tensor:
    f = finite("theta", batch("theta", theta, 1))[:, 0]
    if ((f < 0) | (f > 1)).any():
        raise ValueError("theta: expected a share 0 <= f <= 1, got a value outside")
    return f
