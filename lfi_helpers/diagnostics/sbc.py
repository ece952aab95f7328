"""Simulation-based calibration: where does the truth rank among draws of its posterior?

Takes pairs and a posterior; must never simulate.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2, kstwo
from torch import Tensor

from lfi_helpers.diagnostics.draws import chance, draw_each, pairs, rank

BINS, EXPECTED = 20, 10  # at most so many bins, each with at least so many ranks expected
SMALL = 3  # draws of the run that sees a rank off by one


class Uniformity(NamedTuple):
    """Are ranks uniform on 0...n? One entry per dimension of theta.

    ``ks`` is the largest distance between the distribution of the ranks and the uniform one,
    ``chi2`` compares the ``counts`` (B, D) of ranks in B bins with the ``expected`` (B,).
    """

    ks: np.ndarray
    ks_p: np.ndarray
    chi2: np.ndarray
    chi2_p: np.ndarray
    counts: np.ndarray
    expected: np.ndarray

    @property
    def p_value(self) -> float:
        """The smallest of the 2 D p-values, times 2 D (Bonferroni: never too small by chance)."""
        both = np.concatenate([self.ks_p, self.chi2_p])
        return float(min(1.0, both.min() * both.size))


class SBC(NamedTuple):
    """Ranks (N, D) among many draws and among few, and how uniform each are."""

    ranks: Tensor
    uniformity: Uniformity
    small_ranks: Tensor
    small_uniformity: Uniformity

    @property
    def p_value(self) -> float:
        """Twice the smaller of the two p-values, at most 1."""
        return min(1.0, 2 * min(self.uniformity.p_value, self.small_uniformity.p_value))


def sbc_ranks(posterior, theta: Tensor, x: Tensor, n: int = 99, seed: int = 0) -> Tensor:
    r"""Rank each theta among n draws of the posterior at its x, dimension by dimension: (N, D).

    If theta is drawn from the prior, x from the simulator at theta, and the posterior is exact,
    every rank is uniform on :math:`0 \ldots n`. The converse does not hold: draws of the prior,
    the same for every x, pass too.

    Args:
        posterior: draws (n, N, D), a posterior or a callable (see ``draws.draw_each``).
        theta: the truths, (N, D).
        x: what they gave, (N, ...).
        n: draws per truth.
        seed: of the draws and of ties, which are broken at random.

    Raises:
        ValueError: for unequal lengths, other shapes or numbers that are not finite.

    Source: arXiv:1804.06788.
    """
    theta, x = pairs(theta, x)
    draws = draw_each(posterior, x, n, seed)
    if draws.shape[2] != theta.shape[1]:
        raise ValueError(f"posterior: expected {theta.shape[1]} dimensions, got {draws.shape[2]}")
    return rank(theta.to(draws), draws, chance(seed))


def uniformity(ranks: Tensor, n: int) -> Uniformity:
    """Test ranks (N, D) for uniformity on 0...n: Kolmogorov-Smirnov and chi2 per dimension.

    The p-value of the first holds for continuous numbers; for ranks it is too large, never too
    small. The bins of the second hold as equally many ranks as can be: up to n = 19 each rank has
    its own.

    Raises:
        ValueError: for ranks outside 0...n, or fewer than 20 rows.
    """
    if not isinstance(ranks, Tensor) or ranks.ndim != 2 or len(ranks) < 2 * EXPECTED:
        shape = tuple(getattr(ranks, "shape", ()))
        raise ValueError(f"ranks: expected shape (N, D), N >= {2 * EXPECTED}, got {shape}")
    ranks = ranks.cpu().numpy()
    if ranks.min() < 0 or ranks.max() > n or (ranks != np.floor(ranks)).any():
        raise ValueError(f"ranks: expected integers from 0 to {n}, got others")
    ranks, total = ranks.astype(int), len(ranks)
    each = np.stack([np.bincount(column, minlength=n + 1) for column in ranks.T], axis=1)
    cumulated = each.cumsum(0) / total - np.arange(1, n + 2)[:, None] / (n + 1)
    ks = np.abs(cumulated).max(0)  # (D,)
    bins = min(BINS, n + 1, total // EXPECTED)
    place = np.arange(n + 1) * bins // (n + 1)  # the bin of each rank
    counts = np.stack([np.bincount(place, column, bins) for column in each.T], axis=1)
    expected = np.bincount(place) * total / (n + 1)
    statistic = ((counts - expected[:, None]) ** 2 / expected[:, None]).sum(0)
    return Uniformity(
        ks, kstwo.sf(ks, total), statistic, chi2.sf(statistic, bins - 1), counts, expected
    )


def sbc(posterior, theta: Tensor, x: Tensor, n: int = 99, seed: int = 0) -> SBC:
    """Rank each theta among n draws and among the first 3 of them, and test both for uniformity.

    Among many draws a rank that is off by one is invisible; among three it is not. Arguments as
    for ``sbc_ranks``, with n >= 3 and at least 20 pairs.
    """
    theta, x = pairs(theta, x, fewest=2 * EXPECTED)
    draws = draw_each(posterior, x, n, seed)
    if n < SMALL:
        raise ValueError(f"n: expected at least {SMALL}, got {n}")
    ranks = sbc_ranks(draws, theta, x, n, seed)
    small = sbc_ranks(draws[:SMALL], theta, x, SMALL, seed)
    return SBC(ranks, uniformity(ranks, n), small, uniformity(small, SMALL))
