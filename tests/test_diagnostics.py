"""SBC, coverage and TARP on an exact posterior and on seven wrong ones, and their own faults.

Every gate's false alarm is below 1e-5 for any seed: p-values are exact or too large. Of what must
be detected, the miss is below 1e-5 too: see ``miss``.
"""

from importlib import import_module

import numpy as np
import pytest
import torch
from exact_bank import COVARIANCE, EXACT, MEAN, POSTERIOR, WRONG, Gaussian, joint, normal
from scipy.stats import chi2, chisquare, kstest, kstwo, norm

from lfi_helpers.diagnostics import expected_coverage, sbc, sbc_ranks, tarp, uniformity
from lfi_helpers.diagnostics.draws import ks_uniform
from lfi_helpers.run import generator

ALARM = 1e-5
N = 8000
COLUMNS = ("sbc", "central", "hpd", "tarp", "blind tarp")
TESTS = {"sbc": 4, "central": 10, "hpd": 5, "tarp": 1, "blind tarp": 1}  # Bonferroni factors
# The largest distance (Kolmogorov-Smirnov) between the distribution of the credibilities and the
# uniform one, from 400 000 pairs, rounded down. 0: exactly uniform, there is nothing to see.
# None: something, but too little to be certain at this N.
DISTANCE = {
    "prior": (0, 0, 0, 0.48, 0),
    "half informed": (0, 0, 0, 0.27, 0),
    "sign flipped": (0.18, 0.36, 0.66, 0.61, 0.19),
    "shifted": (0.19, None, 0.062, 0.069, None),
    "narrow": (0.08, 0.16, 0.25, 0.23, 0.10),
    "wide": (0.09, 0.18, 0.28, 0.27, 0.12),
    "permuted": (0.13, 0.26, 0.54, 0.48, 0.15),
}
sbc_module, coverage_module, tarp_module = (
    import_module(f"lfi_helpers.diagnostics.{name}") for name in ("sbc", "coverage", "tarp")
)


def miss(distance, column):
    """Bound the probability that a test does not reject, given the distance to uniform.

    It rejects where the empirical distance exceeds the critical one. Sampling brings it below
    ``distance`` by no more than a Kolmogorov-Smirnov statistic.
    """
    n = N - N // 5 if column == "tarp" else N  # a fifth teaches the reference
    return kstwo.sf(distance - kstwo.isf(ALARM / TESTS[column], n), n)


def far_points(n):
    """Draw reference points that know nothing of x."""
    return normal(MEAN[None], 4 * COVARIANCE, n, generator(9))[:, 0]


def p_values(posterior, seed=0):
    theta, x = joint(N, seed)
    return {
        "sbc": uniformity(sbc_ranks(posterior, theta, x), 99).p_value,
        "central": expected_coverage(posterior, theta, x, region="central").p_value,
        "hpd": expected_coverage(posterior, theta, x).p_value,
        "tarp": tarp(posterior, theta, x).p_value,
        "blind tarp": tarp(posterior, theta, x, reference=far_points(N)).p_value,
    }


def test_the_exact_posterior_passes_everything():
    for column, p in p_values(Gaussian()).items():
        assert p > ALARM, column


def test_what_is_certain_follows_from_the_distances():
    for name, row in DISTANCE.items():
        for column, distance in zip(COLUMNS, row, strict=True):
            if distance:
                assert miss(distance, column) < 1e-5, (name, column)


@pytest.mark.parametrize("name", WRONG)
def test_each_diagnostic_sees_what_it_can_and_nothing_else(name):
    """The prior, and what ignores a part of x, pass all but TARP with a reference from x."""
    seen = p_values(WRONG[name])
    for column, distance in zip(COLUMNS, DISTANCE[name], strict=True):
        if distance is not None:
            assert (seen[column] < ALARM) == (distance > 0), (column, seen[column])


# --- simulation-based calibration ---------------------------------------------------------------


def test_a_fault_in_one_dimension_is_reported_there():
    shift = torch.tensor([0.0, 0.7], **EXACT) * POSTERIOR.diagonal().sqrt()
    theta, x = joint(N)
    result = uniformity(sbc_ranks(Gaussian(centre=MEAN + shift), theta, x), 99)
    assert result.ks_p[0] > ALARM and result.chi2_p[0] > ALARM
    assert result.ks_p[1] < ALARM and result.chi2_p[1] < ALARM


def test_ranks_are_the_count_of_smaller_draws():
    draws = torch.tensor([[0.0, 9.0], [2.0, 7.0], [4.0, 5.0]], device="cpu")[:, None]  # (3, 1, 2)
    x = torch.zeros(1, 1, device="cpu")
    for theta, wanted in (
        ([-1, 10], [0, 3]),
        ([1, 8], [1, 2]),
        ([3, 6], [2, 1]),
        ([5, 4], [3, 0]),
    ):
        theta = torch.tensor([theta], device="cpu")
        assert sbc_ranks(draws, theta, x, 3).tolist() == [wanted]


def off_by_one(rank):
    """Return a rank that never reaches n: a usual slip of the index."""
    return lambda truth, draws, g: rank(truth, draws, g).clamp(max=len(draws) - 1)


def test_a_rank_off_by_one_is_seen_among_three_draws_only(monkeypatch):
    theta, x = joint(4000)
    assert sbc(Gaussian(), theta, x).p_value > ALARM
    monkeypatch.setattr(sbc_module, "rank", off_by_one(sbc_module.rank))
    result = sbc(Gaussian(), theta, x)
    # Among 99 draws the distribution moves by 0.01, inside one bin: chi2 does not change, and KS
    # gives 1e-9 with probability sf(isf(1e-9) - 0.01) < 1e-5.
    assert kstwo.sf(kstwo.isf(1e-9, 4000) - 0.01, 4000) < 1e-5
    assert result.uniformity.chi2_p.min() > ALARM / 2
    assert result.uniformity.ks_p.min() > 1e-9
    # Among three a quarter of the ranks moves: chi2 = 4000 (1 + 1) / 4 = 2000 +- 50.
    assert result.small_uniformity.p_value < 1e-100 and result.p_value < 1e-100


def without_ties(truth, draws, g):
    """Rank as if no two numbers were equal."""
    return (draws < truth).sum(0)


def test_ranks_are_uniform_for_a_discrete_theta_too(monkeypatch):
    """A coin of bias x ~ {.2, .5, .8} gives theta; the posterior draws from the same coin."""
    g = generator(0)
    x = torch.randint(3, (N, 1), generator=g, device="cpu") * 0.3 + 0.2
    theta = (torch.rand(N, 1, generator=g, device="cpu") < x).float()
    draws = (torch.rand(9, N, 1, generator=g, device="cpu") < x).float()
    assert uniformity(sbc_ranks(draws, theta, x, 9), 9).p_value > ALARM
    monkeypatch.setattr(sbc_module, "rank", without_ties)
    assert uniformity(sbc_ranks(draws, theta, x, 9), 9).p_value < ALARM


def test_uniformity_agrees_with_scipy():
    ranks = torch.randint(20, (500, 2), generator=generator(3), device="cpu")
    ranks[:60, 1] = 0
    result = uniformity(ranks, 19)
    for d in range(2):
        counts = np.bincount(ranks[:, d].numpy(), minlength=20)
        wanted = chisquare(counts)
        assert result.counts[:, d].tolist() == counts.tolist()
        assert result.chi2[d] == pytest.approx(wanted.statistic)
        assert result.chi2_p[d] == pytest.approx(wanted.pvalue)
        # the upper end of each rank's part of [0, 1]: the same distance, as KS takes it from above
        above = ((ranks[:, d].numpy()[:, None] <= np.arange(20)).mean(0)) - np.arange(1, 21) / 20
        assert result.ks[d] == pytest.approx(np.abs(above).max())
    assert result.p_value == pytest.approx(4 * min(*result.ks_p, *result.chi2_p))


@pytest.mark.parametrize(("n", "rows", "bins"), [(99, 4000, 20), (3, 4000, 4), (24, 4000, 20)])
def test_bins_share_the_ranks_as_equally_as_can_be(n, rows, bins):
    every = torch.arange(rows, device="cpu")[:, None] % (n + 1)
    result = uniformity(every, n)
    assert len(result.counts) == len(result.expected) == bins
    np.testing.assert_allclose(result.counts[:, 0], result.expected)
    assert result.chi2[0] == pytest.approx(0) and result.ks[0] == pytest.approx(0)


def test_the_distance_to_uniform_is_that_of_scipy():
    values = torch.rand(300, 2, generator=generator(4), dtype=torch.float64, device="cpu") ** 1.1
    distance, p = ks_uniform(values)
    for d in range(2):
        wanted = kstest(values[:, d].numpy(), "uniform", method="exact")
        assert distance[d] == pytest.approx(wanted.statistic)
        assert p[d] == pytest.approx(wanted.pvalue)


# --- coverage -----------------------------------------------------------------------------------


def test_credibilities_are_the_closed_form():
    """HPD: the chi2 probability of the Mahalanobis distance. Central: |2 Phi(z) - 1|."""
    theta, x = joint(40)
    n, q = 20_000, Gaussian()
    off = theta - q.mean(x)
    distance = torch.einsum("ni,ij,nj->n", off, torch.linalg.inv(POSTERIOR), off)
    band = 5.5 / np.sqrt(n)  # 40 x 3 gates of 5.5 deviations, each at most 1 / sqrt(n): 5e-6
    hpd = expected_coverage(q, theta, x, n).credibility[:, 0]
    np.testing.assert_allclose(hpd, chi2.cdf(distance, 2), atol=band)
    z = off / POSTERIOR.diagonal().sqrt()
    central = expected_coverage(q, theta, x, n, region="central").credibility
    np.testing.assert_allclose(central, abs(2 * norm.cdf(z) - 1), atol=band)


def unspread(ranks, n, g):
    """Return the level of a rank as rank / n: right for many draws only."""
    return ranks.double() / n


def test_levels_are_met_exactly_with_three_draws(monkeypatch):
    theta, x = joint(N)
    regions = ("hpd", "central")
    for region in regions:
        assert expected_coverage(Gaussian(), theta, x, 3, region=region).p_value > ALARM
    monkeypatch.setattr(coverage_module, "level", unspread)
    for region in regions:
        assert expected_coverage(Gaussian(), theta, x, 3, region=region).p_value < ALARM


def test_observed_coverage_is_the_share_of_credibilities_below_the_level():
    theta, x = joint(500)
    result = expected_coverage(Gaussian(), theta, x, region="central", levels=(0.3, 0.8))
    assert result.observed.shape == result.level_p.shape == (2, 2)
    for level, row in zip(result.levels, result.observed, strict=True):
        np.testing.assert_allclose(row, (result.credibility <= level).double().mean(0))


def test_a_truth_that_the_posterior_excludes_lies_in_no_region():
    theta, x = joint(30)
    draws = Gaussian().sample_batch(19, x, 0)

    def log_prob(t, x_obs):  # zero density at the truth, which comes first
        return torch.cat([torch.full((1,), -torch.inf, **EXACT), torch.zeros(19, **EXACT)])

    result = expected_coverage(draws, theta, x, 19, log_prob=log_prob)
    assert (result.credibility > 0.95).all() and not result.observed.any()


# --- TARP ---------------------------------------------------------------------------------------


def test_tarp_is_the_closed_form_in_one_dimension():
    """P(|t - r| < |theta - r|) for t ~ N(x, 1) is Phi(r + a - x) - Phi(r - a - x)."""
    g, n = generator(0), 20_000
    x = torch.randn(30, 1, generator=g, **EXACT)
    theta, points = (x + torch.randn(30, 1, generator=g, **EXACT) for _ in range(2))
    draws = x + torch.randn(n, 30, 1, generator=g, **EXACT)
    value = tarp(draws, theta, x, n, reference=points).value
    a = (theta - points).abs()
    wanted = norm.cdf(points + a - x) - norm.cdf(points - a - x)
    band = 5.5 / 2 / np.sqrt(n) + 1 / n  # 30 gates of 5.5 deviations: 1e-6
    np.testing.assert_allclose(value, wanted[:, 0], atol=band)


def truth_not_normalised(theta, draws, points, g):
    """Bring draws and reference to units of one deviation, and forget the truth."""
    unit = draws.flatten(0, 1).std(0)
    far = (theta - points / unit).square().sum(-1)
    return tarp_module.rank(far, ((draws - points) / unit).square().sum(-1), g)


def raw_units(theta, draws, points, g):
    """Add squared distances in whatever units the dimensions have."""
    far = (theta - points).square().sum(-1)
    return tarp_module.rank(far, (draws - points).square().sum(-1), g)


def test_a_wrong_normalisation_is_rejected(monkeypatch):
    """Its distance to uniform is .16 (160 000 pairs); at 6400 pairs .031 is critical."""
    theta, x = joint(N)
    assert tarp(Gaussian(), theta, x).p_value > ALARM
    monkeypatch.setattr(tarp_module, "_places", truth_not_normalised)
    assert tarp(Gaussian(), theta, x).p_value < ALARM


def test_values_do_not_depend_on_the_units_of_theta(monkeypatch):
    theta, x = joint(500)
    draws = Gaussian().sample_batch(99, x, 0)
    scale, shift = (torch.tensor(v, **EXACT) for v in ([1024.0, 0.25], [0.0, 0.0]))

    def values():
        one, other = tarp(draws, theta, x), tarp(draws * scale + shift, theta * scale + shift, x)
        return one.value, other.value

    one, other = values()
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    monkeypatch.setattr(tarp_module, "_places", raw_units)
    one, other = values()
    assert (one - other).abs().max() > 0.1


def test_the_reference_may_know_x_but_not_theta():
    theta, x = joint(N)
    good = Gaussian().mean(x)
    assert tarp(Gaussian(), theta, x, reference=good).p_value > ALARM
    assert tarp(Gaussian(), theta, x, reference=Gaussian().mean).value.shape == (N,)
    noise = torch.randn(theta.shape, generator=generator(5), **EXACT)
    leaky = theta + noise * POSTERIOR.diagonal().sqrt()
    assert tarp(Gaussian(), theta, x, reference=leaky).p_value < ALARM
