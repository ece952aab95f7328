"""Score gaps against the closed-form divergence, predictive p-values against the exact ones.

Bands hold for any seed with a false-alarm probability below 1e-5.
"""

import math

import numpy as np
import pytest
import torch
from exact_bank import EXACT, GAIN, MEAN, MIX, NOISE, POSTERIOR, WRONG, Gaussian, joint, normal
from scipy.stats import binom, norm

from lfi_helpers.diagnostics import predictive_check, score_gap
from lfi_helpers.run import generator

ALARM = 1e-5
Z = 4.9  # normal deviations: 1e-6


def gap(posterior, n=8000, nats=0.0):
    """Compare the exact posterior with another one, whose density is e^nats times too large."""
    theta, x = joint(n)
    exact, other = (q.log_prob_batch(theta[None], x)[0] for q in (Gaussian(), posterior))
    return score_gap(exact, other + nats)


# --- log-score gap ------------------------------------------------------------------------------


def test_the_exact_density_has_no_gap():
    result = gap(Gaussian())
    assert (result.gap, *result[2:]) == (0, 0, 0.5, 0.5)
    theta, x = joint(8000)
    exact = Gaussian().log_prob_batch(theta[None], x)[0]
    rounded = score_gap(exact, exact.float())  # each number by 2^-24 at most: .06 ROUNDING
    assert abs(rounded.z) < 0.2


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_posterior_has_a_gap(name):
    """Gap / error is at least .18 / .62 * 8000^.5 = 26: misses at 4.3 do not happen."""
    result = gap(WRONG[name])
    assert result.z > 20 and result.p_worse < ALARM and result.p_better > 0.5


@pytest.mark.parametrize("width", [0.7, 1.5])
def test_the_gap_of_a_wrong_width_is_the_closed_form(width):
    """KL = D (1 / w^2 - 1 + 2 log w) / 2, and the variance D (1 / w^2 - 1)^2 / 2."""
    n, d = 8000, 2
    result = gap(WRONG["narrow" if width < 1 else "wide"], n)
    deviation = math.sqrt(d / 2) * abs(1 / width**2 - 1)
    assert result.error == pytest.approx(deviation / math.sqrt(n), rel=Z * math.sqrt(14 / 4 / n))
    wanted = d / 2 * (1 / width**2 - 1 + 2 * math.log(width))
    assert abs(result.gap - wanted) < Z * deviation / math.sqrt(n)


def test_a_density_that_is_not_normalised_seems_better_than_the_exact_one():
    """The wide one lacks .255 nat; half a nat too much turns it: z = -.245 / .556 * 8000^.5."""
    honest, boasting = gap(WRONG["wide"]), gap(WRONG["wide"], nats=0.5)
    assert honest.p_better > 0.5 and honest.p_value < ALARM
    assert boasting.z < -20 and boasting.p_better < ALARM and boasting.p_value < ALARM
    assert gap(Gaussian(), nats=0.01).z < -1000


def test_a_density_that_saw_the_truths_seems_better_than_the_exact_one():
    """Pulling the mean half the way to the truth wins (1 - 1/4) D / 2 = .75 nat."""
    theta, x = joint(2000)
    exact = Gaussian()
    half = exact.log_prob_batch(((theta + exact.mean(x)) / 2)[None], x)[0]
    result = score_gap(exact.log_prob_batch(theta[None], x)[0], half)
    assert result.p_better < ALARM


def test_a_truth_that_the_density_excludes_costs_everything():
    log_p, log_q = torch.zeros(50, **EXACT), torch.zeros(50, **EXACT)
    log_q[7] = -math.inf
    assert score_gap(log_p, log_q)[:4] == (math.inf, math.inf, math.inf, 0)


@pytest.mark.parametrize(
    ("log_p", "log_q", "message"),
    [
        (np.zeros(50), np.zeros(49), r"log_p and log_q: expected .*\(50,\) and \(49,\)"),
        (np.zeros((50, 1)), np.zeros((50, 1)), r"log_p and log_q: expected shape \(N,\)"),
        (np.zeros(19), np.zeros(19), "N >= 20"),
        (np.full(50, -np.inf), np.zeros(50), "log_p: expected finite numbers"),
        (np.zeros(50), np.full(50, np.nan), "log_q: expected numbers below infinity"),
        (np.zeros(50), np.full(50, np.inf), "log_q: expected numbers below infinity"),
    ],
)
def test_wrong_scores_are_refused(log_p, log_q, message):
    with pytest.raises(ValueError, match=message):
        score_gap(log_p, log_q)


# --- posterior predictive check -----------------------------------------------------------------

PREDICTIVE = MIX @ POSTERIOR @ MIX.mT + NOISE  # covariance of x_rep given x_obs
X_MEAN = MIX @ MEAN


def replicas(x_obs, n, seed=0, posterior=None):
    g = generator(seed)
    theta = (posterior or Gaussian()).sample_batch(n, x_obs[None], seed)[:, 0]
    return normal(theta @ MIX.mT, NOISE, 1, g)[0]


def exact_p(x_obs):
    z = (x_obs - X_MEAN - MIX @ GAIN @ (x_obs - X_MEAN)) / PREDICTIVE.diagonal().sqrt()
    return 2 * norm.sf(z.abs())


def test_p_values_are_the_closed_form():
    n = 20_000
    for x_obs in joint(5)[1]:
        result = predictive_check(replicas(x_obs, n, 3), x_obs)
        # 2 (k + 1) / (n + 1), k binomial: a deviation of at most 1 / sqrt(n); 15 gates
        np.testing.assert_allclose(result.p_value, exact_p(x_obs), atol=Z / math.sqrt(n) + 2 / n)
        torch.testing.assert_close(result.observed, x_obs)
        assert result.replicated.shape == (n, 3)


def test_p_values_of_an_exact_posterior_are_rarely_small():
    """P(p <= .05) <= .1 for each number of x, here much less: x_obs is used twice."""
    rows = joint(400, 1)[1]
    p = torch.stack([predictive_check(replicas(x, 400, i), x).p_value for i, x in enumerate(rows)])
    # 400 replicas estimate p to .02: at most 2 (.05 + .05) are allowed, the bound of p <= .1
    assert ((p <= 0.05).sum(0) <= binom.isf(ALARM / 3, len(rows), 0.2)).all()


def test_a_flipped_posterior_cannot_give_an_unusual_observation():
    x_obs = X_MEAN + torch.tensor([4.0, -2.0, 2.0], **EXACT)
    assert exact_p(x_obs).min() > 0.2
    assert predictive_check(replicas(x_obs, 2000), x_obs).p_value.min() > 0.1
    flipped = predictive_check(replicas(x_obs, 2000, 0, WRONG["sign flipped"]), x_obs)
    assert flipped.p_value.min() < 0.01


def test_the_prior_passes_at_a_usual_observation():
    """Over the prior predictive its p-values are uniform: nothing is seen, whatever the seed."""
    rows = joint(400, 1)[1]
    prior = WRONG["prior"]
    p = torch.stack(
        [predictive_check(replicas(x, 99, i, prior), x).p_value for i, x in enumerate(rows)]
    )
    few = (p <= 0.1).sum(0)  # p = .02 k: P = .1 exactly
    assert (few >= binom.ppf(ALARM / 6, len(rows), 0.1)).all()
    assert (few <= binom.isf(ALARM / 6, len(rows), 0.1)).all()


def test_a_statistic_of_choice():
    x_rep, x_obs = replicas(joint(1)[1][0], 99), joint(1)[1][0]
    largest = predictive_check(x_rep, x_obs, lambda x: x.amax(1))
    assert largest.p_value.shape == (1,) and largest.replicated.shape == (99, 1)
    side = int((x_rep.amax(1) >= x_obs.amax()).sum())
    assert float(largest.p_value) == pytest.approx(min(1 + side, 100 - side) / 50)
    events = replicas(x_obs, 99 * 7).view(99, 7, 3)  # seven events per data set
    spread = predictive_check(events, events[0], lambda x: torch.stack([x.std(1), x.mean(1)], 1))
    assert spread.p_value.shape == (6,)


@pytest.mark.parametrize(
    ("x_rep", "x_obs", "statistic", "message"),
    [
        (np.zeros((30, 3)), np.zeros(2), None, r"x_rep: expected shape \('n >= 20', 2\), got"),
        (np.zeros((9, 3)), np.zeros(3), None, r"x_rep: expected shape .*got \(9, 3\)"),
        (np.full((30, 3), np.nan), np.zeros(3), None, "x_rep: expected finite numbers, got 90"),
        (np.zeros((30, 3)), np.full(3, np.inf), None, "x_obs: expected finite numbers"),
        (np.zeros((30, 3)), np.zeros(3), lambda x: x[:, 0] / 0, "statistic: expected finite"),
        (np.zeros((30, 3)), np.zeros(3), lambda x: x.mean(0), "statistic: expected 30 rows"),
    ],
)
def test_wrong_replicas_are_refused(x_rep, x_obs, statistic, message):
    with pytest.raises(ValueError, match=message):
        predictive_check(x_rep, x_obs, statistic)


def test_no_default_device_is_used(same_when_poisoned):
    theta, x = joint(100)
    exact = Gaussian().log_prob_batch(theta[None], x)[0]
    wide = WRONG["wide"].log_prob_batch(theta[None], x)[0]
    same_when_poisoned(lambda: tuple(score_gap(exact, wide)))
    x_rep = replicas(x[0], 200)
    same_when_poisoned(lambda: tuple(predictive_check(x_rep, x[0])))
