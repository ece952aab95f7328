"""The ratio of two samples: right where the truth is known, and told from the wrong ones.

The wrong ones are swapped or inverted ratios, prior odds, and the slide's formula. Gates on
trained ratios lie beyond the mean and 6.2 standard deviations of at least twenty seeds: they fail
by chance with a probability below 1e-5.
"""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from lfi_helpers.classifiers import LogRatio, fit_log_ratio
from lfi_helpers.run import generator
from lfi_helpers.simulators import load

QUIET = {"device": "cpu", "progress": False}


def relative(found, exact):
    """Return the mean squared error of log r over its variance."""
    return ((found - exact).square().mean() / exact.var()).item()


# Two unit Gaussians: the log-ratio is linear, so one linear layer can be right.

SHIFT = torch.tensor([1.0, 0.5])  # p(x | 0) = N(SHIFT, I), p(x | 1) = N(0, I)
LINEAR = {"hidden": (), "max_epochs": 10, "batch_size": 512, "learning_rate": 0.02}
LIMIT = 0.05  # thirty seeds, the worst of three sizes and four quantities: mean .002, sd .0034


def samples(n0=20_000, n1=20_000, seed=0):
    noise = generator(seed)
    x0, x1 = (torch.randn(n, 2, generator=noise, device="cpu") for n in (n0, n1))
    return x0 + SHIFT.to(x0), x1


def exact_linear(x):
    return x @ SHIFT - SHIFT.square().sum() / 2


@pytest.fixture(scope="module", params=[(20_000, 20_000), (40_000, 10_000), (4_000, 20_000)])
def linear(request):
    x0, x1 = samples(*request.param)
    return x0, x1, fit_log_ratio(x0, x1, **LINEAR, **QUIET)


FRESH = samples(seed=1)


def test_an_exact_model_finds_the_exact_ratio(linear):
    x0, x1, log_ratio = linear
    fresh = torch.cat(FRESH)
    exact, found = exact_linear(fresh), log_ratio(fresh)
    assert relative(found, exact) < LIMIT
    assert relative(-found, exact) > 1  # inverted, or labels swapped
    odds = math.log(len(x0) / len(x1))
    if odds:
        assert relative(found + odds, exact) > 1  # prior odds left in
        assert relative(found - odds, exact) > 1  # corrected the wrong way


def test_without_weights_the_prior_odds_stay(monkeypatch):
    from lfi_helpers.classifiers import ratio

    bare = ratio.carl_loss
    monkeypatch.setattr(ratio, "carl_loss", lambda f, label, weight: bare(f, label))
    log_ratio = fit_log_ratio(*samples(40_000, 10_000), **LINEAR, **QUIET)
    exact = exact_linear(FRESH[0])
    assert relative(log_ratio(FRESH[0]), exact) > 1
    assert relative(log_ratio(FRESH[0]) - math.log(4), exact) < LIMIT


def test_logistic_regression_of_another_library_agrees(linear):
    x0, x1, log_ratio = linear
    x, y = np.concatenate([x0, x1]), np.repeat([1, 0], [len(x0), len(x1)])
    other = LogisticRegression(C=np.inf, tol=1e-8, class_weight="balanced").fit(x, y)
    fresh = torch.cat(FRESH)
    theirs = torch.from_numpy(other.decision_function(fresh.numpy()))
    assert relative(log_ratio(fresh), theirs) < LIMIT


def test_exchanging_the_samples_exchanges_the_sign(linear):
    x0, x1, log_ratio = linear
    back = fit_log_ratio(x1, x0, **LINEAR, **QUIET)
    fresh = torch.cat(FRESH)
    assert relative(-back(fresh), log_ratio(fresh)) < LIMIT


def test_the_ratio_has_mean_one_under_its_denominator(linear):
    numerator, denominator = (linear[2](x).double() for x in FRESH)
    # r has variance e^(|SHIFT|^2) - 1: its mean over 20 000 is off by .011; 24 seeds: sd .033
    assert denominator.exp().mean() == pytest.approx(1, abs=0.25)
    assert numerator.exp().mean() > 2  # it is exp(|SHIFT|^2) = 3.49: the other way round
    assert (-denominator).exp().mean() > 2  # the inverse, likewise
    assert (-numerator).exp().mean() == pytest.approx(1, abs=0.25)


# A network, on the pair of Gaussians


GATE = 0.05  # 24 seeds: mean .0104, sd .0053


@pytest.fixture(scope="module")
def network():
    pair = load("gaussian_pair")
    x0, x1 = (pair.draw(h, 20_000, generator(0, h)) for h in (0, 1))
    return pair, fit_log_ratio(x0, x1, max_epochs=10, **QUIET), (x0, x1)


def fresh_pair(pair, seed):
    return [pair.draw(h, 20_000, generator(seed, h)) for h in (0, 1)]


def test_a_network_learns_a_ratio_that_is_not_linear(network):
    pair, log_ratio, _ = network
    fresh = torch.cat(fresh_pair(pair, 1))
    exact, found = pair.log_ratio(fresh), log_ratio(fresh)
    assert relative(found, exact) < GATE
    s = torch.sigmoid(found)
    wrong = {
        "inverted": -found,
        "prior odds of four": found + math.log(4),
        "probability": s,
        "ratio": found.exp(),
        "slide": 1 - 1 / s,
        "slide, up to its sign": (1 / s - 1).log(),
    }
    for name, other in wrong.items():
        assert relative(other, exact) > 2 * GATE, name


def test_the_order_of_the_rows_does_no_harm(network):
    pair, _, (x0, x1) = network
    ordered = [x[x[:, 0].argsort()] for x in (x0, x1)]
    log_ratio = fit_log_ratio(*ordered, max_epochs=10, **QUIET)
    fresh = torch.cat(fresh_pair(pair, 1))
    assert relative(log_ratio(fresh), pair.log_ratio(fresh)) < GATE


def test_rows_are_answered_one_by_one(network):
    _, log_ratio, (x0, _) = network
    order = torch.randperm(20_000, generator=generator(2))
    torch.testing.assert_close(log_ratio(x0)[order], log_ratio(x0[order]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_ratio(x0)[:7], log_ratio(x0[:7]), rtol=1e-5, atol=1e-5)
    assert log_ratio(x0[:0]).shape == (0,)
    assert not log_ratio(x0).requires_grad


def test_beyond_the_calibrated_scores_it_warns_or_is_openly_clipped(network):
    pair, log_ratio, _ = network
    learned = log_ratio.calibrated(*fresh_pair(pair, 3), method="platt")
    far = torch.cat([row[:50] for row in fresh_pair(pair, 5)]) * 10
    with pytest.warns(UserWarning, match="are outside .*, where the calibration was learned"):
        learned(far)
    line, score = learned.calibrator, learned.score(far).double()
    ends = line.slope * torch.tensor([line.low, line.high]) + line.intercept
    expected = torch.where(score > line.high, ends[1], line.slope * score + line.intercept)
    expected = torch.where(score < line.low, ends[0], expected)
    torch.testing.assert_close(learned.clipped(far).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_ratio.clipped(far), log_ratio(far), rtol=0, atol=0)


def test_calibration_repairs_a_ratio_that_is_too_certain(network):
    pair, log_ratio, _ = network
    fresh = fresh_pair(pair, 3)
    exact, certain = pair.log_ratio(torch.cat(fresh)), nn.Sequential(log_ratio.module, Double())
    assert relative(LogRatio(certain)(torch.cat(fresh)), exact) > 4 * GATE
    repaired = LogRatio(certain).calibrated(*fresh, method="platt")
    assert relative(repaired(torch.cat(fresh)), exact) < GATE
    assert repaired.calibrator is not None and log_ratio.calibrator is None


class Double(nn.Module):
    """An over-confident last layer."""

    def forward(self, f):
        return 2 * f


# Contracts

SMALL = {"hidden": (8,), "max_epochs": 2, "batch_size": 64, **QUIET}


def small(seed=0, **settings):
    x0, x1 = samples(200, 100)
    return fit_log_ratio(x0, x1, seed=seed, **{**SMALL, **settings})(x0)


def test_the_seed_decides_everything(same_when_poisoned):
    assert torch.equal(small(), small())
    assert not torch.equal(small(), small(seed=1))
    untrained = {"max_epochs": 1, "batch_size": 300, "learning_rate": 1e-9}
    assert not torch.allclose(small(**untrained), small(seed=1, **untrained))  # initial weights
    same_when_poisoned(small)


def test_the_samples_are_not_changed():
    x0, x1 = samples(200, 100)
    before = x0.clone(), x1.clone()
    log_ratio = fit_log_ratio(x0, x1, **SMALL)
    log_ratio(x0)
    log_ratio.calibrated(*samples(200, 100, seed=1))
    assert torch.equal(x0, before[0]) and torch.equal(x1, before[1])


def test_double_precision_and_far_events_are_answered():
    x0, x1 = (x.double() for x in samples(200, 100))
    log_ratio = fit_log_ratio(x0, x1, **SMALL)
    torch.testing.assert_close(log_ratio(x0), log_ratio(x0.float()))
    assert torch.isfinite(log_ratio(torch.full((3, 2), 1e4))).all()
    offset = fit_log_ratio(x0 + 1000, x1 + 1000, **SMALL)  # features are standardised
    torch.testing.assert_close(offset(x0 + 1000), log_ratio(x0), rtol=0.01, atol=0.01)


def test_features_that_never_vary_do_no_harm():
    x0, x1 = samples(200, 100)
    wide = [torch.cat([x, torch.full((len(x), 1), 0.1)], 1) for x in (x0, x1)]
    assert torch.isfinite(fit_log_ratio(*wide, **SMALL)(wide[0])).all()


ZEROS = torch.zeros(20, 2)


@pytest.mark.parametrize(
    ("x0", "x1", "message"),
    [
        (torch.zeros(20), ZEROS, r"x0: expected shape \(N, L\), got \(20,\)"),
        (ZEROS, torch.zeros(20), r"x1: expected shape \(N, 2\), got \(20,\)"),
        (ZEROS, torch.zeros(20, 3), r"x1: expected shape \(N, 2\), got \(20, 3\)"),
        (ZEROS, torch.full((20, 2), torch.nan), "x1: expected finite numbers, got 40 NaN"),
        (torch.full((20, 2), -torch.inf), ZEROS, "x0: expected finite numbers, got 40 NaN"),
        (ZEROS[:9], ZEROS, "x0 and x1: expected at least 10 rows each, got 9, 20"),
    ],
)
def test_bad_samples_are_refused(x0, x1, message):
    with pytest.raises(ValueError, match=message):
        fit_log_ratio(x0, x1, **SMALL)


def test_bad_events_are_refused():
    log_ratio = fit_log_ratio(*samples(200, 100), **SMALL)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, L\), got \(2,\)"):
        log_ratio(torch.zeros(2))
    for width in (1, 3):  # one column would be broadcast over two means
        with pytest.raises(ValueError, match="x: expected 2 features, got"):
            log_ratio(torch.zeros(5, width))
    with pytest.raises(ValueError, match="x: expected finite numbers, got 1 NaN"):
        log_ratio(torch.tensor([[0.0, torch.nan]]))
