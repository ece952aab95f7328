"""Weak supervision: what samples of mixed origin say about the pure ones.

Knows fractions and samples, never which event was what.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import finite


def mixed_log_ratio(log_r: Tensor, f1: float, f2: float) -> Tensor:
    r"""Return the log-ratio of two mixtures, where r = s / b is the ratio of the pure classes.

    .. math:: r_{12} = \frac{f_1 r + 1 - f_1}{f_2 r + 1 - f_2}, \qquad
        \frac{d r_{12}}{d r} = \frac{f_1 - f_2}{(f_2 r + 1 - f_2)^2} ,

    so that it grows with r where f1 > f2: a classifier of the mixtures sorts events as one of the
    pure classes does. Source: CWoLa, arXiv:1708.02949.

    Args:
        log_r: log s / b of each event, any shape.
        f1, f2: fractions of s in the numerator and in the denominator, in [0, 1].
    """
    log_parts = [torch.logaddexp(_log(f) + log_r, _log(1 - f) + 0 * log_r) for f in _pair(f1, f2)]
    return log_parts[0] - log_parts[1]


def pure_log_ratio(log_mixed: Tensor, f1: float, f2: float) -> Tensor:
    r"""Return the log-ratio of the pure classes from that of two mixtures of them.

    .. math:: r = \frac{(1 - f_2)\,r_{12} - (1 - f_1)}{f_1 - f_2\,r_{12}}

    No event of such mixtures has a ratio outside the interval from (1 - f1)/(1 - f2) to f1/f2,
    but a learned one may: there the answer is plus or minus infinity.

    Args:
        log_mixed: log-ratio of mixture 1 over mixture 2, any shape.
        f1, f2: fractions of s in the numerator and in the denominator, which must differ.

    Raises:
        ValueError: if a fraction is outside [0, 1], or the two are equal: then the mixtures are
            the same and tell nothing.
    """
    f1, f2 = _pair(f1, f2)
    if f1 == f2:
        raise ValueError(f"f1 and f2: expected two different fractions, got {f1} twice")
    r = log_mixed.exp()
    sign = 1 if f1 > f2 else -1
    above, below = sign * ((1 - f2) * r - (1 - f1)), sign * (f1 - f2 * r)
    return above.clamp(min=0).log() - below.clamp(min=0).log()


def proportions_loss(fractions: Tensor) -> Callable[[nn.Module, Tensor], Tensor]:
    r"""Return the loss that knows bags of events and the fraction of signal in each, no label.

    .. math:: L = \sum_k \Big(\frac1N \sum_i \sigma(g(x_{ik})) - f_k\Big)^2

    for bags x (N, B, L), where row i holds the i-th event of each of the B bags. With :math:`a`
    and :math:`c` the mean outputs on signal and background the k-th mean is
    :math:`f_k a + (1 - f_k) c`, so the loss sees (a, c) only; among all functions it is smallest
    for a hard cut on s / b, not for a probability. Source: arXiv:1702.00414.

    Raises:
        ValueError: if the fractions are not (B,), lie outside [0, 1] or are fewer than two
            different ones: then a constant output is perfect; or, when called, if x has another
            number of bags.
    """
    finite("fractions", fractions)
    if fractions.ndim != 1 or ((fractions < 0) | (fractions > 1)).any():
        raise ValueError("fractions: expected shape (B,) in [0, 1], got something else")
    if len(fractions.unique()) < 2:
        raise ValueError(
            "fractions: expected at least two different ones, since for equal fractions a "
            f"constant output is perfect, got {fractions.tolist()}"
        )

    def loss(module: nn.Module, x: Tensor) -> Tensor:
        if x.ndim != 3 or x.shape[1] != len(fractions):
            raise ValueError(f"x: expected (N, {len(fractions)}, L), got {tuple(x.shape)}")
        mean = torch.sigmoid(module(x)[..., 0]).mean(0)  # (B,)
        return (mean - fractions.to(mean)).square().sum()

    return loss


def _pair(f1: float, f2: float) -> tuple[float, float]:
    for name, f in (("f1", f1), ("f2", f2)):
        if not 0 <= f <= 1:
            raise ValueError(f"{name}: expected a fraction in [0, 1], got {f!r}")
    return f1, f2


def _log(f: float) -> float:
    return math.log(f) if f > 0 else -math.inf
