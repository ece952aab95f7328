"""The local two-sample test: its null distribution, its ideal value, where it sees a fault.

Gates around trained classifiers are 6.2 standard deviations of a 20-seed study away; the exact
null's false alarm is below 1e-5 for any seed.
"""

from importlib import import_module

import numpy as np
import pytest
import torch
from exact_bank import EXACT, MEAN, MIX, WRONG, BrokenBeyond, Gaussian, joint
from scipy.stats import binom

from lfi_helpers.diagnostics import lc2st

module = import_module("lfi_helpers.diagnostics.lc2st")
X_OBS = MIX @ MEAN + torch.tensor([[-2.0, 0.0, 0.0], [2.5, -0.5, 0.3]], **EXACT)
N, N_OBS, PERMUTATIONS = 800, 300, 19
SEEDS, ALARMS = 8, 5  # a p-value of .05 more than 5 times of 8: 4e-7 if p is exact
# Study at N = 800: means differ from the ideal by up to .015, standard deviations up to .0136
BAND = 0.095


def alarms(posterior):
    """Count the smallest possible p-value, 1 / 20, at both observations in 8 sets of pairs."""
    found = [
        lc2st(posterior, *joint(N, s), X_OBS, N_OBS, permutations=PERMUTATIONS, seed=s).p_value
        for s in range(SEEDS)
    ]
    return (torch.stack(found) <= 0.05).sum(0)


def ideal(posterior, n=100_000):
    """Return E_q (d - 1/2)^2 of the exact d = p / (p + q) at both observations."""
    theta = posterior.sample_batch(n, X_OBS, 7)
    log_p, log_q = (m.log_prob_batch(theta, X_OBS) for m in (Gaussian(), posterior))
    return (torch.sigmoid(log_p - log_q) - 0.5).square().mean(0)


def test_the_number_of_alarms_is_binomial():
    assert binom.sf(ALARMS, SEEDS, 1 / (1 + PERMUTATIONS)) < 1e-6


def x_of_another_row(theta, x):
    """Join draws with the x of their neighbours."""
    return torch.cat([theta, x.to(theta).roll(1, 0).flatten(1)], 1)


def test_the_exact_posterior_gives_alarms_as_often_as_chance_does(monkeypatch):
    assert (alarms(Gaussian()) <= ALARMS).all()
    joined = module._joined
    calls = []

    def mixed_up(theta, x):  # truths with their x, draws of the posterior with another's
        calls.append(len(x))
        return joined(theta, x) if len(calls) % 4 != 2 else x_of_another_row(theta, x)

    monkeypatch.setattr(module, "_joined", mixed_up)
    assert (alarms(Gaussian()) > ALARMS).all()


def test_a_local_fault_is_seen_where_it_is():
    """The study's log(statistic / largest null value) there: 3.3 +- 0.7, never below 2."""
    assert alarms(BrokenBeyond())[1] > ALARMS
    theta, x = joint(N)
    here, there = lc2st(BrokenBeyond(), theta, x, X_OBS, N_OBS, permutations=1).statistic
    assert here < 0.02 and there > 0.06  # 0 and .17 ideally; .001 +- .001 and .18 +- .017
    assert ideal(BrokenBeyond())[0] == 0 and ideal(BrokenBeyond())[1] > 0.16


@pytest.mark.parametrize("name", WRONG)
def test_the_statistic_is_the_ideal_one(name):
    theta, x = joint(N)
    found = lc2st(WRONG[name], theta, x, X_OBS, N_OBS, permutations=1).statistic
    assert (found - ideal(WRONG[name])).abs().max() < BAND


def test_a_classifier_that_hardly_learns_is_not_ideal(monkeypatch):
    monkeypatch.setattr(module, "EPOCHS", 1)
    theta, x = joint(N)
    for name in ("prior", "sign flipped", "permuted"):
        found = lc2st(WRONG[name], theta, x, X_OBS, N_OBS, permutations=1).statistic
        assert (ideal(WRONG[name]) - found).min() > BAND


def test_the_prior_is_seen_everywhere():
    """Log(statistic / largest null value) in the study: 3.0 +- 0.65, never below 1.9.

    Rate of the smallest p-value over 20 seeds at N = 800: 1 for all seven but "shifted" (.9, .95).
    """
    assert (alarms(WRONG["prior"]) > ALARMS).all()


def test_without_swaps_there_is_no_null_distribution(monkeypatch):
    """If all classifiers learn the true labels, nothing stands out: nothing is seen."""
    monkeypatch.setattr(
        module.torch, "randint", lambda high, size, **kw: torch.zeros(size, dtype=torch.long)
    )
    assert (alarms(WRONG["prior"]) <= ALARMS).all()


def test_p_values_are_places_in_the_null_distribution():
    theta, x = joint(200)
    result = lc2st(Gaussian(), theta, x, X_OBS, 100, permutations=9)
    assert result.null.shape == (2, 9) and result.statistic.shape == result.p_value.shape == (2,)
    for statistic, p, null in zip(*result, strict=True):
        assert float(p) == pytest.approx((1 + int((null >= statistic).sum())) / 10)
    again = lc2st(Gaussian(), theta, x, X_OBS, 100, permutations=9)
    assert torch.equal(again.null, result.null)
    other = lc2st(Gaussian(), theta, x, X_OBS, 100, permutations=9, seed=1)
    assert not torch.equal(other.null, result.null)


PAIRS = joint(60)


@pytest.mark.parametrize(
    ("theta", "x", "x_obs", "permutations", "message"),
    [
        (PAIRS[0][:40], PAIRS[1][:40], X_OBS, 9, "theta: expected at least 50 rows, got 40"),
        (PAIRS[0], PAIRS[1][:50], X_OBS, 9, "theta and x: expected equally many rows"),
        (PAIRS[0], PAIRS[1], X_OBS[0], 9, r"x_obs: expected shape \('M', 3\), got \(3,\)"),
        (PAIRS[0], PAIRS[1], X_OBS * np.nan, 9, "x_obs: expected finite numbers, got 6"),
        (PAIRS[0], PAIRS[1], X_OBS, 0, "permutations: expected an integer >= 1, got 0"),
        (PAIRS[0], PAIRS[1], X_OBS, True, "permutations: expected an integer >= 1, got True"),
    ],
)
def test_wrong_input_is_refused(theta, x, x_obs, permutations, message):
    with pytest.raises(ValueError, match=message):
        lc2st(Gaussian(), theta, x, x_obs, permutations=permutations)


def test_no_default_device_is_used(same_when_poisoned):
    theta, x = PAIRS
    same_when_poisoned(lambda: tuple(lc2st(Gaussian(), theta, x, X_OBS, 50, permutations=3)))
