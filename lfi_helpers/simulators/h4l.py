"""A Higgs boson becomes two Z bosons and four leptons, which a detector sees with an error.

It must never know how theta is inferred.
"""

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, positive, same_length
from lfi_helpers.simulators.base import box_uniform
from lfi_helpers.simulators.kinematics import (
    boost,
    breakup_momentum,
    decay,
    direction,
    dot,
    lab_momentum,
    mass,
    to_rest,
)

Z_MASS, Z_WIDTH = 91.1876, 2.4952  # GeV
MEAN_PT = 15.0  # of the Higgs boson, GeV
MAX_RAPIDITY = 1.5  # of the Higgs boson
MIN_LEPTON_PT, MAX_LEPTON_ETA = 5.0, 2.5  # what the detector accepts: GeV, pseudorapidity
MAX_ROUNDS = 1000  # of rejection: at m_H = 125 GeV, 0.27 of the masses and 0.74 of the events pass
NODES = 64  # of the quadrature over the second mass
FEATURES = ("m4l", "m12", "m34", "cos_star", "cos_1", "cos_2", "phi", "pt", "rapidity")


class EventsLost(RuntimeError):
    """Rejection used up its budget; the message says how many events it could not draw."""


class Record(NamedTuple):
    """Everything that happened in N events; all in float64, energies in GeV.

    ``masses`` (N, 2) of the two Z; ``angles`` (N, 3, 2): cosine and azimuth of the decays of H,
    Z1 and Z2; ``motion`` (N, 3): pT, azimuth and rapidity of H; ``leptons`` (N, 4, 4): true
    momenta as (E, px, py, pz), two from Z1, then two from Z2; ``noise`` (N, 4): standard normal;
    ``measured`` (N, 4, 4): momenta as the detector gives them; ``accepted`` (N,): seen at all?
    """

    masses: Tensor
    angles: Tensor
    motion: Tensor
    leptons: Tensor
    noise: Tensor
    measured: Tensor
    accepted: Tensor


class H4l:
    r"""Four leptons of H -> ZZ* for theta = (m_H in GeV, energy scale of the detector).

    1. masses: m_1^2 ~ 1 / D(m_1) on (0, m_H^2), D(m) = (m^2 - M_Z^2)^2 + M_Z^2 Gamma_Z^2; then
       p(m_2 | m_1) ~ k m_2^3 / D(m_2) for m_1 + m_2 < m_H, k the momentum of the two Z;
    2. decays H -> Z1 Z2, Z1 -> l l, Z2 -> l l, isotropic in each rest frame, leptons massless;
    3. H moves with pT ~ Exp(mean 15 GeV), rapidity ~ U(-1.5, 1.5), any azimuth;
    4. the detector measures p_i scale (1 + resolution z_i), z_i ~ N(0, 1), and sees the event if
       all four leptons have pT > 5 GeV and |eta| < 2.5.

    x = ``FEATURES``: masses of the four leptons and of the two pairs, cosine of Z1 to the beam,
    cosines of the first lepton of each pair to its Z, angle between the planes, pT, rapidity.
    Exact: the sum of the true leptons has the mass m_H and the motion drawn, the masses have
    ``log_prob_masses``, the noise is normal. Simplified against nature: no spin correlations, no
    off-shell H, one kind of lepton, directions without error.

    Args:
        resolution: relative error of a lepton's momentum.
    """

    name = "h4l"
    theta_dim = 2
    x_dim = len(FEATURES)

    def __init__(self, resolution: float = 0.02):
        self.resolution = float(positive("resolution", resolution))
        self.prior = box_uniform([115.0, 0.98], [135.0, 1.02])

    def record(self, theta: Tensor, generator: torch.Generator | None = None) -> Record:
        """Simulate one event for each theta (N, 2), seen or not, and keep all of it."""
        theta = _parameters(theta)
        higgs, scale = theta.unbind(1)
        masses = _draw_masses(higgs, generator)
        u = _uniform((len(theta), 9), theta, generator)
        angles = torch.stack([2 * u[:, :6:2] - 1, 2 * pi * u[:, 1:6:2]], 2)
        motion = [-MEAN_PT * torch.log1p(-u[:, 6]), 2 * pi * u[:, 7]]
        motion = torch.stack([*motion, MAX_RAPIDITY * (2 * u[:, 8] - 1)], 1)
        leptons = _leptons(higgs, masses, angles, motion)
        like = {"device": theta.device, "dtype": theta.dtype}
        noise = torch.randn(len(theta), 4, generator=generator, **like)
        response = scale[:, None] * (1 + self.resolution * noise)
        measured = response[:, :, None] * leptons
        return Record(masses, angles, motion, leptons, noise, measured, _accepted(measured))

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the features of one accepted event for each theta: (N, 2) -> (N, 9).

        An event that the detector does not see is drawn again, so x has the density
        p(x | theta, accepted).

        Raises:
            EventsLost: if, after 1000 rounds, some event was never seen.
        """
        theta = batch("theta", theta, 2)

        def attempt(rows: Tensor) -> tuple[Tensor, Tensor]:
            record = self.record(theta[rows], generator)
            return record.measured, record.accepted

        like = {"device": theta.device, "dtype": torch.float64}
        momenta = _until_kept(attempt, torch.empty(len(theta), 4, 4, **like), "events")
        return features(momenta).to(theta.dtype)

    def log_prob_masses(self, masses: Tensor, higgs_mass: Tensor) -> Tensor:
        """Return the exact log p(m_1, m_2 | m_H) of step 1 in 1 / GeV^2: (N, 2), (N,) -> (N,).

        The integral over m_2 is Gauss-Legendre quadrature in arctan((m_2^2 - M_Z^2) / M_Z Gamma).
        """
        masses = finite("masses", batch("masses", masses, 2)).double()
        same_length(masses=masses, higgs_mass=higgs_mass)
        higgs, (first, second) = higgs_mass.double(), masses.unbind(1)
        low, high = _phase(torch.zeros_like(first)), _phase(higgs)
        inside = (masses > 0).all(1) & (masses.sum(1) < higgs)
        log_first = torch.log(2 * first * Z_MASS * Z_WIDTH / _denominator(first) / (high - low))
        nodes, weights = _quadrature(first)
        span = _phase((higgs - first).clamp(min=0)) - low
        m = _from_phase(low[:, None] + span[:, None] * nodes)
        k = breakup_momentum(higgs[:, None], first[:, None], m)
        norm = span * (weights * k * m**2).sum(1) / (2 * Z_MASS * Z_WIDTH)
        k = breakup_momentum(higgs, first, second)
        log_second = torch.log(k * second**3 / _denominator(second) / norm)
        return torch.where(inside, log_first + log_second, -torch.inf)


def features(momenta: Tensor) -> Tensor:
    """Reduce momenta of four leptons, two from Z1 and two from Z2, to ``FEATURES``: (N, 9)."""
    total = momenta.sum(1)
    rest = to_rest(momenta, total[:, None])
    first, second = rest[:, :2].sum(1), rest[:, 2:].sum(1)
    axis = first[:, 1:] / first[:, 1:].norm(dim=1, keepdim=True)
    flights = to_rest(rest[:, 0], first)[:, 1:], to_rest(rest[:, 2], second)[:, 1:]
    cosines = [(v * a).sum(1) / v.norm(dim=1) for v, a in zip(flights, (axis, -axis), strict=True)]
    planes = [torch.linalg.cross(rest[:, i, 1:], rest[:, i + 1, 1:]) for i in (0, 2)]
    sine = (torch.linalg.cross(*planes) * axis).sum(1)
    phi = torch.atan2(sine, (planes[0] * planes[1]).sum(1))
    pairs = [(2 * dot(momenta[:, i], momenta[:, i + 1])).clamp(min=0).sqrt() for i in (0, 2)]
    pt, rapidity = total[:, 1:3].norm(dim=1), torch.atanh(total[:, 3] / total[:, 0])
    return torch.stack([mass(total), *pairs, axis[:, 2], *cosines, phi, pt, rapidity], 1)


def _parameters(theta: Tensor) -> Tensor:
    theta = finite("theta", batch("theta", theta, 2)).double()
    if (theta <= 0).any():
        raise ValueError("theta: expected m_H > 0 and scale > 0, got a value that is not")
    return theta


def _uniform(shape: tuple, like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(*shape, generator=generator, device=like.device, dtype=like.dtype)


def _leptons(higgs: Tensor, masses: Tensor, angles: Tensor, motion: Tensor) -> Tensor:
    """Decay H and both Z, then let H move: true momenta of the four leptons, (N, 4, 4)."""
    towards = direction(*angles.unbind(2))  # (N, 3, 3)
    pair = decay(higgs, *masses.unbind(1), towards[:, 0])  # (N, 2, 4): Z1 and Z2
    massless = torch.zeros_like(masses)
    at_rest = decay(masses, massless, massless, towards[:, 1:])  # (N, 2, 2, 4)
    leptons = boost(at_rest, pair[:, :, None]).flatten(1, 2)
    return boost(leptons, lab_momentum(higgs, *motion.unbind(1))[:, None])


def _accepted(momenta: Tensor) -> Tensor:
    pt = momenta[..., 1:3].norm(dim=-1)
    eta = torch.asinh(momenta[..., 3] / pt)
    return ((pt > MIN_LEPTON_PT) & (eta.abs() < MAX_LEPTON_ETA)).all(1)


def _until_kept(attempt, values: Tensor, what: str) -> Tensor:
    """Fill the rows of values with what ``attempt(rows)`` keeps, trying again those it refuses."""
    pending = torch.arange(len(values), device=values.device)
    for _ in range(MAX_ROUNDS):
        if len(pending) == 0:
            return values
        drawn, kept = attempt(pending)
        values[pending[kept]] = drawn[kept]
        pending = pending[~kept]
    lost = f"{len(pending)} of {len(values)} {what} refused in each of {MAX_ROUNDS} rounds"
    raise EventsLost(f"theta: expected an m_H that gives events, got {lost}")


def _draw_masses(higgs: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw m_1 by inversion and m_2 by rejection from the line shape: (N,) -> (N, 2)."""
    low = _phase(torch.zeros_like(higgs))

    def line_shape(limit: Tensor, u: Tensor) -> Tensor:
        a = low[: len(u)]
        return torch.minimum(_from_phase(a + (_phase(limit) - a) * u), limit)

    first = line_shape(higgs, _uniform(higgs.shape, higgs, generator))

    def attempt(rows: Tensor) -> tuple[Tensor, Tensor]:
        parent, other = higgs[rows], first[rows]
        u = _uniform((2, len(rows)), higgs, generator)
        limit = parent - other
        m = line_shape(limit, u[0])
        bound = breakup_momentum(parent, other, torch.zeros_like(m)) * limit**2
        return m, u[1] * bound < breakup_momentum(parent, other, m) * m**2

    second = _until_kept(attempt, torch.empty_like(higgs), "masses")
    return torch.stack([first, second], 1)


def _denominator(m: Tensor) -> Tensor:
    return (m**2 - Z_MASS**2) ** 2 + (Z_MASS * Z_WIDTH) ** 2


def _phase(m: Tensor) -> Tensor:
    """Return arctan((m^2 - M_Z^2) / M_Z Gamma_Z), in which the line shape is uniform."""
    return torch.atan((m**2 - Z_MASS**2) / (Z_MASS * Z_WIDTH))


def _from_phase(phase: Tensor) -> Tensor:
    return (Z_MASS**2 + Z_MASS * Z_WIDTH * torch.tan(phase)).clamp(min=0).sqrt()


def _quadrature(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    pair = (torch.as_tensor(a, device=like.device, dtype=like.dtype) for a in (nodes, weights))
    nodes, weights = pair
    return (nodes + 1) / 2, weights / 2
