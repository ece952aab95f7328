"""Log-score gap: how many nats does a density lack at the truth?

Takes log-densities at truths; fits nothing.
"""

import math
from typing import NamedTuple

from scipy.stats import norm

from lfi_helpers.arguments import floating

FEWEST = 20
ROUNDING = 1e-6  # relative error of a log-density computed in single precision


class ScoreGap(NamedTuple):
    """The mean of log p - log q over truths, in nats, its standard error, and gap / error.

    The error includes the rounding of single precision, so that equal densities show no gap.

    ``p_worse`` is the probability of a gap at least so large if q is exact, ``p_better`` of one
    at least so small (normal approximation). No honest density is better than the exact one: a
    small ``p_better`` means that q is not normalised or has seen the truths.
    """

    gap: float
    error: float
    z: float
    p_worse: float
    p_better: float

    @property
    def p_value(self) -> float:
        """Twice the smaller of the two one-sided p-values, at most 1."""
        return min(1.0, 2 * min(self.p_worse, self.p_better))


def score_gap(log_p, log_q) -> ScoreGap:
    r"""Compare a learned log-density with the exact one, both at the truths.

    Over pairs from prior and simulator the gap estimates
    :math:`E_x\, KL(p(\cdot | x) \| q(\cdot | x)) \ge 0`, zero only for q = p.

    Args:
        log_p: exact log p(theta | x) at the N pairs, (N,); or of the likelihood, log p(x | theta).
        log_q: the learned one at the same pairs, (N,); minus infinity, a truth that q excludes,
            gives an infinite gap.

    Raises:
        ValueError: for other shapes, fewer than 20 pairs, NaN, or an infinity other than that.
    """
    log_p, log_q = floating("log_p", log_p).double(), floating("log_q", log_q).double()
    if log_p.ndim != 1 or log_p.shape != log_q.shape or len(log_p) < FEWEST:
        shapes = f"{tuple(log_p.shape)} and {tuple(log_q.shape)}"
        raise ValueError(f"log_p and log_q: expected shape (N,), N >= {FEWEST}, got {shapes}")
    if not log_p.isfinite().all():
        raise ValueError("log_p: expected finite numbers, got a truth that cannot be")
    if not (log_q < math.inf).all():  # also false for NaN
        raise ValueError("log_q: expected numbers below infinity, got NaN or infinity")
    lack = log_p.cpu() - log_q.cpu()
    gap = float(lack.mean())
    if math.isinf(gap):
        return ScoreGap(gap, math.inf, math.inf, 0.0, 1.0)
    rounding = ROUNDING * (1 + float(log_p.abs().mean()))
    error = math.hypot(float(lack.std()) / math.sqrt(len(lack)), rounding)
    z = gap / error
    return ScoreGap(gap, error, z, float(norm.sf(z)), float(norm.cdf(z)))
