"""Several small networks of one shape as one module: trained in one vectorised pass.

Knows no task.
"""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class Ensemble(nn.Module):
    """K networks side by side: ``ensemble(x)`` is (K, N, ...), one slice for each member.

    Every member sees every row. A loss that sums over members trains each as if it were alone,
    since Adam treats each parameter by itself; one pass costs less than K, because a few large
    operations replace many small ones.

    Args:
        members: modules of one architecture, on one device, each with its own initial weights.
    """

    def __init__(self, members: list[nn.Module]):
        super().__init__()
        if not members:
            raise ValueError("members: expected at least one module, got none")
        shapes = [{k: v.shape for k, v in member.state_dict().items()} for member in members]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("members: expected modules of one architecture, got several")
        parameters, buffers = stack_module_state(members)
        self.size = len(members)
        self._names = {name.replace(".", "/"): name for name in (*parameters, *buffers)}
        self.parameters_by_name = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(p.detach()) for name, p in parameters.items()}
        )
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value)
        self._buffer_names = [name.replace(".", "/") for name in buffers]
        object.__setattr__(self, "_shape", copy.deepcopy(members[0]).to("meta"))

    def train(self, mode: bool = True) -> "Ensemble":
        """Switch all members between training and evaluation."""
        self._shape.train(mode)
        return super().train(mode)

    def forward(self, *x: Tensor) -> Tensor:
        """Return every member's output on the same rows, (K, N, ...)."""
        weights = {self._names[k]: p for k, p in self.parameters_by_name.items()}
        weights |= {self._names[k]: getattr(self, k) for k in self._buffer_names}

        def call(weights, *x):
            return functional_call(self._shape, weights, x)

        in_dims = (0, *(None for _ in x))
        return vmap(call, in_dims=in_dims, randomness="different")(weights, *x)

    @torch.no_grad()
    def member(self, k: int) -> nn.Module:
        """Return a copy of member k as a module of its own."""
        if not 0 <= k < self.size:
            raise ValueError(f"k: expected 0 <= k < {self.size}, got {k}")
        device = next(self.parameters()).device
        module = copy.deepcopy(self._shape).to_empty(device=device)
        state = {self._names[n]: p[k] for n, p in self.parameters_by_name.items()}
        state |= {self._names[n]: getattr(self, n)[k] for n in self._buffer_names}
        module.load_state_dict(state)
        return module
