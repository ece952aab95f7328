"""The network that writes a bijection's parameters: dense, or masked to be autoregressive.

Must never know which bijection reads them. Inside a flow, tensors are (features, N): one column
per event, so that every feature, hidden unit and spline parameter is one contiguous row.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class Network(nn.Module):
    """Dense layers (rows_in, N) and context (C, N) or (C, 1) -> (rows_out, N).

    The last layer starts ``last`` times smaller than usual: the bijection near the identity.
    The activation is the cheapest one; smooth ones gained nothing on conditional densities.
    """

    def __init__(self, rows_in, context, hidden, rows_out, generator, last=0.1):
        super().__init__()
        widths = (rows_in + context, *hidden, rows_out)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            scale = max(before, 1) ** -0.5 * (last if i == len(hidden) else 1.0)
            self.weights.append(_uniform((after, before), scale, generator))
            self.biases.append(_uniform((after, 1), scale, generator))

    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        """Return the parameters, (rows_out, N), in z's dtype."""
        h = z if c is None else torch.cat([z, c.expand(-1, z.shape[1])])
        first, *others = zip(self.effective_weights(), self.biases, strict=True)
        h = torch.addmm(first[1], first[0], h)
        for weight, bias in others:
            h = torch.addmm(bias, weight, relu(h))
        return h.to(z.dtype)

    def effective_weights(self) -> list[Tensor]:
        """Return the weights as they are multiplied."""
        return list(self.weights)


class MaskedNetwork(Network):
    """The parameters of feature i, seeing features 0 .. i-1 and the context only.

    A hidden unit of degree m sees features 0 .. m-1 (and the units of degree <= m before it);
    feature i reads units of degree <= i. Units are sorted by degree. The output's rows are
    (n_parameters, features). Source: MADE, arXiv:1502.03509.
    """

    def __init__(self, features, context, hidden, n_parameters, generator):
        super().__init__(features, context, hidden, n_parameters * features, generator)
        self.features, self.n_parameters = features, n_parameters
        places = torch.arange(features, device="cpu")
        degrees = [torch.cat([places + 1, places.new_zeros(context)])]
        degrees += [_degrees(width, features, context) for width in hidden]
        degrees += [places.repeat(n_parameters)]
        for i, (before, after) in enumerate(zip(degrees[:-1], degrees[1:], strict=True)):
            mask = (after[:, None] >= before).to(torch.float32)
            self.register_buffer(f"mask_{i}", mask, persistent=False)
        # how many units of each hidden layer have a degree <= i
        self.n_known = [[int((d <= i).sum()) for d in degrees[1:-1]] for i in range(features)]

    def effective_weights(self) -> list[Tensor]:
        """Return the weights times their masks."""
        return [w * getattr(self, f"mask_{i}") for i, w in enumerate(self.weights)]

    def by_feature(self, z: Tensor, c: Tensor | None) -> Iterator[Tensor]:
        """Yield the parameters of feature 0, 1, ..., (n_parameters, N); fill z[i] in between.

        When feature i - 1 is known, the units of degree i can be computed, once and for all: the
        d steps together cost one pass through the network. What the units of degree 0 give to
        all others is found first; if all columns share their context, it is one column, and so
        are the parameters of feature 0. Without gradient.
        """
        given, degree_0 = list(self.biases), self.n_known[0]
        if c is not None:
            given[0] = torch.addmm(given[0], self.weights[0][:, self.features :], c)
        for i, n in enumerate(degree_0):
            weight, units = self.weights[i + 1][:, :n], relu(given[i][:n])
            given[i + 1] = torch.addmm(given[i + 1], weight, units)
        last = self.weights[-1].view(self.n_parameters, self.features, -1)
        written = given[-1].view(self.n_parameters, self.features, -1)
        yield written[:, 0]
        hidden = [z.new_empty(len(bias), z.shape[1]) for bias in self.biases[:-1]]
        for i, (start, stop) in enumerate(pairwise(self.n_known), 1):
            rows = slice(0, i)  # of those before, the ones that were not in ``given``
            known = z[rows]
            for layer, (a, b) in enumerate(zip(start, stop, strict=True)):
                weight = self.weights[layer][a:b, rows]
                hidden[layer][a:b] = torch.addmm(given[layer][a:b], weight, known).relu_()
                rows = slice(degree_0[layer], b)
                known = hidden[layer][rows]
            yield torch.addmm(written[:, i], last[:, i, rows], known)


def _degrees(width: int, features: int, context: int) -> Tensor:
    """Spread the degrees over the units; degree 0 sees the context only, if there is one."""
    lowest = 0 if context or features == 1 else 1
    return torch.arange(width, device="cpu") * (features - lowest) // width + lowest


def _uniform(shape, scale, generator) -> nn.Parameter:
    """Draw uniformly from [-scale, scale]: the same numbers at every precision."""
    value = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")
    return nn.Parameter(((2 * value - 1) * scale).to(torch.float32))
