"""How diagnostics get draws and densities of a posterior in any form, and what they refuse.

Results are equal in every form and on a poisoned default device.
"""

import numpy as np
import pytest
import torch
from exact_bank import EXACT, WRONG, Gaussian, joint

from lfi_helpers.diagnostics import (
    Amortised,
    draw_each,
    expected_coverage,
    sbc,
    sbc_ranks,
    tarp,
    uniformity,
)
from lfi_helpers.diagnostics.draws import chance, log_prob_each
from lfi_helpers.run import generator

THETA, X = joint(60)
Q = Gaussian()


class OneAtATime:
    """A posterior of the house without batches."""

    sample, log_prob = Q.sample, Q.log_prob


def test_rows_keep_their_own_draws():
    """Each x's mean of draws is its own: gaps of 20 deviations between rows."""
    x = X[:5] + 100 * torch.arange(5, **EXACT)[:, None]
    for posterior in (Q, OneAtATime(), Q.sample):
        draws = draw_each(posterior, x, 200)
        assert draws.shape == (200, 5, 2)
        assert (draws.mean(0) - Q.mean(x)).abs().max() < 1  # .07 standard errors: 14 of them
    wrong = draw_each(WRONG["permuted"], x, 200)
    assert (wrong.mean(0) - Q.mean(x)).abs().max() > 10


def test_every_row_gets_a_seed_of_its_own():
    seeds = []

    def sample(n, x_obs, seed):
        seeds.append(seed)
        return Q.sample(n, x_obs, seed)

    draw_each(sample, X, 3, seed=4)
    assert len(set(seeds)) == len(X)
    noise = draw_each(sample, X[:1].expand(2, -1), 50)
    assert not torch.equal(noise[:, 0], noise[:, 1])


def test_draws_given_are_taken_as_they_are():
    draws = Q.sample_batch(7, X, 1)
    assert torch.equal(draw_each(draws, X, 7), draws)


def test_densities_agree_in_every_form():
    theta = Q.sample_batch(4, X, 2)
    wanted = Q.log_prob_batch(theta, X)
    for form in (Q, OneAtATime(), Q.log_prob):
        torch.testing.assert_close(log_prob_each(form, theta, X), wanted, rtol=0, atol=1e-12)


def test_a_conditional_density_is_a_posterior():
    """Its draws are those of the closed form: 10 means to 5 standard errors: 6e-6."""
    q = Amortised(lambda x: torch.distributions.MultivariateNormal(Q.mean(x), Q.covariance))
    theta = Q.sample_batch(4, X, 2)
    torch.testing.assert_close(q.log_prob_batch(theta, X), Q.log_prob_batch(theta, X))
    off = (draw_each(q, X[:5], 4000).mean(0) - Q.mean(X[:5])) / Q.covariance.diagonal().sqrt()
    assert off.abs().max() < 5 / np.sqrt(4000)
    assert torch.equal(draw_each(q, X, 3, 1), draw_each(q, X, 3, 1))
    assert not torch.equal(draw_each(q, X, 3, 1), draw_each(q, X, 3, 2))


def test_diagnosing_with_the_seed_of_the_simulation_repeats_no_number():
    one, other = (torch.rand(5, generator=g, device="cpu") for g in (chance(3), generator(3)))
    assert not torch.equal(one, other)


class Narrow:
    """Draws of three dimensions where theta has two."""

    @staticmethod
    def sample_batch(n, x, seed):
        return torch.zeros(n, len(x), 3, device="cpu")


@pytest.mark.parametrize("diagnose", [sbc, sbc_ranks, expected_coverage, tarp])
@pytest.mark.parametrize(
    ("posterior", "theta", "x", "n", "error", "message"),
    [
        (Q, THETA[:50], X, 9, ValueError, "theta and x: expected equally many rows"),
        (Q, THETA[:, 0], X, 9, ValueError, r"theta: expected shape \(N, L\), got \(60,\)"),
        (Q, THETA, X[:, 0], 9, ValueError, r"x: expected shape \(N, L\), got \(60,\)"),
        (Q, THETA * np.nan, X, 9, ValueError, "theta: expected finite numbers, got 120"),
        (Q, THETA, X / 0, 9, ValueError, "x: expected finite numbers, got 180"),
        (Q, THETA, X, 0, ValueError, "n: expected an integer >= 1, got 0"),
        (Q, THETA, X, 9.0, ValueError, "n: expected an integer >= 1, got 9.0"),
        (Narrow, THETA, X, 9, ValueError, "posterior: expected 2 dimensions, got 3"),
        (Narrow, THETA[:0], X[:0], 9, ValueError, "theta: expected at least .* got 0"),
        (THETA[None], THETA, X, 9, ValueError, r"posterior: expected draws of shape \(9, 60, D\)"),
        (THETA.expand(9, -1, -1) / 0, THETA, X, 9, ValueError, "posterior: expected finite"),
        ("flow", THETA, X, 9, TypeError, "posterior: expected draws, a posterior or a callable"),
    ],
)
def test_wrong_input_is_refused(diagnose, posterior, theta, x, n, error, message):
    with pytest.raises(error, match=message):
        diagnose(posterior, theta, x, n)


def test_sbc_needs_as_many_draws_as_its_small_run():
    with pytest.raises(ValueError, match="n: expected at least 3, got 2"):
        sbc(Q, THETA, X, 2)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"region": "hdr"}, ValueError, "region: expected one of .*got 'hdr'"),
        ({"levels": (0.5, 1.0)}, ValueError, r"levels: expected numbers in \(0, 1\), got"),
        ({"levels": ()}, ValueError, r"levels: expected numbers in \(0, 1\), got \[\]"),
        ({"log_prob": 3}, TypeError, "log_prob: expected a log-density"),
        ({"log_prob": lambda t, x: t[:, 0] * np.nan}, ValueError, "log_prob: expected no NaN"),
        ({"log_prob": lambda t, x: t}, ValueError, "log_prob: expected shape"),
    ],
)
def test_wrong_regions_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        expected_coverage(Q, THETA, X, 9, **settings)


def test_draws_alone_have_no_highest_density():
    with pytest.raises(TypeError, match="log_prob: expected a log-density.*got Tensor"):
        expected_coverage(Q.sample_batch(9, X, 0), THETA, X, 9)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (THETA[:9], "reference: expected 60 rows, got 9"),
        (THETA[:, :1], r"reference: expected shape \(N, 2\), got \(60, 1\)"),
        (lambda x: x[:, :2] / 0, "reference: expected finite numbers, got 120"),
    ],
)
def test_wrong_references_are_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        tarp(Q, THETA, X, 9, reference=reference)


def test_a_learned_reference_needs_pairs():
    with pytest.raises(ValueError, match="theta: expected at least 50 rows, got 49"):
        tarp(Q, THETA[:49], X[:49], 9)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (np.zeros((30, 1)), r"ranks: expected shape \(N, D\)"),
        (torch.zeros(19, 1, device="cpu"), r"N >= 20, got \(19, 1\)"),
        (torch.full((30, 1), 10.0, device="cpu"), "ranks: expected integers from 0 to 9"),
        (torch.full((30, 1), 0.5, device="cpu"), "ranks: expected integers from 0 to 9"),
    ],
)
def test_wrong_ranks_are_refused(ranks, message):
    with pytest.raises(ValueError, match=message):
        uniformity(ranks, 9)


@pytest.mark.parametrize("form", [Q, OneAtATime()])
def test_no_default_device_is_used(same_when_poisoned, form):
    def numbers():
        small, cover = sbc(form, THETA, X, 9), expected_coverage(form, THETA, X, 9)
        central = expected_coverage(form, THETA, X, 9, region="central")
        learned = tarp(form, THETA, X, 9)
        given = tarp(form, THETA, X, 9, reference=THETA.mean(0).expand(60, 2))
        tensors = (small.ranks, small.small_ranks, cover.credibility, central.credibility)
        p_values = [r.p_value for r in (small, cover, central, learned, given)]
        return *tensors, learned.value, given.value, torch.tensor(p_values, device="cpu")

    same_when_poisoned(numbers)
