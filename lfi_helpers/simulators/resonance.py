"""A resonance in three jets, its matrix element and transfer functions: the exact weight.

Knows no method.
"""

from math import exp, log, pi

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

WIDTH = 4.0  # GeV, of the resonance
LOWEST, HIGHEST = 40.0, 250.0  # GeV, of the pair's mass
FALL = 50.0  # GeV, of the background's mass spectrum
RAPIDITY = 0.8  # of the pair: chi of three degrees of freedom, times this
SOFTEST, RADIATION = 20.0, 40.0  # GeV, least and mean additional energy of the third jet
STOCHASTIC, RELATIVE, FLOOR = 0.8, 0.05, 1.0  # energy resolution: GeV^1/2, none, GeV
REACH = 6.5  # standard deviations on either side of what is measured that are integrated over
NEAR = 6.0  # GeV around the resonance that get nodes of their own
NODES = 24  # of each integral: log p is then known to 1e-4
CHUNK = 200  # events per pass of the quadrature
PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # two jets of the pair, and the third


class Resonance:
    r"""Events (E_1, E_2, E_3, cos_12, cos_13, cos_23) of a resonance of mass theta = (M,), in GeV.

    Two of the three jets come from a pair of mass m, the third is radiated; nobody knows which.

        signal      m has a Breit-Wigner density 1 / ((m - M)^2 + Gamma^2 / 4), Gamma = 4 GeV,
        background  m falls as exp(-m / 50 GeV), both on [40, 250] GeV.

    The pair moves with rapidity chi (Maxwell's density, scale 0.8) and decays isotropically into
    two massless partons: e_1,2 = m (cosh chi +- k sinh chi) / 2, 1 - cos = m^2 / 2 e_1 e_2. The
    third has 20 GeV + Exp(40 GeV) and any direction. Directions are measured exactly; energies
    with Gaussian transfer functions W(E | e) of variance 0.64 e + (0.05 e)^2 + 1. Then the order
    of the jets is shuffled. ``sample`` and ``log_prob`` are the signal's. The prior is uniform on
    [100, 150] GeV.

    The weight p(x) is the sum over the three pairings of an integral over the two partons'
    energies, in the variables m and t = log(e_1 / e_2) / 2,

        p(E_1, E_2, cos) = int dm p(m) int dt W(E_1 | a e^t) W(E_2 | a e^-t)
                           p(chi) / (2 (1 - cos)^2 sinh^2 chi),
        a = m / sqrt(2 (1 - cos)),   cosh chi = cosh t sqrt(2 / (1 - cos)),

    by Gauss-Legendre nodes. It is what is called the matrix-element method.
    """

    name = "resonance"
    theta_dim = 1
    x_dim = 6

    def __init__(self):
        self.prior = box_uniform([100.0], [150.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one signal event for each mass: (N, 1) -> (N, 6)."""
        peak = _mass(theta)
        low, high = (torch.atan(2 * (end - peak) / WIDTH) for end in (LOWEST, HIGHEST))
        u = _uniform(peak, generator)
        return _event(peak + WIDTH / 2 * torch.tan(low + u * (high - low)), generator)

    def sample_background(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n background events, (n, 6): they know no theta."""
        like = torch.empty(n, device="cpu" if generator is None else generator.device)
        all_of_it = 1 - exp(-(HIGHEST - LOWEST) / FALL)
        waits = -torch.log1p(-_uniform(like, generator) * all_of_it)
        return _event(LOWEST + FALL * waits, generator)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | M) of signal, (N,)."""
        peak = _mass(theta).double()[:, None]
        same_length(x=x, theta=theta)
        x = _events(x)
        parts = zip(x.split(CHUNK), peak.split(CHUNK), strict=True)
        return torch.cat([_log_weight(*part) for part in parts]).to(theta.dtype)

    def background_log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) of background, (N,)."""
        parts = _events(x).split(CHUNK)
        return torch.cat([_log_weight(part, None) for part in parts]).to(x.dtype)

    def log_ratio(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | M) / p(x | background), (N,): no classifier is better."""
        return self.log_prob(x, theta) - self.background_log_prob(x)


def _event(mass: Tensor, generator) -> Tensor:
    """Let pairs of mass (N,) decay, add a jet, measure and shuffle: (N, 6)."""
    chi = RAPIDITY * _normal(mass, 3, generator).norm(dim=0)
    k = 2 * _uniform(mass, generator) - 1
    pair = [mass * (torch.cosh(chi) + s * k * torch.sinh(chi)) / 2 for s in (1, -1)]
    third = SOFTEST - RADIATION * torch.log1p(-_uniform(mass, generator))
    energies = torch.stack([*pair, third], 1)
    noise = _normal(mass, 3, generator).T
    energies = energies + _error(energies) * noise
    between = (1 - mass.square() / (2 * pair[0] * pair[1])).clamp(-1, 1)
    along, turn = 2 * _uniform(mass, generator) - 1, 2 * pi * _uniform(mass, generator)
    across = ((1 - along.square()) * (1 - between.square())).sqrt()
    one = torch.ones_like(mass)
    other = along * between + across * torch.cos(turn)
    cosines = torch.stack([one, between, along, between, one, other, along, other, one], 1)
    u = torch.rand(len(mass), 3, generator=generator, device=mass.device, dtype=mass.dtype)
    order = u.argsort(1)
    rows = torch.arange(len(mass), device=mass.device)
    cosines = cosines.reshape(-1, 3, 3)
    seen = [cosines[rows, order[:, i], order[:, j]] for i, j, _ in PAIRS]
    return torch.cat([energies.gather(1, order), torch.stack(seen, 1)], 1)


def _log_weight(x: Tensor, peak: Tensor | None) -> Tensor:
    """Return log p(x) of signal with masses peak (N, 1), or of background, (N,)."""
    energy, cosine = x[:, :3], x[:, 3:]
    pairings = []
    for p, (i, j, k) in enumerate(PAIRS):
        pair = _log_pair(energy[:, i], energy[:, j], cosine[:, p], peak)
        pairings.append(pair + _log_third(energy[:, k]))
    # the third jet's direction: any; density of its two cosines
    gram = 1 - cosine.square().sum(1) + 2 * cosine.prod(1)
    isotropic = -log(2 * pi) - gram.clamp(min=1e-12).log() / 2
    return torch.logsumexp(torch.stack(pairings), 0) - log(3) + isotropic


def _log_pair(one: Tensor, two: Tensor, cosine: Tensor, peak: Tensor | None) -> Tensor:
    """Return log p(E_1, E_2, cos), (N,): the double integral over m and t."""
    (low_1, high_1), (low_2, high_2) = _window(one), _window(two)
    flat = (2 * (1 - cosine)).clamp(min=1e-12)
    low = (flat * low_1 * low_2).sqrt().clamp(LOWEST, HIGHEST - 1)
    high = torch.maximum((flat * high_1 * high_2).sqrt().clamp(max=HIGHEST), low + 1)
    ends = [low, high]
    if peak is not None:
        ends[1:1] = [(peak[:, 0] + s * NEAR).clamp(low, high) for s in (-1, 1)]
    panels = [_nodes(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    mass, mass_weight = (torch.cat(column, 1) for column in zip(*panels, strict=True))  # (N, K)
    a = mass / flat.sqrt()[:, None]
    first = torch.maximum((low_1[:, None] / a).log(), (a / high_2[:, None]).log())
    last = torch.minimum((high_1[:, None] / a).log(), (a / low_2[:, None]).log())
    t, t_weight = _nodes(first, torch.maximum(last, first + 1e-9))  # (N, K, J)
    chi = torch.acosh((torch.cosh(t) * (4 / flat).sqrt()[:, None, None]).clamp(min=1 + 1e-12))
    inner = 2 * (chi / torch.sinh(chi)).log() - chi.square() / (2 * RAPIDITY**2) + t_weight.log()
    up = torch.exp(t)
    inner = inner + _log_transfer(one[:, None, None], a[:, :, None] * up)
    inner = inner + _log_transfer(two[:, None, None], a[:, :, None] / up)
    outer = torch.logsumexp(inner, 2) + _log_spectrum(mass, peak) + mass_weight.log()
    maxwell = log(2 / pi) / 2 - 3 * log(RAPIDITY)
    return torch.logsumexp(outer, 1) + maxwell + log(2) - 2 * flat.log()  # 1 / 2 (1 - cos)^2


def _log_spectrum(mass: Tensor, peak: Tensor | None) -> Tensor:
    """Return log p(m) on [LOWEST, HIGHEST]."""
    if peak is None:
        return -(mass - LOWEST) / FALL - log(FALL * (1 - exp(-(HIGHEST - LOWEST) / FALL)))
    area = torch.atan(2 * (HIGHEST - peak) / WIDTH) - torch.atan(2 * (LOWEST - peak) / WIDTH)
    return -((mass - peak).square() + WIDTH**2 / 4).log() + log(WIDTH / 2) - area.log()


def _log_third(energy: Tensor) -> Tensor:
    """Return log of the radiated jet's energy spectrum after the transfer function, (N,)."""
    low, high = _window(energy)
    low = low.clamp(min=SOFTEST)
    e, weight = _nodes(low, torch.maximum(high, low + 1))
    spectrum = -(e - SOFTEST) / RADIATION - log(RADIATION)
    return torch.logsumexp(spectrum + _log_transfer(energy[:, None], e) + weight.log(), 1)


def _error(e: Tensor) -> Tensor:
    return (STOCHASTIC**2 * e + (RELATIVE * e).square() + FLOOR**2).sqrt()


def _log_transfer(measured: Tensor, e: Tensor) -> Tensor:
    error = _error(e)
    return -((measured - e) / error).square() / 2 - error.log() - log(2 * pi) / 2


def _window(measured: Tensor) -> tuple[Tensor, Tensor]:
    """Return between which energies e the measured one lies within REACH errors, (N,) each."""
    square = 1 - (REACH * RELATIVE) ** 2
    middle = measured + (REACH * STOCHASTIC) ** 2 / 2
    root = middle.square() - square * (measured.square() - (REACH * FLOOR) ** 2)
    root = root.clamp(min=0).sqrt()
    low = ((middle - root) / square).clamp(min=0.05)
    return low, torch.maximum((middle + root) / square, low + FLOOR)


def _nodes(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return Gauss-Legendre nodes and weights on [low, high], (..., NODES) each."""
    node, weight = (torch.from_numpy(v).to(low) for v in np.polynomial.legendre.leggauss(NODES))
    half = (high - low)[..., None] / 2
    return low[..., None] + half * (1 + node), half * weight


def _uniform(like: Tensor, generator) -> Tensor:
    return torch.rand(len(like), generator=generator, device=like.device, dtype=like.dtype)


def _normal(like: Tensor, k: int, generator) -> Tensor:
    shape = (k, len(like))
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def _events(x: Tensor) -> Tensor:
    x = finite("x", batch("x", x, 6)).double()
    if (x[:, 3:].abs() > 1 + 1e-6).any():
        raise ValueError("x: expected cosines in columns 3 to 5, got one outside [-1, 1]")
    return x


def _mass(theta: Tensor) -> Tensor:
    peak = finite("theta", batch("theta", theta, 1))[:, 0]
    if not ((peak > LOWEST) & (peak < HIGHEST)).all():
        raise ValueError(f"theta: expected masses between {LOWEST} and {HIGHEST} GeV, got others")
    return peak
