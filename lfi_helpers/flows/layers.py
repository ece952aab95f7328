"""Bijections of whole events: coupling, autoregressive, their inverse, reordering.

Must never know the base density or the coordinates of theta. Tensors are (features, N).

A layer has ``forward(z, c) -> (z', log_det)`` towards the base and ``inverse(z', c) -> (z,
log_det)`` away from it; ``c`` is the context, (C, N) or (C, 1) or None; log_det is (N,).
"""

import math

import torch
from torch import Tensor, nn

from lfi_helpers.flows.network import MaskedNetwork, Network

MAX_LOG_SCALE = math.log(1e3)


class Affine:
    r"""Shift and scale: :math:`y = m + x e^a`, :math:`a = \alpha / (1 + |\alpha| / \log 10^3)`.

    The scale stays between 1/1000 and 1000. Parameters come as (2, \*S): m, alpha.
    """

    n_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log dy/dx."""
        m, a = self._read(parameters)
        return torch.addcmul(m, x, torch.exp(a)), a

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and log dx/dy."""
        m, a = self._read(parameters)
        return (y - m) * torch.exp(-a), -a

    @staticmethod
    def _read(parameters):
        m, alpha = parameters
        return m, alpha / (1 + alpha.abs() / MAX_LOG_SCALE)


class Coupling(nn.Module):
    """Transform the second half of the features, given the first half and the context.

    The Jacobian is triangular, both directions cost one pass. A single feature is transformed
    given the context. Source: RealNVP, arXiv:1605.08803.
    """

    def __init__(self, features, context, elementwise, hidden, generator):
        super().__init__()
        self.n_given = features // 2
        self.elementwise = elementwise
        rows_out = elementwise.n_parameters * (features - self.n_given)
        self.network = Network(self.n_given, context, hidden, rows_out, generator)

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z' and log |det dz'/dz|."""
        return self._apply_half(self.elementwise.forward, z, c)

    def inverse(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the z that forward maps to this one, and its log-determinant."""
        return self._apply_half(self.elementwise.inverse, z, c)

    def _apply_half(self, map_, z, c):
        given, changed = z[: self.n_given], z[self.n_given :]
        shape = (self.elementwise.n_parameters, *changed.shape)
        parameters = self.network(given, c).view(shape)
        changed, log_slope = map_(changed, parameters)
        return torch.cat([given, changed]), log_slope.sum(0)


class Autoregressive(nn.Module):
    """Transform feature i given features 0 .. i-1 and the context.

    Forward costs one pass of the network. Inverse goes feature by feature: without gradient all
    of them together cost one pass, with gradient every feature costs a pass. Source: MAF,
    arXiv:1705.07057.
    """

    def __init__(self, features, context, elementwise, hidden, generator):
        super().__init__()
        self.elementwise = elementwise
        self.network = MaskedNetwork(
            features, context, hidden, elementwise.n_parameters, generator
        )

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z' and log |det dz'/dz|."""
        z, log_slope = self.elementwise.forward(z, self._read_network(z, c))
        return z, log_slope.sum(0)

    def inverse(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the z that forward maps to this one, and its log-determinant."""
        if torch.is_grad_enabled():
            return self._inverse_in_passes(z, c)
        x, log_det = torch.empty_like(z), torch.zeros_like(z[0])
        for i, parameters in enumerate(self.network.by_feature(x, c)):
            x[i], log_slope = self.elementwise.inverse(z[i], parameters.to(z.dtype))
            log_det += log_slope
        return x, log_det

    def _inverse_in_passes(self, z, c):
        """After pass i, features 0 .. i-1 are right, and so are their gradients."""
        x = torch.zeros_like(z)
        for _ in range(len(z)):
            x, log_slope = self.elementwise.inverse(z, self._read_network(x, c))
        return x, log_slope.sum(0)

    def _read_network(self, z, c):
        return self.network(z, c).view(self.elementwise.n_parameters, *z.shape)


class Inverse(nn.Module):
    """A layer with its two directions exchanged (IAF is the inverse of MAF, arXiv:1606.04934)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the layer's inverse."""
        return self.layer.inverse(z, c)

    def inverse(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the layer's forward."""
        return self.layer.forward(z, c)


class Reorder(nn.Module):
    """Put the features in another order; the log-determinant is zero."""

    def __init__(self, order: list[int]):
        super().__init__()
        order = torch.tensor(order, device="cpu")
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)

    def forward(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the rows of z in the new order."""
        return z.index_select(0, self.order), torch.zeros_like(z[0])

    def inverse(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the rows of z in the old order."""
        return z.index_select(0, self.back), torch.zeros_like(z[0])
