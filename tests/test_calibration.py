"""Calibrators against Gaussian scores, whose log-ratio is a straight line; exact symmetries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi2, expon, gaussian_kde, norm
from sklearn.isotonic import IsotonicRegression

from lfi_helpers.classifiers import calibrate
from lfi_helpers.diagnostics import reliability_curve
from lfi_helpers.run import generator

ALARM = 1e-6  # false-alarm probability of each statistical gate below: |z| < 4.9
Z = 4.9
METHODS = ["histogram", "isotonic", "platt", "kde"]
SHIFT = 0.75  # label 1 ~ N(+SHIFT, 1), label 0 ~ N(-SHIFT, 1)
SLOPE = 2 * SHIFT  # log p(s | 1) / p(s | 0) = SLOPE s
CENTRE = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)


def gaussian_scores(n1, n0=None, seed=0):
    n0 = n1 if n0 is None else n0
    label = torch.cat([torch.ones(n1), torch.zeros(n0)])
    noise = torch.randn(n1 + n0, generator=generator(seed), dtype=torch.float64)
    return noise + SHIFT * (2 * label - 1), label


def rms(values):
    return values.square().mean().sqrt().item()


def test_platt_recovers_the_line_within_its_fisher_errors():
    n = 20_000
    fitted = calibrate(*gaussian_scores(n), "platt")

    def information(power):  # E[s^power p (1 - p)], with p(s) p (1 - p) = p(s | 1) / 2 (1 - p)
        def integrand(s):
            return s**power * norm.pdf(s, SHIFT) / 2 / (1 + np.exp(SLOPE * s))

        return quad(integrand, -10, 10)[0]

    # the integrand without s^power is even, so that intercept and slope are independent
    errors = [(2 * n * information(power)) ** -0.5 for power in (0, 2)]
    assert abs(fitted.intercept) < Z * errors[0]
    assert abs(fitted.slope - SLOPE) < Z * errors[1]


def mean_error(method, n, repeats, first_seed):
    """Return the rms error of the log-ratio over the central scores, averaged over repeats."""
    errors = []
    for seed in range(first_seed, first_seed + repeats):
        log_ratio = calibrate(*gaussian_scores(n, seed=seed), method)(CENTRE)
        errors.append(rms(log_ratio - SLOPE * CENTRE))
    return np.mean(errors)


@pytest.mark.parametrize("method", ["histogram", "isotonic"])
def test_steps_converge_with_the_cube_root(method):
    """Rms error ~ N^(-1/3). Over 30 seeds the measured exponent scatters by .021 and .022."""
    small, large = mean_error(method, 1000, 16, 0), mean_error(method, 64_000, 2, 50)
    assert abs(np.log(small / large) / np.log(64) - 1 / 3) < 5 * 0.022
    assert large < 0.09  # 0.067 +- 0.0044 and 0.055 +- 0.0033


def test_bins_of_a_fixed_number_do_not_converge():
    """Eight bins, whatever N: the error stops at the width of a bin."""

    def fixed(n, seed):
        score, label = gaussian_scores(n, seed=seed)
        edges = torch.quantile(score, torch.linspace(0, 1, 9, dtype=torch.float64)[1:-1])
        count = [torch.bucketize(score[label == k], edges).bincount(minlength=8) for k in (0, 1)]
        values = ((count[1] + 0.5) / (count[0] + 0.5)).double().log()
        return rms(values[torch.bucketize(CENTRE, edges)] - SLOPE * CENTRE)

    small = np.mean([fixed(1000, k) for k in range(16)])
    large = np.mean([fixed(64_000, 50 + k) for k in range(2)])
    assert np.log(small / large) / np.log(64) < 1 / 3 - 5 * 0.022


def test_kernels_blur_the_line_by_their_known_width():
    """Smoothed N(+-m, 1) are N(+-m, 1 + h^2): the line's slope becomes 2 m / (1 + h^2)."""
    fitted = calibrate(*gaussian_scores(200_000), "kde")
    h2 = fitted.bandwidth**2
    assert fitted.bandwidth == pytest.approx(200_000**-0.2, rel=0.01)
    inner = np.linspace(-0.75, 0.75, 151)
    log_ratio = fitted(torch.from_numpy(inner)).numpy()
    line = SLOPE / (1 + h2) * inner
    # over 20 seeds: the slope is .003 +- .012 above, the largest difference .022 +- .006
    assert abs(np.polyfit(inner, log_ratio, 1)[0] - SLOPE / (1 + h2)) < 0.075
    assert np.abs(log_ratio - line).max() < 0.06


def test_two_bandwidths_are_wrong_at_an_edge_where_one_is_right():
    """Scores Exp(3) against Exp(1): log r = log 3 - 2 s, with an edge at zero."""
    hand, n = np.random.default_rng(0), 50_000
    one, zero = expon(scale=1 / 3).rvs(n, hand), expon().rvs(n, hand)
    score = torch.from_numpy(np.concatenate([one, zero]))
    at = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    exact = np.log(3) - 2 * at
    label = torch.cat([torch.ones(n), torch.zeros(n)])
    right = rms(calibrate(score, label, "kde")(at) - exact)
    each = gaussian_kde(one).logpdf(at), gaussian_kde(zero).logpdf(at)
    wrong = rms(torch.from_numpy(each[0] - each[1]) - exact)
    # over 20 seeds: .030 +- .0055 and .102 +- .003
    assert right < 0.065
    assert wrong > 0.08


@pytest.mark.parametrize("method", ["histogram", "isotonic"])
@pytest.mark.parametrize("change", [torch.exp, torch.atan, lambda s: s**3, lambda s: 1e9 * s + 5])
def test_steps_know_only_the_order_of_the_scores(method, change):
    score, label = gaussian_scores(3000)
    query = torch.randn(2000, generator=generator(9), dtype=torch.float64) * 2
    query = query.clamp(score.min(), score.max())
    before = calibrate(score, label, method)(query)
    after = calibrate(change(score), label, method)(change(query))
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_interpolated_steps_would_know_more_than_the_order():
    """Linear interpolation between the steps, as scikit-learn has it, depends on the scale."""
    score, label = gaussian_scores(3000)
    query = torch.randn(2000, generator=generator(9), dtype=torch.float64) * 2

    def interpolated(change):
        fitted = IsotonicRegression(out_of_bounds="clip").fit(change(score).numpy(), label.numpy())
        return fitted.predict(change(query).numpy())

    assert np.abs(interpolated(torch.exp) - interpolated(lambda s: s)).max() > 1e-4


def test_platt_follows_linear_changes_only():
    score, label = gaussian_scores(3000)
    before = calibrate(score, label, "platt")(CENTRE)
    torch.testing.assert_close(
        calibrate(1e6 - 3e4 * score, label, "platt")(1e6 - 3e4 * CENTRE), before
    )
    assert rms(calibrate(score.exp(), label, "platt")(CENTRE.exp()) - before) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_labels_count_equally_whatever_their_numbers(method):
    """With 10 : 1 rows no prior odds log 10 = 2.3 enter: |z| < 4.9 of the rarer label's noise."""
    score, label = gaussian_scores(2000, 20_000)
    error = (calibrate(score, label, method)(CENTRE) - SLOPE * CENTRE).mean().item()
    assert abs(error) < Z * (1 / 2000 + 1 / 20_000) ** 0.5 * 1.3


def test_without_weights_the_prior_odds_enter():
    score, label = gaussian_scores(2000, 20_000)
    unweighted = IsotonicRegression(out_of_bounds="clip").fit(score.numpy(), label.numpy())
    p = unweighted.predict(CENTRE.numpy()).clip(1e-3, 1 - 1e-3)
    error = (np.log(p / (1 - p)) - SLOPE * CENTRE.numpy()).mean()
    assert error == pytest.approx(-np.log(10), abs=0.3)


@pytest.mark.parametrize("method", ["histogram", "isotonic"])
def test_steps_ignore_copies_of_a_label(method):
    """Each row of label 0 ten times: same steps, same values where half a row hardly matters."""
    score, label = gaussian_scores(2000)
    copied = torch.cat([score[label == 1], score[label == 0].repeat(10)])
    labels = torch.cat([torch.ones(2000), torch.zeros(20_000)])
    before, after = calibrate(score, label, method), calibrate(copied, labels, method)
    if method == "histogram":
        np.testing.assert_array_equal(after.first, before.first)
    tolerance = {"histogram": 0.05, "isotonic": 1e-10}[method]
    torch.testing.assert_close(after(CENTRE), before(CENTRE), rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_swapped_labels_change_the_sign(method):
    score, label = gaussian_scores(3000, 2000)
    query = torch.linspace(-4, 4, 401, dtype=torch.float64)
    sign = -1 if method == "isotonic" else 1  # isotonic wants a score that grows with the ratio
    swapped = calibrate(sign * score, 1 - label, method)(sign * query)
    torch.testing.assert_close(
        swapped, -calibrate(score, label, method)(query), rtol=1e-7, atol=1e-7
    )


def test_isotonic_regression_is_that_of_another_library():
    score, label = gaussian_scores(500, 300)
    weight = np.where(label == 1, 1 / 500, 1 / 300)
    ends = score.min() - 1, score.max() + 1  # half a row of label 1 below, of label 0 above
    fitted = IsotonicRegression().fit(
        np.concatenate([[ends[0]], score, [ends[1]]]),
        np.concatenate([[1], label, [0]]),
        sample_weight=np.concatenate([[0.5 / 500], weight, [0.5 / 300]]),
    )
    ours, theirs = calibrate(score, label).probability(score), fitted.predict(score.numpy())
    inner = (score > score.sort()[0][17]) & (score < score.sort()[0][-18])  # sqrt(300) = 17.3
    inner &= (ours > ours.min()) & (ours < ours.max())
    assert inner.sum() > 500
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=1e-10)


def test_the_outermost_steps_do_not_follow_single_rows():
    """The best step function overshoots at its ends whatever N is: ours are widened there.

    Scores U(0, 1) with p(1 | s) = 1/4 + s/2: log r = -+ log 3 at the ends. Over 15 x 20 seeds the
    largest error of 20 fits was .61 +- .14; without widening a pure step is in every twenty.
    """
    worst = {"ours": 0.0, "plain": 0.0}
    for seed in range(20):
        hand = np.random.default_rng(seed)
        score = hand.random(20_000)
        label = (hand.random(20_000) < 0.25 + 0.5 * score).astype(float)
        ends = np.array([score.min(), score.max()])
        plain = IsotonicRegression().fit(score, label).predict(ends).clip(1e-3, 1 - 1e-3)
        ours = calibrate(torch.from_numpy(score), torch.from_numpy(label))(torch.from_numpy(ends))
        fits = {"ours": ours.numpy(), "plain": np.log(plain / (1 - plain))}
        for name, log_ratio in fits.items():
            error = np.abs(log_ratio - np.array([-1, 1]) * np.log(3)).max()
            worst[name] = max(worst[name], error)
    assert worst["ours"] < 1.5
    assert worst["plain"] > 2.5


def test_isotonic_calibration_keeps_the_balanced_mean():
    """Pooling keeps sums: the balanced mean probability is that of the labels, 1/2."""
    score, label = gaussian_scores(500, 300)
    weight = torch.where(label == 1, 1 / 500, 1 / 300).double()
    total = (weight * calibrate(score, label).probability(score)).sum() / 2
    assert abs(total - 0.5) <= 0.5 / 300


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_probabilities_happen_as_often_as_they_say(method):
    """Calibrated on 400 000 scores, judged on 20 000 fresh ones by the chi2 of 15 bins."""
    score, label = gaussian_scores(200_000)
    fresh, happened = gaussian_scores(10_000, seed=1)
    for scale in (1.0, 3.0):  # a score that is three times too certain is repaired alike
        probability = calibrate(scale * score, label, method).probability(scale * fresh)
        assert reliability_curve(probability, happened).chi2 < chi2.isf(ALARM, 15)
    assert reliability_curve(torch.sigmoid(3 * fresh), happened).chi2 > 10 * chi2.isf(ALARM, 15)


def test_calibration_on_the_scores_that_were_trained_on_is_confidently_wrong():
    """A score that memorised labels looks perfect on its own rows, and is useless elsewhere."""
    label = torch.cat([torch.ones(500), torch.zeros(500)])
    memorised = 2 * label - 1 + 0.1 * torch.randn(1000, generator=generator(0))
    fresh = 0.1 * torch.randn(20_000, generator=generator(1)) + torch.where(
        torch.rand(20_000, generator=generator(2)) < 0.5, 1.0, -1.0
    )
    happened = torch.arange(20_000) % 2
    on_itself = calibrate(memorised, label).probability(fresh)
    assert reliability_curve(on_itself, happened).error > 0.49
    again = calibrate(fresh[:10_000], happened[:10_000]).probability(fresh[10_000:])
    assert reliability_curve(again, happened[10_000:]).error < 0.05


def test_separated_labels_give_the_half_row_s_values():
    score, n = torch.arange(40.0, dtype=torch.float64), 20
    label = (score >= n).double()
    ends = torch.tensor([-1e6, 0.0, 39.0, 1e6], dtype=torch.float64)
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(calibrate(score, label)(ends), sign * np.log(2 * n))
    # ceil(2 20^(1/3)) = 6 bins of which the outermost hold 7 and no row
    torch.testing.assert_close(
        calibrate(score, label, "histogram")(ends), sign * np.log(7.5 / 0.5)
    )
    assert 0 < calibrate(score, label, "platt").slope < 1  # not 33, where the search gives up
    assert calibrate(score, label, "kde")(ends).abs().max() < np.log(1e4)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_fit_is_finite(method, data):
    n = [data.draw(st.integers(10, 40)) for _ in range(2)]
    values = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, 2.0])
    score = torch.tensor(data.draw(st.lists(values, min_size=sum(n), max_size=sum(n))))
    label = torch.cat([torch.ones(n[0]), torch.zeros(n[1])])
    try:
        fitted = calibrate(score, label, method)
    except ValueError as error:
        assert "score: expected" in str(error)
        return
    log_ratio = fitted(score)
    assert torch.isfinite(log_ratio).all()
    if method == "isotonic":
        assert (log_ratio[score.argsort()].diff() >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_shape_type_and_devices_are_kept(method, same_when_poisoned):
    score, label = gaussian_scores(200)
    same_when_poisoned(lambda: calibrate(score, label, method).probability(score))
    fitted = calibrate(score.float(), label.int(), method)
    log_ratio = fitted(torch.zeros(2, 3))
    assert log_ratio.shape == (2, 3)
    assert log_ratio.dtype == torch.float32
    assert fitted(score).dtype == torch.float64
    attached = score.clone().requires_grad_()
    assert not calibrate(attached, label, method)(attached).requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_scores_outside_the_range_learned_are_counted(method):
    score, label = gaussian_scores(2000)
    fitted = calibrate(score, label, method)
    fresh, _ = gaussian_scores(20_000, seed=1)  # some 2 n / N = 40 of n are outside: no warning
    assert torch.isfinite(fitted(fresh)).all()
    far = torch.cat([fresh[:1000], score.max() + torch.linspace(0.1, 1, 500).double()])
    with pytest.warns(UserWarning, match=r"score: 5\d\d of 1500 are outside .*they get the value"):
        values = fitted(far)
    assert torch.isfinite(values).all()
    assert values[1000:].unique().numel() == (500 if method == "platt" else 1)


def test_a_falling_score_is_refused_where_only_rising_ones_are_learned():
    score, label = gaussian_scores(200)
    with pytest.raises(ValueError, match="are the labels swapped"):
        calibrate(-score, label, "isotonic")
    for method in ("histogram", "platt", "kde"):
        assert calibrate(-score, label, method)(torch.tensor([-1.0, 1.0])).diff() < 0
    noise = torch.randn(4000, generator=generator(0))  # a useless score is no error
    useless = calibrate(noise, torch.arange(4000) % 2, "isotonic")
    assert rms(useless(noise)) < 0.2


@pytest.mark.parametrize(
    ("score", "label", "method", "message"),
    [
        (torch.zeros(40), torch.arange(40) % 2, "spline", "method: expected one of"),
        (torch.full((40,), torch.nan), torch.arange(40) % 2, "platt", "score: expected finite"),
        (torch.zeros(40), torch.arange(40) % 2, "platt", "at least two different scores, got 0"),
        (torch.arange(40.0), torch.arange(40) % 3, "platt", "label: expected 0 or 1"),
        (torch.arange(40.0), torch.arange(30) % 2, "platt", r"got \(40,\) and \(30,\)"),
        (torch.zeros(40, 1), torch.zeros(40, 1), "platt", r"same shape \(N,\), got \(40, 1\)"),
        (torch.arange(40.0), torch.arange(40) < 9, "platt", r"at least 10 rows .* got \[31, 9\]"),
        (torch.arange(40.0) % 2, torch.arange(40) % 2, "kde", "differ within each label"),
    ],
)
def test_wrong_arguments_are_refused(score, label, method, message):
    with pytest.raises(ValueError, match=message):
        calibrate(score, label, method)


def test_scores_that_cannot_be_mapped_are_refused():
    fitted = calibrate(*gaussian_scores(100))
    with pytest.raises(ValueError, match="score: expected finite numbers, got 1 NaN"):
        fitted(torch.tensor([0.0, torch.inf]))
