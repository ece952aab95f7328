"""The planar bijection: bend space along one direction.

Must never know the base density or the coordinates of theta. Tensors are (features, N).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lfi_helpers.flows.network import Network

MIN_SLOPE = 1e-3  # smallest factor by which space is stretched
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it + MIN_SLOPE = 1
HALVINGS = 64


class Planar(nn.Module):
    r"""Bend space: :math:`z' = z + \hat u \tanh(w \cdot z + b)`.

    :math:`\log|\det| = \log(1 + \hat u \cdot w (1 - \tanh^2))`. It is invertible when
    :math:`\hat u \cdot w > -1`, which
    :math:`\hat u = u + (m(w \cdot u) - w \cdot u) w / |w|^2` ensures, m being a softplus
    shifted such that m(0) = 0 and m > -0.999 (so that u = 0 is the identity). With a context, a
    network writes u, w and b.

    There is no formula for the inverse: a = w . z is found by halving an interval, which is one
    equation in one unknown whatever the number of features. Source: arXiv:1505.05770.
    """

    def __init__(self, features, context, hidden, generator):
        super().__init__()
        self.features = features
        hidden = hidden if context else ()
        self.network = Network(0, context, hidden, 2 * features + 1, generator, last=1.0)

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z' and log |det dz'/dz|."""
        u, w, b, stretch = self._read(z, c)
        t = torch.tanh((w * z).sum(0) + b)
        return z + u * t, torch.log1p(stretch * (1 - t * t))

    def inverse(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the z that forward maps to this one, and its log-determinant."""
        u, w, b, stretch = self._read(z, c)
        target = (w * z).sum(0)
        with torch.no_grad():
            a = _solve(target, b, stretch)
        t = torch.tanh(a + b)
        slope = (1 + stretch * (1 - t * t)).detach()
        a = a - (a + stretch * t - target) / slope  # Newton: it carries the gradients
        t = torch.tanh(a + b)
        return z - u * t, -torch.log1p(stretch * (1 - t * t))

    def _read(self, z, c):
        """Return u_hat and w, (features, N), b and u_hat . w, (N,)."""
        rows = self.network(z[:0], c)
        u, w, b = rows[: self.features], rows[self.features : -1], rows[-1]
        overlap = (w * u).sum(0)
        allowed = softplus(overlap + UNIT_SLOPE) + MIN_SLOPE - 1
        norm = (w * w).sum(0) + torch.finfo(w.dtype).tiny
        u = u + (allowed - overlap) * w / norm
        return u, w, b, (w * u).sum(0)


def _solve(target: Tensor, b: Tensor, stretch: Tensor) -> Tensor:
    """Solve a + stretch tanh(a + b) = target for a: the left side grows with a."""
    low, high = target - stretch.abs(), target + stretch.abs()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = middle + stretch * torch.tanh(middle + b) > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
