"""The multilayer perceptron and the layer that standardises its input.

Must never know what it is trained for.
"""

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import batch, finite, one_of
from lfi_helpers.run import pick_device, seeded

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(
    in_features: int,
    out_features: int,
    hidden: tuple[int, ...] = (64, 64),
    *,
    activation: str = "silu",
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> nn.Sequential:
    """Build linear layers with an activation between them: (N, in_features) -> (N, out_features).

    Args:
        in_features: width of the input.
        out_features: width of the output.
        hidden: widths of the hidden layers; () gives one linear layer.
        activation: ``"silu"``, ``"relu"`` or ``"tanh"``.
        seed: of the initial weights, which are the same on every device; the global random state
            is left as it was.
        device: where the layers end up.

    Raises:
        ValueError: for a width below 1 or an unknown activation.
        TypeError: for a width that is not an integer.
    """
    layer = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
    if not isinstance(hidden, tuple | list):
        raise TypeError(f"hidden: expected a tuple of widths, got {hidden!r}")
    widths = [_width("in_features", in_features), *(_width("hidden", w) for w in hidden)]
    widths += [_width("out_features", out_features)]
    layers = []
    with seeded(seed):
        for width_in, width_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(width_in, width_out, device="cpu"), layer()]
    return nn.Sequential(*layers[:-1]).to(pick_device(device))


def _width(name: str, width: int) -> int:
    if isinstance(width, bool) or not isinstance(width, int):
        raise TypeError(f"{name}: expected an integer, got {width!r}")
    if width < 1:
        raise ValueError(f"{name}: expected a width >= 1, got {width}")
    return width


class Standardise(nn.Module):
    """Shift and scale each feature to mean 0 and standard deviation 1 of the given data (N, L).

    A constant feature is shifted only. It is found by comparing rows: its computed deviation is
    often not zero but tiny, and would send an event that differs a little to infinity.
    """

    def __init__(self, data: Tensor):
        super().__init__()
        data = finite("data", batch("data", data))
        if len(data) == 0:
            raise ValueError("data: expected at least one row, got none")
        mean, deviation = data.double().mean(0), data.double().std(0, unbiased=False)  # (L,)
        constant = (data == data[0]).all(0)
        self.register_buffer("mean", mean.to(data.dtype))
        self.register_buffer("deviation", torch.where(constant, 1.0, deviation).to(data.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return (x - mean) / deviation, (..., L); raise if x has not L features."""
        if x.shape[-1:] != self.mean.shape:
            raise ValueError(f"x: expected {len(self.mean)} features, got {tuple(x.shape)}")
        return (x - self.mean) / self.deviation
