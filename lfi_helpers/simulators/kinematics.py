"""Four-vectors (E, px, py, pz) in GeV: products, masses, boosts, two-body decays.

Knows no simulator and draws no random number.
"""

import torch
from torch import Tensor


def dot(p: Tensor, q: Tensor) -> Tensor:
    """Return the Minkowski product E_p E_q - p . q: (..., 4) and (..., 4) -> (...)."""
    return p[..., 0] * q[..., 0] - (p[..., 1:] * q[..., 1:]).sum(-1)


def mass(p: Tensor) -> Tensor:
    """Return the invariant mass sqrt(p . p), zero if rounding makes p . p negative: (...)."""
    return dot(p, p).clamp(min=0).sqrt()


def boost(p: Tensor, frame: Tensor) -> Tensor:
    """Carry p from the rest frame of ``frame`` to where ``frame`` has the momentum it has.

    With M its mass, E' = (E E_f + p . p_f) / M and p' = p + p_f (E + E') / (E_f + M).

    Args:
        p: four-vectors in the rest frame, (..., 4).
        frame: four-vectors of positive mass, broadcast against p, (..., 4).

    >>> frame = torch.tensor([5.0, 0.0, 0.0, 3.0])
    >>> boost(torch.tensor([4.0, 0.0, 0.0, 0.0]), frame)
    tensor([5., 0., 0., 3.])
    """
    m = mass(frame)[..., None]
    energy = (p * frame).sum(-1, keepdim=True) / m
    vector = p[..., 1:] + frame[..., 1:] * (p[..., :1] + energy) / (frame[..., :1] + m)
    return torch.cat([energy, vector], -1)


def to_rest(p: Tensor, frame: Tensor) -> Tensor:
    """Carry p into the rest frame of ``frame``: the inverse of ``boost``, (..., 4)."""
    return boost(p, torch.cat([frame[..., :1], -frame[..., 1:]], -1))


def breakup_momentum(parent: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return k = sqrt((M^2 - (m_1 + m_2)^2) (M^2 - (m_1 - m_2)^2)) / 2M of M -> m_1 m_2: (...)."""
    above, below = parent**2 - (first + second) ** 2, parent**2 - (first - second) ** 2
    return (above * below).clamp(min=0).sqrt() / (2 * parent)


def direction(cosine: Tensor, azimuth: Tensor) -> Tensor:
    """Return the unit vector with this cosine to the z axis and this azimuth: (..., 3)."""
    sine = (1 - cosine**2).clamp(min=0).sqrt()
    return torch.stack([sine * azimuth.cos(), sine * azimuth.sin(), cosine], -1)


def decay(parent: Tensor, first: Tensor, second: Tensor, towards: Tensor) -> Tensor:
    """Split a particle at rest into two, back to back: (..., 2, 4).

    Args:
        parent, first, second: the three masses, (...).
        towards: unit vector along which the first one flies, (..., 3).
    """
    k = breakup_momentum(parent, first, second)[..., None]
    energies = [(k**2 + m[..., None] ** 2).sqrt() for m in (first, second)]
    sides = [torch.cat([e, s * k * towards], -1) for e, s in zip(energies, (1, -1), strict=True)]
    return torch.stack(sides, -2)


def lab_momentum(m: Tensor, pt: Tensor, azimuth: Tensor, rapidity: Tensor) -> Tensor:
    """Return the four-vector of a mass with pT, azimuth and rapidity along z: (..., 4)."""
    transverse = (m**2 + pt**2).sqrt()
    parts = [transverse * rapidity.cosh(), pt * azimuth.cos(), pt * azimuth.sin()]
    return torch.stack([*parts, transverse * rapidity.sinh()], -1)
