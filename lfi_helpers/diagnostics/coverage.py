"""Expected coverage: how often do credible regions hold the truth?

Takes pairs and a posterior; must never simulate.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from lfi_helpers.arguments import one_of
from lfi_helpers.diagnostics.draws import (
    chance,
    draw_each,
    ks_uniform,
    level,
    log_prob_each,
    pairs,
    rank,
)

LEVELS = (0.5, 0.6827, 0.9, 0.95)


class Coverage(NamedTuple):
    """Credibility of the truth and coverage of regions; K = 1 for HPD regions, else K = D.

    ``credibility`` (N, K) is the level of the smallest region that holds the truth: U(0, 1) if
    the posterior is exact. ``observed`` (levels, K) is the share of truths inside the region of
    each of ``levels``, ``level_p`` its exact two-sided binomial p-value, ``ks`` and ``ks_p`` (K,)
    compare all of credibility with U(0, 1).
    """

    levels: np.ndarray
    observed: np.ndarray
    level_p: np.ndarray
    ks: np.ndarray
    ks_p: np.ndarray
    credibility: Tensor

    @property
    def p_value(self) -> float:
        """The smallest of all p-values, times their number (never too small by chance)."""
        every = np.concatenate([self.level_p.ravel(), self.ks_p])
        return float(min(1.0, every.min() * every.size))


def expected_coverage(
    posterior,
    theta: Tensor,
    x: Tensor,
    n: int = 99,
    *,
    region: str = "hpd",
    log_prob=None,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> Coverage:
    r"""Measure how often credible regions of the posterior hold the theta that gave x.

    The highest-density region of level a holds theta if fewer than a share a of draws have a
    higher :math:`q(\cdot | x)`; the central interval if it lies between the quantiles
    :math:`(1 \mp a) / 2` of the draws. The place among n draws is spread over 1 / (n + 1), so that
    every level is met exactly, whatever n.

    Args:
        posterior: draws (n, N, D), a posterior or a callable (see ``draws.draw_each``).
        theta: the truths, (N, D), drawn from the prior.
        x: what they gave, (N, ...).
        n: draws per truth.
        region: ``"hpd"``, the highest density, or ``"central"``, one interval per dimension.
        log_prob: log q(theta | x_obs), (n, D) -> (n,), for highest density, if the posterior has
            no method of that name.
        levels: the regions' levels.
        seed: of the draws and their spread.

    Raises:
        ValueError: for unequal lengths, other shapes, NaN, or levels outside (0, 1).

    Source: arXiv:2110.06581 (HPD by ranks).
    """
    theta, x = pairs(theta, x)
    one_of("region", region, ["hpd", "central"])
    levels = np.asarray(levels, dtype=float)
    if levels.ndim != 1 or not len(levels) or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels: expected numbers in (0, 1), got {levels.tolist()}")
    draws, dice = draw_each(posterior, x, n, seed), chance(seed)
    if draws.shape[2] != theta.shape[1]:
        raise ValueError(f"posterior: expected {theta.shape[1]} dimensions, got {draws.shape[2]}")
    theta = theta.to(draws)
    if region == "hpd":
        source = posterior if log_prob is None else log_prob
        height = log_prob_each(source, torch.cat([theta[None], draws]), x)  # (1 + n, N)
        place = rank(-height[0], -height[1:], dice)[:, None]  # how many are higher
        credibility = level(place, n, dice)
    else:
        credibility = (2 * level(rank(theta, draws, dice), n, dice) - 1).abs()
    return _judge(credibility, levels)


def _judge(credibility: Tensor, levels: np.ndarray) -> Coverage:
    inside = (credibility.numpy()[None] <= levels[:, None, None]).sum(1)  # (levels, K)
    p_values = [
        [binomtest(int(k), len(credibility), a).pvalue for k in row]
        for row, a in zip(inside, levels, strict=True)
    ]
    ks, ks_p = ks_uniform(credibility)
    observed = inside / len(credibility)
    return Coverage(levels, observed, np.array(p_values), ks, ks_p, credibility)
