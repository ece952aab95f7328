"""Reliability: do events of probability p happen with frequency p? Takes arrays, fits nothing."""

from typing import NamedTuple

import numpy as np
from scipy.stats import beta

LEVEL = 0.95  # of the binomial intervals


class Reliability(NamedTuple):
    """One entry per bin of predicted probability; each bin holds equally many rows.

    ``predicted`` is the mean prediction, ``observed`` the frequency of label 1, ``low`` and
    ``high`` the exact binomial (Clopper-Pearson) 95 % interval of that frequency, ``spread`` the
    standard deviation that ``observed`` has if the predictions are right, ``count`` the number of
    rows.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spread: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |observed - predicted| over the rows.

        Chance alone makes it positive, about 0.8 times the mean of ``spread``.
        """
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.count))

    @property
    def chi2(self) -> float:
        """The sum over bins of ((observed - predicted) / spread)^2.

        If the predictions are right it is a chi2 of as many degrees of freedom as bins.
        """
        miss = self.observed - self.predicted
        certain = (self.spread == 0) & (miss == 0)  # predictions of 0 and 1 that came true
        with np.errstate(divide="ignore"):
            return float(((miss[~certain] / self.spread[~certain]) ** 2).sum())


def reliability_curve(probability, label, *, bins: int = 15) -> Reliability:
    """Compare predicted probabilities with the frequencies of label 1 in equally filled bins.

    The predictions must be about the mixture of labels that came: a classifier trained for equally
    frequent labels is judged on equally many rows of both.

    Args:
        probability: predicted p(1 | x), (N,).
        label: what happened, 0 or 1, (N,).
        bins: how many bins; equal predictions share one, so that there may be fewer.

    Raises:
        ValueError: for probabilities outside [0, 1], labels other than 0 and 1, unequal lengths.
    """
    probability, label = (np.asarray(v, dtype=float) for v in (probability, label))
    if probability.ndim != 1 or probability.shape != label.shape or not len(label):
        shapes = f"{probability.shape} and {label.shape}"
        raise ValueError(f"probability and label: expected the same shape (N,), got {shapes}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probability: expected numbers in [0, 1], got one outside")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("label: expected 0 or 1 in every row, got another number")
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ValueError(f"bins: expected an integer >= 1, got {bins!r}")
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    edges = np.unique(np.quantile(probability, inner, method="inverted_cdf"))
    place = np.searchsorted(edges, probability, side="left")
    sums = [
        np.bincount(place, weight, len(edges) + 1)
        for weight in (None, label, probability, probability * (1 - probability))
    ]
    count, hits, expected, variance = (v[sums[0] > 0] for v in sums)
    low, high = binomial_interval(hits, count)
    observed, predicted = hits / count, expected / count
    return Reliability(predicted, observed, low, high, np.sqrt(variance) / count, count)


def binomial_interval(hits: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact (Clopper-Pearson) 95 % interval of a frequency: it covers at least that."""
    tail = (1 - LEVEL) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), count - hits + 1), 0.0)
    high = np.where(hits < count, beta.ppf(1 - tail, hits + 1, np.maximum(count - hits, 1)), 1.0)
    return low, high
