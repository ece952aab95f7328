"""What public functions ask of their arguments: shape, type, finiteness, range.

Imports torch only; computes nothing.

Every error names the argument, what was expected and what came.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def floating(name: str, value: object) -> Tensor:
    """Return value as a floating-point tensor (integers and arrays become float32)."""
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}") from error
        value = value.to(torch.float32)
    if value.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {value.dtype}")
    return value if value.is_floating_point() else value.to(torch.float32)


def batch(name: str, value: object, width: int | None = None) -> Tensor:
    """Return value as a floating-point tensor of shape (N, width); any width if None."""
    value = floating(name, value)
    if value.ndim != 2 or (width is not None and value.shape[1] != width):
        wanted = "(N, L)" if width is None else f"(N, {width})"
        raise ValueError(f"{name}: expected shape {wanted}, got {tuple(value.shape)}")
    return value


def finite(name: str, value: Tensor) -> Tensor:
    """Return value if it holds no NaN and no infinity; else raise with their count."""
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise ValueError(
            f"{name}: expected finite numbers, got {bad} NaN or infinite of {value.numel()}"
        )
    return value


def same_length(**values: Tensor) -> None:
    """Raise unless all values have the same number of rows."""
    lengths = {name: len(value) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{' and '.join(lengths)}: expected equally many rows, got {lengths}")


def positive(name: str, value: float) -> float:
    """Return value if it is a number above zero; else raise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not value > 0:
        raise ValueError(f"{name}: expected a number > 0, got {value}")
    return value


def one_of(name: str, value: object, allowed: Iterable) -> object:
    """Return value if it is one of those allowed; else raise, naming the close ones."""
    from difflib import get_close_matches

    allowed = list(allowed)
    if value not in allowed:
        close = get_close_matches(str(value), map(str, allowed), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"{name}: expected one of {allowed}, got {value!r}{hint}")
    return value
