"""Is a learned likelihood ratio right? Two tests that need no exact one; they take numbers only.

The two see different faults. Reweighting finds bad training: events that look different although
they are weighted. Curves against several references find bad calibration. Source:
arXiv:1506.02169, section 3.3.
"""

from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating, same_length
from lfi_helpers.run import check_seed

FEWEST = 100  # rows of each sample
TREES, LEAVES = 40, 15


class ReferenceScan(NamedTuple):
    """What likelihood curves against R references say, (R,) or a number.

    ``estimate`` is where each curve has its maximum, NaN if that is at an end of the scan;
    ``spread`` the largest minus the smallest estimate, infinite if one is NaN; ``difference`` the
    largest difference between two curves of -2 log L, each measured from its own minimum.
    """

    estimate: np.ndarray
    spread: float
    difference: float


def reference_independence(theta: Tensor, log_likelihood: Tensor) -> ReferenceScan:
    r"""Compare curves of sum_i log r(x_i; theta, theta_1) in theta for several theta_1.

    r(x; theta, theta_1) r(x; theta_1, theta_2) = r(x; theta, theta_2): an exact ratio gives
    curves that differ by a constant, whatever the reference theta_1. A fault that is the same for
    every theta_1 is not seen.

    Args:
        theta: points of the scan, increasing, (T,).
        log_likelihood: a curve of the same events for each of R references, (R, T).

    Raises:
        ValueError: for other shapes, fewer than 3 points or 2 references, or numbers that are not
            finite.
    """
    grid = finite("theta", floating("theta", theta)).double().cpu().numpy()
    curves = finite("log_likelihood", batch("log_likelihood", log_likelihood))
    curves = curves.detach().double().cpu().numpy()
    if grid.ndim != 1 or len(grid) < 3 or (np.diff(grid) <= 0).any():
        raise ValueError(f"theta: expected at least 3 increasing points, got {grid.tolist()}")
    if curves.shape[1] != len(grid) or len(curves) < 2:
        wanted = f"(R, {len(grid)}) with R >= 2"
        raise ValueError(f"log_likelihood: expected shape {wanted}, got {curves.shape}")
    deviance = -2 * (curves - curves.max(1, keepdims=True))
    estimate = np.array([_top(grid, curve) for curve in curves])
    spread = np.inf if np.isnan(estimate).any() else float(np.ptp(estimate))
    return ReferenceScan(estimate, spread, float(np.ptp(deviance, axis=0).max()))


def _top(grid: np.ndarray, curve: np.ndarray) -> float:
    """Return the top of the parabola through the highest point and its neighbours."""
    k = int(curve.argmax())
    if k in (0, len(grid) - 1):
        return np.nan
    square, slope, _ = np.polyfit(grid[k - 1 : k + 2] - grid[k], curve[k - 1 : k + 2], 2)
    return float(grid[k] - slope / (2 * square)) if square < 0 else np.nan


class Reweighting(NamedTuple):
    """Areas under the ROC curve of a classifier of x_0 against x_1, on rows it has not seen.

    ``auc`` with the events x_1 weighted by r: 0.5 if r is right, to within ``error``, its standard
    deviation by chance. ``unweighted`` without weights: the power of the test, 0.5 if there is
    nothing to see. ``mean_weight`` is E_1[r], which should be 1; ``effective`` the number of
    unweighted events that the weighted ones of the test are worth.
    """

    auc: float
    error: float
    unweighted: float
    mean_weight: float
    effective: float


def reweighting_test(x0: Tensor, x1: Tensor, log_ratio: Tensor, seed: int = 0) -> Reweighting:
    r"""Train a classifier to tell x_0 from x_1 weighted by r(x_1) = p_0 / p_1: it must fail.

    Boosted trees learn on half of the rows and are judged on the other half.

    Args:
        x0: draws of the numerator p_0, (N0, L).
        x1: draws of the denominator p_1, (N1, L).
        log_ratio: the learned log p_0 / p_1 of each row of x1, (N1,).
        seed: of the halves.

    Raises:
        ValueError: for other shapes, numbers that are not finite, or fewer than 100 rows.
    """
    x0 = finite("x0", batch("x0", x0))
    x1 = finite("x1", batch("x1", x1, x0.shape[1]))
    log_ratio = finite("log_ratio", floating("log_ratio", log_ratio))
    same_length(x1=x1, log_ratio=log_ratio)
    if log_ratio.ndim != 1 or min(len(x0), len(x1)) < FEWEST:
        shapes = f"{tuple(x0.shape)}, {tuple(x1.shape)}, {tuple(log_ratio.shape)}"
        wanted = f"(N, L), (M, L), (M,) with at least {FEWEST} rows"
        raise ValueError(f"x0, x1 and log_ratio: expected {wanted}, got {shapes}")
    x0, x1, log_ratio = (v.detach().double().cpu().numpy() for v in (x0, x1, log_ratio))
    chance = np.random.default_rng(check_seed(seed))
    x0, order = x0[chance.permutation(len(x0))], chance.permutation(len(x1))
    x1, weight = x1[order], np.exp(log_ratio[order])
    auc = _judge(x0, x1, weight)
    kept = weight[1::2]
    effective = kept.sum() ** 2 / np.square(kept).sum()
    error = np.sqrt((2 / len(x0) + 1 / effective) / 12)
    unweighted = _judge(x0, x1, np.ones(len(x1)))
    return Reweighting(auc, float(error), unweighted, float(weight.mean()), float(effective))


def _judge(x0: np.ndarray, x1: np.ndarray, weight: np.ndarray) -> float:
    """Train on the even rows; return the weighted area under the ROC curve on the odd ones."""
    weight = np.concatenate([np.full(len(x0), len(x1) / len(x0)), weight * len(x1) / weight.sum()])
    x, label = np.concatenate([x0, x1]), np.arange(len(weight)) < len(x0)
    fit = np.concatenate([np.arange(len(x0)) % 2 == 0, np.arange(len(x1)) % 2 == 0])
    trees = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0
    )
    trees.fit(x[fit], label[fit], sample_weight=weight[fit])
    score = trees.decision_function(x[~fit])
    return float(roc_auc_score(label[~fit], score, sample_weight=weight[~fit]))
