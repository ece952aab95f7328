"""Reliability curves: exact intervals, chi2 if calibrated, error of a known distortion."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from scipy.stats import binom, chi2

from lfi_helpers import plots
from lfi_helpers.diagnostics import Reliability, reliability_curve
from lfi_helpers.diagnostics.reliability import LEVEL, binomial_interval

ALARM = 1e-6  # false-alarm probability of each statistical gate below


def predictions(truth, n=100_000, seed=0):
    """Draw p ~ U(0, 1) and labels that are 1 with probability truth(p)."""
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, (rng.random(n) < truth(p)).astype(float)


def coverage(interval, n, p):
    """Sum the binomial probabilities of the outcomes whose interval holds p: exact."""
    hits = np.arange(n + 1.0)
    low, high = interval(hits, np.full(n + 1, float(n)))
    return binom.pmf(hits, n, p) @ ((low <= p) & (p <= high))


@pytest.mark.parametrize("n", [1, 5, 30, 200])
def test_the_intervals_cover_at_least_their_level_for_every_frequency(n):
    for p in np.linspace(0.001, 0.999, 499):
        assert coverage(binomial_interval, n, p) >= LEVEL


def test_the_normal_approximation_does_not_cover():
    def normal(hits, count):
        p = hits / count
        half = 1.96 * np.sqrt(p * (1 - p) / count)
        return p - half, p + half

    assert min(coverage(normal, 30, p) for p in np.linspace(0.001, 0.999, 499)) < 0.1


def test_without_hits_or_misses_the_interval_is_the_closed_form():
    n = np.array([1.0, 10.0, 1000.0])
    low, high = binomial_interval(np.zeros(3), n)
    assert (low == 0).all()
    np.testing.assert_allclose(high, 1 - ((1 - LEVEL) / 2) ** (1 / n), rtol=1e-12)
    low, high = binomial_interval(n, n)
    assert (high == 1).all()
    np.testing.assert_allclose(low, ((1 - LEVEL) / 2) ** (1 / n), rtol=1e-12)


def test_a_calibrated_predictor_has_a_chi2_of_as_many_degrees_as_bins():
    curve = reliability_curve(*predictions(lambda p: p))
    assert chi2.ppf(ALARM / 2, 15) < curve.chi2 < chi2.isf(ALARM / 2, 15)
    means = [reliability_curve(*predictions(lambda p: p, 1500, seed)).chi2 for seed in range(200)]
    # a sum of 200 such chi2 has 3000 degrees of freedom
    assert chi2.ppf(ALARM / 2, 3000) < sum(means) < chi2.isf(ALARM / 2, 3000)


def test_a_variance_of_the_mean_prediction_is_rejected():
    """Taking p (1 - p) of the bin's mean p is an upper bound: with wide bins chi2 is too small."""
    total = 0
    for seed in range(200):
        curve = reliability_curve(*predictions(lambda p: p, 1500, seed), bins=3)
        spread = np.sqrt(curve.predicted * (1 - curve.predicted) / curve.count)
        total += (((curve.observed - curve.predicted) / spread) ** 2).sum()
        assert (spread > curve.spread).all()
    assert total < 600  # of 600 degrees of freedom, systematically below


@pytest.mark.parametrize("distort", [np.square, lambda p: 0.9 * p + 0.05])
def test_a_distorted_predictor_has_a_large_chi2(distort):
    assert reliability_curve(*predictions(distort)).chi2 > chi2.isf(ALARM, 15)


def test_the_error_of_a_squared_probability_is_one_sixth():
    """With p ~ U(0, 1) and frequency p^2: E|p - p^2| = 1/6, variance of a row E p^2 (1 - p^2)."""
    n = 100_000
    error = reliability_curve(*predictions(np.square, n)).error
    assert abs(error - 1 / 6) < 4.9 * np.sqrt((1 / 3 - 1 / 5) / n)


def test_chance_alone_gives_the_error_that_is_documented():
    """Mean |N(0, 1)| is 0.798: over 200 samples of 15 bins the mean is known to 0.8 %."""
    curves = [reliability_curve(*predictions(lambda p: p, 3000, seed)) for seed in range(200)]
    ratio = np.mean([c.error for c in curves]) / np.mean([c.spread.mean() for c in curves])
    # sd of the mean of 3000 |normal| of unequal spreads: about .603 * 1.15 / 3000**.5 = .0127
    assert abs(ratio - np.sqrt(2 / np.pi)) < 4.9 * 0.0127


def test_bins_are_equally_filled_and_add_up():
    p, label = predictions(lambda p: p, 1500)
    curve = reliability_curve(p, label)
    assert curve.count.tolist() == [100] * 15
    assert (curve.observed * curve.count).sum() == pytest.approx(label.sum())
    assert (curve.predicted * curve.count).sum() == pytest.approx(p.sum())
    assert (np.diff(curve.predicted) > 0).all()
    assert ((curve.low <= curve.observed) & (curve.observed <= curve.high)).all()
    one = reliability_curve(p, label, bins=1)
    assert one.spread[0] == pytest.approx(np.sqrt((p * (1 - p)).sum()) / 1500)


def test_the_order_of_rows_does_not_matter():
    p, label = predictions(lambda p: p, 500)
    order = np.random.default_rng(1).permutation(500)
    for one, other in zip(
        reliability_curve(p, label), reliability_curve(p[order], label[order]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_equal_predictions_share_a_bin():
    p = np.repeat([0.2, 0.7], [90, 10])
    curve = reliability_curve(p, p > 0.5)
    assert curve.count.tolist() == [90, 10]
    np.testing.assert_allclose(curve.predicted, [0.2, 0.7])
    np.testing.assert_allclose(curve.observed, [0, 1])
    assert curve.error == pytest.approx(0.9 * 0.2 + 0.1 * 0.3)  # each row counts once


def test_certain_predictions_are_right_or_infinitely_wrong():
    p = np.repeat([0.0, 1.0], 50)
    assert reliability_curve(p, p).chi2 == 0
    assert reliability_curve(p, 1 - p).chi2 == np.inf
    assert reliability_curve(p, 1 - p).error == 1


def test_tensors_are_taken_as_they_come(same_when_poisoned):
    p, label = predictions(lambda p: p, 500)
    expected = reliability_curve(p, label)
    p, label = torch.from_numpy(p), torch.from_numpy(label)
    same_when_poisoned(lambda: torch.from_numpy(reliability_curve(p, label).observed))
    np.testing.assert_array_equal(reliability_curve(p, label).observed, expected.observed)


@pytest.mark.parametrize(
    ("probability", "label", "bins", "message"),
    [
        ([0.5, 1.5], [0, 1], 15, "probability: expected numbers in"),
        ([0.5, np.nan], [0, 1], 15, "probability: expected numbers in"),
        ([0.5, 0.5], [0, 2], 15, "label: expected 0 or 1"),
        ([0.5, 0.5], [0], 15, r"same shape \(N,\), got \(2,\) and \(1,\)"),
        ([[0.5], [0.5]], [[0], [1]], 15, "same shape"),
        ([], [], 15, "same shape"),
        ([0.5, 0.5], [0, 1], 0, "bins: expected an integer >= 1, got 0"),
        ([0.5, 0.5], [0, 1], True, "bins: expected an integer >= 1, got True"),
    ],
)
def test_wrong_arguments_are_refused(probability, label, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability_curve(probability, label, bins=bins)


def test_figures_show_what_they_are_given():
    p, label = predictions(lambda p: p, 500)
    curves = {f"k = {k}": reliability_curve(p, label) for k in range(12)}
    assert isinstance(curves["k = 0"], Reliability)
    ax = plots.reliability(curves, title="Twelve curves")
    assert isinstance(ax, Axes)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["perfectly calibrated", *curves]
    bars = ax.containers[0].lines[0]
    np.testing.assert_allclose(bars.get_xdata(), curves["k = 0"].predicted)
    ax.figure.clear()
    ax = plots.roc({"exact": p, "guess": np.zeros(500)}, label, exact="exact")
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["exact"].get_color() == "black"
    np.testing.assert_allclose(lines["guess"].get_ydata()[[0, -1]], [0, 1])
    plt.close("all")
