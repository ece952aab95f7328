"""A tau decays and a small calorimeter sees what is visible of it: a program with many choices.

Knows no method.
"""

import math

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import batch, finite, same_length

CHANNELS = "e", "mu", "pi", "rho", "a1"
FRACTIONS = 0.178, 0.174, 0.108, 0.255, 0.093  # of all decays; here a tau has no other ones
PROBABILITIES = tuple(fraction / sum(FRACTIONS) for fraction in FRACTIONS)
LOWEST, HIGHEST = 20.0, 60.0  # GeV, energy of the tau
RHO, A1 = 0.19, 0.50  # smallest visible shares, (m / m_tau)^2
TRACK = 1.0  # GeV, resolution of the momentum of the charged particle
PER_GEV = 0.75  # quanta of a shower
MUON = 3.0  # quanta, whatever its energy
NOISE = 3.0  # quanta, of each layer
EDGES = 0.0, 0.2, 0.45, 0.7, 1.0  # depths between which the four layers lie
N_LAYERS = len(EDGES) - 1
ELECTROMAGNETIC, HADRONIC = (1, 3), (2, 1)  # powers a, b of the density t^a (1 - t)^b of depth
UNIFORM = 0, 0
MOST = 60  # quanta in a layer that the exact sums go to
_X = np.linspace(0, 1, 2001)
_LEPTON = (5 * _X - 3 * _X**3 + _X**4) / 3  # cumulative share of the energy of a massless lepton


def program(rng) -> tuple[int, float]:
    """Let one tau decay and see it: return channel and energy (GeV); draws from rng only."""
    channel, energy, charged, neutral = decay(rng)
    detector(rng, CHANNELS[channel], charged, neutral)
    return channel, energy


def decay(rng) -> tuple[int, float, float, float]:
    """Return channel, energy of the tau, of the charged particle and of neutral pions (GeV)."""
    channel = int(rng.choice(len(CHANNELS), p=PROBABILITIES))
    energy = rng.uniform(LOWEST, HIGHEST)
    name, share = CHANNELS[channel], 1.0
    if name in ("e", "mu"):
        visible = float(np.interp(rng.random(), _LEPTON, _X))
    elif name == "pi":
        visible = rng.random()
    elif name == "rho":
        visible, share = rng.uniform(RHO, 1), rng.random()
    else:
        visible, share = rng.uniform(A1, 1), 1 - math.sqrt(1 - rng.random())
    return channel, energy, energy * visible * share, energy * visible * (1 - share)


def detector(rng, name: str, charged: float, neutral: float) -> None:
    """Fill the layers with the quanta of one or two showers, then read them out."""
    layers = np.zeros(N_LAYERS)
    if name == "mu":
        shower(rng, MUON, UNIFORM, layers)
    elif name == "e":
        shower(rng, PER_GEV * charged, ELECTROMAGNETIC, layers)
    else:
        shower(rng, PER_GEV * charged, HADRONIC, layers)
    if name in ("rho", "a1"):
        shower(rng, PER_GEV * neutral, ELECTROMAGNETIC, layers)
    readout(rng, charged, layers)


def shower(rng, mean: float, powers: tuple[int, int], layers: np.ndarray) -> None:
    """Drop quanta at depths that rejection draws from the profile of the shower."""
    a, b = powers
    peak = a / (a + b) if a + b else 0.0
    top = peak**a * (1 - peak) ** b
    for _ in range(rng.poisson(mean)):
        while True:
            depth = rng.random()
            if rng.random() * top <= depth**a * (1 - depth) ** b:
                break
        layers[np.searchsorted(EDGES, depth, side="right") - 1] += 1


def readout(rng, charged: float, layers: np.ndarray) -> None:
    """Measure the track and the layers: what is observed."""
    rng.normal(charged, TRACK)
    rng.normal(layers, NOISE)


class TauPrior(Distribution):
    """Channel, energy (GeV), visible share x, charged share z of it: event shape (4,)."""

    arg_constraints = {}

    def __init__(self):
        super().__init__(event_shape=torch.Size([4]), validate_args=False)

    def sample(self, sample_shape: torch.Size | tuple = ()) -> Tensor:
        """Draw decays: (*sample_shape, 4)."""
        u = torch.rand(4, *sample_shape, device="cpu")
        edges = torch.tensor(PROBABILITIES, device="cpu").cumsum(0)[:-1]
        channel = torch.bucketize(u[0], edges, right=True)
        x = torch.stack([_visible(c, u[2].double()) for c in range(len(CHANNELS))])
        z = torch.stack([_charged(c, u[3].double()) for c in range(len(CHANNELS))])
        x, z = (share.gather(0, channel[None])[0].float() for share in (x, z))
        return torch.stack([channel.float(), LOWEST + (HIGHEST - LOWEST) * u[1], x, z], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in E, x, and z where z is not one: (..., 4) -> (...)."""
        c, energy, x, z = value.unbind(-1)
        p = torch.tensor(PROBABILITIES, device=value.device).to(value)
        lepton, one = (5 - 9 * x**2 + 4 * x**3) / 3, torch.ones_like(x)
        rho, a1 = (x >= RHO) / (1 - RHO), (x >= A1) / (1 - A1) * 2 * (1 - z)
        density = torch.stack([lepton, lepton, one, rho, a1], -1)
        known = (c == c.floor()) & (c >= 0) & (c < len(CHANNELS))
        c = torch.where(known, c, 0.0).long()
        shares = (x >= 0) & (x <= 1) & torch.where(c < 3, z == 1, (z >= 0) & (z <= 1))
        inside = known & shares & (energy >= LOWEST) & (energy <= HIGHEST)
        density = p[c] * density.gather(-1, c[..., None])[..., 0] / (HIGHEST - LOWEST)
        return torch.where(inside, density.log(), -torch.inf)


class Tau:
    r"""What a small detector sees of a tau, theta = (channel, E, x, z), x = (track, four layers).

    Channels e nu nu, mu nu nu, pi nu, rho nu -> pi pi0 nu and a1 nu -> pi 2pi0 nu: the five most
    frequent ones with one charged particle, in these proportions only. E is uniform in 20 ... 60
    GeV; the visible share x of it has the density (5 - 9 x^2 + 4 x^3) / 3 for leptons (massless,
    of unpolarised taus), is uniform above 0 for pi, 0.19 for rho and 0.5 for a1; the charged share
    z of that is 1, uniform for rho and of density 2 (1 - z) for a1.

    A particle of energy e makes a Poisson number of quanta of mean 0.75 e / GeV, a muon of mean 3,
    each of which falls into a layer with a probability f_j of its kind of shower. By the thinning
    of Poisson processes the layers' quanta are independent, and all showers can be summed over:

    .. math:: p(y | \theta) = N(y_0; E x z, 1) \prod_j \sum_n
              \mathrm{Pois}(n; \lambda_j) N(y_j; n, 3), \quad \lambda_j = 0.75 \sum_k f_{kj} e_k

    A toy with the shape of arXiv:1807.07706 (simulator, detector, many choices of which few
    matter), not its simulator. Fractions of decays: Particle Data Group, to a tenth of a per cent.
    """

    name = "tau"
    theta_dim = 4
    x_dim = 1 + N_LAYERS

    def __init__(self):
        self.prior = TauPrior()

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw what is seen of each decay: (N, 4) -> (N, 5)."""
        charged, means = _means(theta)
        quanta = torch.poisson(means, generator=generator).to(theta.dtype)
        mean = torch.cat([charged[:, None].to(theta.dtype), quanta], 1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + noise * torch.tensor([TRACK] + [NOISE] * N_LAYERS, device=mean.device)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log p(x | theta), (N,), summed over all showers."""
        x = finite("x", batch("x", x, self.x_dim))
        charged, means = _means(theta)
        same_length(x=x, theta=theta)
        read = _normal(x.double()[:, 1:, None] - _counts(x.device), NOISE)
        layers = (_poisson(means) * read).sum(-1).log().sum(1)
        return (layers + _normal(x.double()[:, 0] - charged, TRACK).log()).to(x.dtype)

    def energies(self, n: int = 80) -> Tensor:
        """Return the middles of n equal intervals of the tau's energy, in GeV."""
        return LOWEST + (HIGHEST - LOWEST) * (torch.arange(n, device="cpu") + 0.5).double() / n

    def log_joint(self, x: Tensor, n: int = 80) -> Tensor:
        """Return log p(x, channel, interval of the energy), (N, 5, n), in double precision.

        Midpoint sums over both shares, in the prior's own quantiles: exact to a few 1e-4.
        """
        x = finite("x", batch("x", x, self.x_dim)).double().cpu()
        visible = torch.linspace(0, HIGHEST, 241, device="cpu", dtype=torch.float64)
        u = (torch.arange(2 * n, device="cpu").double() + 0.5) / (2 * n)
        joint = []
        for c, p in enumerate(PROBABILITIES):
            likelihood = _given_visible(x, c, visible, u)  # (N, 241)
            place = self.energies(n)[:, None] * _visible(c, u) / (visible[1] - visible[0])
            low = place.long().clamp(max=len(visible) - 2)
            part = place - low
            mean = (likelihood[:, low] * (1 - part) + likelihood[:, low + 1] * part).mean(-1)
            joint.append(mean.log() + math.log(p / n))
        return torch.stack(joint, 1)


def _given_visible(x: Tensor, channel: int, visible: Tensor, u: Tensor) -> Tensor:
    """Return p(x | channel, visible energy), (N, V): the mean over the charged share."""
    z = _charged(channel, u) if channel > 2 else torch.ones_like(u[:1])
    energy, share = (part.flatten() for part in torch.meshgrid(visible, z, indexing="ij"))
    one = torch.ones_like(energy)
    charged, means = _means(torch.stack([channel * one, one, energy, share], 1))
    density = _normal(x[:, :1] - charged, TRACK)
    for j in range(N_LAYERS):
        read = _normal(x[:, 1 + j, None] - _counts(x.device), NOISE)
        density = density * (read @ _poisson(means[:, j]).T)
    return density.unflatten(1, (len(visible), len(z))).mean(-1)


def _visible(channel: int, u: Tensor) -> Tensor:
    """Return the visible share at probability u."""
    if channel < 2:
        return torch.from_numpy(np.interp(u.numpy(), _LEPTON, _X))
    smallest = (0.0, RHO, A1)[channel - 2]
    return smallest + (1 - smallest) * u


def _charged(channel: int, u: Tensor) -> Tensor:
    """Return the charged share at probability u."""
    return (torch.ones_like(u), u, 1 - (1 - u).sqrt())[max(channel - 2, 0)]


def _means(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the charged particle's energy (N,) and the mean quanta of the layers (N, 4)."""
    theta = finite("theta", batch("theta", theta, 4)).double()
    channel, visible = theta[:, 0], theta[:, 1] * theta[:, 2]
    charged, neutral = visible * theta[:, 3], visible * (1 - theta[:, 3])
    shapes = [_profile(p).to(theta) for p in (UNIFORM, ELECTROMAGNETIC, HADRONIC)]
    electron, muon = (channel == k for k in (0, 1))
    em = PER_GEV * torch.where(electron, charged, neutral * (channel > 2))
    had = PER_GEV * charged * (channel > 1)
    size = torch.stack([MUON * muon.double(), em, had], 1)
    return charged, size @ torch.stack(shapes)


def _profile(powers: tuple[int, int]) -> Tensor:
    """Return the probabilities of the layers for the density t^a (1 - t)^b of depth."""
    a, b = powers
    cumulative = betainc(a + 1, b + 1, np.array(EDGES))
    return torch.from_numpy(np.diff(cumulative))


def _counts(device) -> Tensor:
    return torch.arange(MOST, device=device, dtype=torch.float64)


def _poisson(mean: Tensor) -> Tensor:
    """Return the probabilities of 0 ... 59 quanta: (...) -> (..., 60)."""
    n = _counts(mean.device)
    return (torch.xlogy(n, mean[..., None]) - mean[..., None] - torch.lgamma(n + 1)).exp()


def _normal(z: Tensor, scale: float) -> Tensor:
    return (-0.5 * (z / scale) ** 2).exp() / (scale * math.sqrt(2 * math.pi))
