"""Calibration: a score of a classifier becomes a log-ratio by densities in one dimension.

It sees scores and labels only, never the events behind them.
"""

import warnings
from abc import ABC, abstractmethod
from math import ceil, sqrt

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import isotonic_regression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lfi_helpers.arguments import finite, floating, one_of


def calibrate(score: Tensor, label: Tensor, method: str = "isotonic") -> "Calibrator":
    r"""Learn log p(s | 1) / p(s | 0) of a score s from labelled scores that were not trained on.

    If s(x) is monotone in the likelihood ratio, p(s | 1) / p(s | 0) at s(x) is
    p(x | 1) / p(x | 0): a density in one dimension replaces one in many (arXiv:1506.02169). Both
    labels count equally whatever their numbers. Half a row of each label keeps every method
    finite where a label is missing.

    =============  ================================================  ==========================
    method         what it learns                                    if the score is rescaled
    =============  ================================================  ==========================
    "histogram"    a constant in each of equally filled bins         the same
    "isotonic"     the best non-decreasing step function             the same
    "platt"        a straight line                                   the same if linearly
    "kde"          the ratio of two kernel densities, one bandwidth  another
    =============  ================================================  ==========================

    Args:
        score: a real score, best the classifier's logit, (N,).
        label: 1 for draws of the numerator, 0 for draws of the denominator, (N,).
        method: one of the table; ``"isotonic"`` needs a score that grows with the ratio.

    Raises:
        ValueError: for scores that are not finite or all equal, labels other than 0 and 1, fewer
            than 10 rows of a label, and for ``"isotonic"`` a score that falls with the ratio.
    """
    methods = {"histogram": _Histogram, "isotonic": _Isotonic, "platt": _Platt, "kde": _Kde}
    one_of("method", method, methods)
    scores, count = _count(score, label)
    calibrator = methods[method](scores, count)
    calibrator.low, calibrator.high, calibrator.rows = scores[0], scores[-1], count.sum(1).min()
    return calibrator


def _count(score: Tensor, label: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct scores, ascending, (M,), and how many rows of each label, (2, M)."""
    score, label = finite("score", floating("score", score)), floating("label", label)
    if score.ndim != 1 or score.shape != label.shape:
        shapes = f"{tuple(score.shape)} and {tuple(label.shape)}"
        raise ValueError(f"score and label: expected the same shape (N,), got {shapes}")
    if not ((label == 0) | (label == 1)).all():
        raise ValueError("label: expected 0 or 1 in every row, got another number")
    n = [int((label == k).sum()) for k in (0, 1)]
    if min(n) < 10:
        raise ValueError(f"label: expected at least 10 rows of each of 0 and 1, got {n}")
    score, label = (v.detach().cpu().double().numpy() for v in (score, label))
    scores, place = np.unique(score, return_inverse=True)
    if len(scores) < 2:
        raise ValueError(f"score: expected at least two different scores, got {scores[0]} only")
    count = np.stack([np.bincount(place[label == k], minlength=len(scores)) for k in (0, 1)])
    return scores, count.astype(float)


class Calibrator(ABC):
    """A fitted map from scores to log-ratios, learned between ``low`` and ``high``.

    Of fresh scores few are outside: some 2 n / N of n, with N the rows of the rarer label. More
    than 20 (1 + n / N), which chance makes once in a million times, are counted in a warning.
    """

    low: float
    high: float
    rows: float  # N
    beyond: str  # what a score outside gets

    def __call__(self, score: Tensor) -> Tensor:
        """Return the calibrated log-ratio of each score."""
        return self.log_ratio(score)

    def log_ratio(self, score: Tensor) -> Tensor:
        """Return log p(s | 1) / p(s | 0) of each score, in its shape, type and device.

        The result carries no gradient.
        """
        score = finite("score", floating("score", score))
        values = score.detach().cpu().double().flatten().numpy()
        outside = int(((values < self.low) | (values > self.high)).sum())
        if outside > 20 * (1 + len(values) / self.rows):
            known = f"{self.low:.4g} ... {self.high:.4g}, where the calibration was learned"
            warnings.warn(
                f"score: {outside} of {len(values)} are outside {known}: {self.beyond}",
                stacklevel=2,
            )
        values = self._log_ratio(values)
        values = torch.as_tensor(values, device="cpu").to(score.dtype)
        return values.to(score.device).reshape(score.shape)

    def probability(self, score: Tensor) -> Tensor:
        """Return p(1 | s) for equally frequent labels, r / (1 + r)."""
        return torch.sigmoid(self.log_ratio(score))

    @abstractmethod
    def _log_ratio(self, score: np.ndarray) -> np.ndarray: ...


class _Steps(Calibrator):
    """A step function: ``values[k]`` from ``first[k]`` to ``last[k]``, between steps the mean.

    Only comparisons of scores enter, so that a monotone change of the score changes nothing.
    """

    beyond = "they get the value of the outermost step"

    def __init__(self, first, last, values):
        self.first, self.last, self.values = first, last, values

    def _log_ratio(self, score):
        below = np.searchsorted(self.first, score, side="right") - 1
        above = np.searchsorted(self.last, score, side="left")
        below, above = below.clip(min=0), above.clip(max=len(self.values) - 1)
        return (self.values[below] + self.values[above]) / 2


class _Histogram(_Steps):
    """Bins that hold equal shares of the two labels' balanced sum.

    A bin of n_1 and n_0 rows has log (n_1 + 1/2) / N_1 - log (n_0 + 1/2) / N_0: half a row each
    keeps it finite and makes the bias of a logarithm of counts second order (Haldane, Anscombe
    1956). There are 2 N^(1/3) bins for N rows of the rarer label: width and noise of a bin then
    shrink together.
    """

    def __init__(self, scores, count):
        total = count.sum(1)
        share = (count / total[:, None]).mean(0)
        bins = ceil(2 * np.cbrt(total.min()))
        place = np.floor(bins * (share.cumsum() - share / 2))  # ties stay together
        start = np.flatnonzero(np.diff(place, prepend=-1))
        stop = np.append(start[1:], len(scores)) - 1
        filled = np.log(np.add.reduceat(count, start, axis=1) + 0.5) - np.log(total)[:, None]
        super().__init__(scores[start], scores[stop], filled[1] - filled[0])


class _Isotonic(_Steps):
    """The non-decreasing p(1 | s) of largest likelihood, by pooling adjacent violators.

    The outermost steps would hold one label only, with an infinite log-ratio: half a row of label
    1 below all scores and half a row of label 0 above them enter the fit. Even so they would
    follow a few rows, however many there are: each is widened to at least sqrt(N) rows, N of the
    rarer label.
    """

    def __init__(self, scores, count):
        total = count.sum(1)
        _demand_rising(count, total)
        share, half = count / total[:, None], 0.5 / total
        weight = np.concatenate([[half[1]], share.sum(0), [half[0]]])
        target = np.concatenate([[half[1]], share[1], [0]]) / weight
        start = isotonic_regression(target, weights=weight).blocks[1:-1] - 1
        start = start[(start > 0) & (start < len(scores))]  # first score of each step but one
        below, rows = count.sum(0).cumsum()[start - 1], sqrt(total.min())
        start = start[(below >= rows) & (total.sum() - below >= rows)]
        start = np.concatenate([[0], start])
        odds = np.add.reduceat(share, start, axis=1)
        odds[1, 0] += half[1]
        odds[0, -1] += half[0]
        stop = np.append(start[1:], len(scores)) - 1
        super().__init__(scores[start], scores[stop], np.log(odds[1] / odds[0]))


def _demand_rising(count: np.ndarray, total: np.ndarray) -> None:
    """Raise if the area under the ROC curve is below 1/2 by six standard deviations of chance."""
    area = (count[1] * (count[0].cumsum() - count[0] / 2)).sum() / total.prod()
    if area < 0.5 - 6 * sqrt((total.sum() + 1) / (12 * total.prod())):
        raise ValueError(
            "score: expected one that grows with p(x | 1) / p(x | 0), got one that falls "
            f"(area under the ROC curve {area:.3f}): are the labels swapped?"
        )


class _Platt(Calibrator):
    """log r = slope s + intercept, by logistic regression without a penalty.

    Half a row of each label, shared by the lowest and the highest score, keeps the slope finite
    where a cut separates the labels.
    """

    beyond = "they get the value of the line"

    def __init__(self, scores, count):
        total = count.sum(1)
        weight = count / total[:, None]
        weight[:, [0, -1]] += 0.25 / total[:, None]
        shift = np.average(scores, weights=weight.sum(0))
        scale = sqrt(np.average((scores - shift) ** 2, weights=weight.sum(0))) or 1.0
        z = (np.concatenate([scores, scores]) - shift) / scale
        label, weight = np.repeat([0, 1], len(scores)), weight.ravel() * total.sum() / 2
        model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8)
        model.fit(z[weight > 0, None], label[weight > 0], weight[weight > 0])
        self.slope = model.coef_[0, 0] / scale
        self.intercept = model.intercept_[0] - self.slope * shift

    def _log_ratio(self, score):
        return self.slope * score + self.intercept


class _Kde(Calibrator):
    """The ratio of two Gaussian kernel densities of one bandwidth, between the extreme scores.

    The bandwidth is the geometric mean of Scott's two, sd_k N_k^(-1/5). It must be one: then the
    ratio is a local mean of p(1 | s), while two bandwidths blur the two densities differently and
    their ratio is wrong wherever a density has an edge or a tail. Half a row of each label,
    spread evenly over the scores' range, keeps gaps and tails finite.
    """

    beyond = "they get the value at the end"

    def __init__(self, scores, count):
        total = count.sum(1)
        sd = [sqrt(np.cov(scores, fweights=n.astype(int))) for n in count]
        self.bandwidth = sqrt(sd[0] * sd[1]) * total.prod() ** -0.1
        if self.bandwidth == 0:
            raise ValueError("score: expected scores that differ within each label, got one value")
        n_nodes = ceil(8 * (scores[-1] - scores[0]) / self.bandwidth) + 1
        self.nodes = np.linspace(scores[0], scores[-1], n_nodes)
        step = self.nodes[1] - self.nodes[0]
        below = np.floor((scores - scores[0]) / step).astype(int).clip(max=n_nodes - 2)
        part = (scores - self.nodes[below]) / step  # a score's row is shared by its two nodes
        density = []
        for n, rows in zip(count, total, strict=True):
            at_nodes = np.bincount(below, n * (1 - part), n_nodes)
            at_nodes += np.bincount(below + 1, n * part, n_nodes)
            smooth = gaussian_filter1d(at_nodes, self.bandwidth / step, mode="constant")
            density.append(smooth / rows + 0.5 / total.min() / n_nodes)
        self.values = np.log(density[1] / density[0])

    def _log_ratio(self, score):
        return np.interp(score, self.nodes, self.values)
