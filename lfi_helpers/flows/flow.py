"""Flow: layers between theta and a base density, and the Distribution they become.

Must never know a simulator, a prior's name or how it is trained.
"""

import math

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import floating, one_of
from lfi_helpers.flows.aligned import Aligned
from lfi_helpers.flows.coordinates import CUBE, NormalCoordinates, Probit
from lfi_helpers.flows.distribution import FlowDistribution
from lfi_helpers.flows.layers import Affine, Autoregressive, Coupling, Inverse, Reorder
from lfi_helpers.flows.planar import Planar
from lfi_helpers.flows.splines import Spline
from lfi_helpers.run import generator, pick_device

KINDS = ("planar", "realnvp", "maf", "iaf", "nsf", "nsf_coupling")
SPLINES, COUPLINGS = ("nsf", "nsf_coupling"), ("realnvp", "nsf_coupling")
BOUND = 5.0  # splines on an unbounded space are the identity beyond it


class Flow(nn.Module):
    r"""A density of theta given a context: ``Flow(D, C, kind)(context)`` is a Distribution.

    :math:`\log q(\theta | c) = \log p_0(z) + \log |\det dz/d\theta|` with z = f(theta; c) and the
    base :math:`p_0` normal, or uniform on the cube for splines in cube coordinates.

    Kinds: ``"planar"`` (inverse found numerically), ``"realnvp"`` (affine coupling), ``"maf"``
    and ``"iaf"`` (affine autoregressive: fast density, or fast draws), ``"nsf"`` and
    ``"nsf_coupling"`` (rational-quadratic splines, autoregressive or coupling).

    Args:
        features: D, how many numbers theta has.
        context: C, how many numbers the context has (after the embedding); 0 for none.
        kind: one of ``KINDS``.
        coordinates: where the layers work: ``StandardCoordinates(theta)``, or those of a bounded
            prior, ``prior_coordinates(prior)`` or ``BoxCoordinates(low, high)``: then no draw
            lies outside the support, and ``log_prob`` there is -inf. None for theta itself.
        embedding: applied to the context first, e.g. ``networks.Standardise(x)``.
        align: pairs (theta (N, D), context (N, C)): the first layer starts at the linear
            regression of theta on the embedded context, and is trained like the others.
        transforms: how many bijections.
        hidden: widths of the hidden layers of each bijection's network.
        bins: of each spline.
        seed: of the initial weights; the global random state is left as it was.
        device: where the flow lives.

    Everything is computed at the precision of the weights (``.double()`` for float64).

    >>> Flow(2, context=3)(torch.zeros(5, 3)).log_prob(torch.zeros(2)).shape
    torch.Size([5])

    Raises:
        TypeError, ValueError: if a size is not a positive integer, or the kind does not exist.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        kind: str = "nsf",
        *,
        coordinates: nn.Module | None = None,
        embedding: nn.Module | None = None,
        align: tuple[Tensor, Tensor] | None = None,
        transforms: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        super().__init__()
        one_of("kind", kind, KINDS)
        _check_sizes(features, context, transforms, hidden, bins)
        if coordinates is not None and coordinates.features != features:
            raise ValueError(
                f"coordinates: expected {features} features, got {coordinates.features}"
            )
        self.features, self.context, self.kind = features, context, kind
        self.coordinates, self.embedding = coordinates, embedding
        cube = coordinates is not None and coordinates.cube
        self.uniform_base = cube and kind in SPLINES
        spline = Spline(bins, CUBE if cube else BOUND, tails=not cube)
        elementwise = spline if kind in SPLINES else Affine()
        weights = generator(seed)
        self.layers = nn.ModuleList([Probit()] if cube and kind not in SPLINES else [])
        for i in range(transforms):
            if i and features > 1 and kind != "planar":
                self.layers.append(Reorder(_order(features, i, kind in COUPLINGS)))
            self.layers.append(_layer(kind, features, context, elementwise, hidden, weights))
        if align is not None:
            self.layers = nn.ModuleList([*self._aligned(*align), *self.layers])
        self.to(pick_device(device))

    def forward(self, context: Tensor | None = None) -> FlowDistribution:
        r"""Return the density of theta given each row of the context (\*B, C), or given none."""
        return FlowDistribution(self, self._read_context(context))

    @torch.no_grad()
    def _aligned(self, theta: Tensor, context: Tensor) -> list[nn.Module]:
        """Return the first layers; where a normal prior fills the cube, they leave it and return.

        What is linear and normal is so in the prior's own units, not on the cube.
        """
        z = self.read("theta", theta, self.features).mT.contiguous()
        c = self._read_context(context).mT
        if self.coordinates is None:
            return [Aligned(z, c, cube=False)]
        z, _ = self.coordinates(z)
        if not isinstance(self.coordinates, NormalCoordinates):
            return [Aligned(z, c, self.coordinates.cube)]
        probit = Probit()
        return [probit, Aligned(probit(z, c)[0], c, cube=False), Inverse(probit)]

    def to_base(self, theta: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z = f(theta; c) and log |det dz/dtheta|; columns: (D, N), (C, N) or (C, 1)."""
        z, log_det = theta, torch.zeros_like(theta[0])
        if self.coordinates is not None:
            z, log_det = self.coordinates(z)
        for layer in self.layers:
            z, change = layer(z, c)
            log_det = log_det + change
        return z, log_det

    def from_base(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the theta that ``to_base`` maps to z, and log |det dtheta/dz|."""
        log_det = torch.zeros_like(z[0])
        for layer in reversed(self.layers):
            z, change = layer.inverse(z, c)
            log_det = log_det + change
        if self.coordinates is None:
            return z, log_det
        theta, change = self.coordinates.inverse(z)
        return theta, log_det + change

    def base_log_prob(self, z: Tensor) -> Tensor:
        """Return log p_0 of each column, (N,)."""
        if self.uniform_base:
            return torch.full_like(z[0], -len(z) * math.log(2 * CUBE))
        return -0.5 * (z * z).sum(0) - 0.5 * len(z) * math.log(2 * math.pi)

    def base_draws(self, n: int) -> Tensor:
        """Draw n columns from the base, (D, n)."""
        weight = next(self.parameters())
        draw = torch.rand if self.uniform_base else torch.randn
        z = draw(self.features, n, device=weight.device, dtype=weight.dtype)
        return CUBE * (2 * z - 1) if self.uniform_base else z

    def _read_context(self, context: Tensor | None) -> Tensor | None:
        if (context is None) != (self.context == 0):
            wanted = f"(..., {self.context})" if self.context else "None"
            came = "None" if context is None else tuple(floating("context", context).shape)
            raise ValueError(f"context: expected {wanted}, got {came}")
        if context is None:
            return None
        context = self.read("context", context)
        if self.embedding is not None:
            context = self.embedding(context)
        return self.read("context", context, self.context)

    def read(self, name: str, value: Tensor, width: int | None = None) -> Tensor:
        """Return value in the flow's precision, its last dimension and device checked."""
        value, weight = floating(name, value), next(self.parameters())
        if width is not None and (value.ndim == 0 or value.shape[-1] != width):
            raise ValueError(f"{name}: expected shape (..., {width}), got {tuple(value.shape)}")
        if value.device != weight.device:
            raise ValueError(f"{name}: expected device {weight.device}, got {value.device}")
        return value.to(weight.dtype)


def _layer(kind, features, context, elementwise, hidden, weights) -> nn.Module:
    if kind == "planar":
        return Planar(features, context, hidden, weights)
    family = Coupling if kind in COUPLINGS else Autoregressive
    layer = family(features, context, elementwise, hidden, weights)
    return Inverse(layer) if kind == "iaf" else layer


def _order(features: int, i: int, coupling: bool) -> list[int]:
    """Return the order before layer i: reversed, or (couplings, i even) dealt into two hands."""
    if coupling and i % 2 == 0:
        return [*range(1, features, 2), *range(0, features, 2)]
    return list(reversed(range(features)))


def _check_sizes(features, context, transforms, hidden, bins) -> None:
    if not isinstance(hidden, tuple | list) or not hidden:
        raise TypeError(f"hidden: expected widths like (64, 64), got {hidden!r}")
    sizes = {"features": features, "transforms": transforms, "bins": bins, "context": context}
    sizes |= {f"hidden[{i}]": width for i, width in enumerate(hidden)}
    for name, size in sizes.items():
        least = {"context": 0, "bins": 2}.get(name, 1)
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name}: expected an integer, got {size!r}")
        if size < least:
            raise ValueError(f"{name}: expected an integer >= {least}, got {size}")
