"""From test statistics to CLs and limits: the asymptotic formulae. Runs no fit itself.

Source: arXiv:1007.1727.
"""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

BANDS = (2.0, 1.0, 0.0, -1.0, -2.0)  # background-only fluctuations, in pyhf's order


def cls_from_q(q: Tensor, q_asimov: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the observed CLs and the five expected ones from q-tilde of data and of Asimov data.

    With :math:`t = \sqrt{q} - \sqrt{q_A}`, or :math:`(q - q_A) / (2 \sqrt{q_A})` where q exceeds
    :math:`q_A`, is :math:`CL_s = \Phi(-t - \sqrt{q_A}) / \Phi(-t)`. Without signal t is a standard
    normal variable: the expected values put t = 2, 1, 0, -1, -2.

    Args:
        q: test statistic of the data, (B,).
        q_asimov: that of the Asimov data without signal, (B,).

    Returns:
        CLs, (B,), and expected CLs, smallest first, (5, B).
    """
    root = q_asimov.sqrt()
    beyond = (q - q_asimov) / (2 * torch.where(root > 0, root, 1))
    t = torch.where(q <= q_asimov, q.sqrt() - root, beyond)
    bands = torch.tensor(BANDS, dtype=q.dtype, device=q.device)[:, None].expand(-1, len(q))
    return _ratio(t, root), _ratio(bands, root)


def _ratio(t: Tensor, root: Tensor) -> Tensor:
    """Return Phi(-t - root) / Phi(-t), by logarithms: both may underflow."""
    log_cdf = torch.special.log_ndtr
    return (log_cdf(-t - root) - log_cdf(-t)).exp()


def crossings(curves: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, level: float):
    """Return where each of K falling curves passes the level, (K,).

    Five rounds, each one call of ``curves`` with ten points between the ends of all K brackets,
    cut every bracket by ten; the last step is a line in the logarithm.

    Args:
        curves: maps points (M,) to the K curves there, (K, M).
        low, high: where the search begins, (K,) each.
        level: the value sought, above 0.

    Raises:
        ValueError: if a curve is still above the level at its upper end.
    """
    share = torch.linspace(0, 1, 11, dtype=low.dtype, device=low.device)
    own = torch.arange(len(low), device=low.device)
    for _ in range(5):
        x = low[:, None] + (high - low)[:, None] * share  # (K, 11)
        y = curves(x.reshape(-1)).reshape(len(low), *x.shape)[own, own]
        if (y[:, -1] > level).any():
            raise ValueError(
                f"level: expected CLs below {level} at the upper bound {high.max():g}, "
                f"got {y[:, -1].max():.3g}"
            )
        right = (y <= level).int().argmax(1).clamp(min=1)[:, None]
        (low, above), (high, below) = (
            (x.gather(1, k)[:, 0], y.gather(1, k)[:, 0].log()) for k in (right - 1, right)
        )
    return low + (high - low) * ((above - log(level)) / (above - below)).clamp(0, 1)
