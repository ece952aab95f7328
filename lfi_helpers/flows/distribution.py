"""The torch Distribution that a flow becomes once it is given a context.

Must never know which layers the flow has.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class FlowDistribution(Distribution):
    """The density q(theta | context): event shape (D,), the context's batch shape.

    ``sample`` takes no generator (no torch Distribution does): ``run.draw(flow(x), n, generator)``
    draws with one. NaN in theta or in the context gives NaN.
    """

    arg_constraints = {}
    has_rsample = True

    def __init__(self, flow: nn.Module, context: Tensor | None):
        self.flow, self.context = flow, context
        batch_shape = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch_shape, torch.Size([flow.features]), validate_args=False)

    @property
    def support(self):
        """Return the constraint on theta: all real vectors, unless the coordinates bound it."""
        coordinates = self.flow.coordinates
        return constraints.real_vector if coordinates is None else coordinates.support

    def log_prob(self, theta: Tensor) -> Tensor:
        """Return log q(theta | context), theta's and the context's shapes broadcast."""
        flow = self.flow
        theta = flow.read("theta", theta, flow.features)
        shape = torch.broadcast_shapes(theta.shape[:-1], self.batch_shape)
        theta = _columns(theta, shape)
        z, log_det = flow.to_base(theta, self._context_columns(shape))
        log_q = flow.base_log_prob(z) + log_det
        outside = None if flow.coordinates is None else flow.coordinates.outside(theta)
        if outside is not None:
            log_q = torch.where(outside, -math.inf, log_q)
        return log_q.view(shape)

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw theta, differentiably: sample_shape + batch shape + (D,)."""
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(self, sample_shape: tuple[int, ...] = ()):
        """Draw theta and return it with log q(theta | context), found on the way."""
        flow, shape = self.flow, torch.Size(sample_shape) + self.batch_shape
        z = flow.base_draws(shape.numel())
        theta, log_det = flow.from_base(z, self._context_columns(shape))
        log_q = flow.base_log_prob(z) - log_det
        return theta.mT.reshape(*shape, flow.features), log_q.view(shape)

    def expand(self, batch_shape: torch.Size, _instance=None) -> "FlowDistribution":
        """Return the same density for a larger batch shape."""
        context = self.context
        if context is not None:
            context = context.expand(*batch_shape, -1)
        elif len(batch_shape):
            raise ValueError(f"batch_shape: expected () without a context, got {batch_shape}")
        return FlowDistribution(self.flow, context)

    def _context_columns(self, shape: torch.Size) -> Tensor | None:
        """Return the context as (C, N), or (C, 1) where all N columns share it."""
        if self.context is None:
            return None
        return _columns(self.context, () if self.batch_shape.numel() == 1 else shape)


def _columns(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return (*S, D), broadcast to ``shape`` + (D,), as contiguous columns (D, N)."""
    width = rows.shape[-1]
    if len(shape):
        rows = rows.expand(*shape, width)
    return rows.reshape(-1, width).mT.contiguous()
