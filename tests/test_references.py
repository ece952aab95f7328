"""The draws behind reference posteriors, against posteriors in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import generator
from lfi_helpers.simulators import references
from lfi_helpers.simulators.references import Guide, ReferenceFailed, draw_posterior, thin

ALARM = 1e-6  # false-alarm probability of each statistical gate below
N = 5000


def distance(draws, cdf):
    """Return the Kolmogorov-Smirnov distance of one column of draws to a distribution."""
    return stats.kstest(draws.double().numpy(), cdf).statistic


BOUND = stats.kstwo.isf(ALARM, N)


def uniform_for_beta(hand, power=1.0):
    """Propose uniform draws for the density 6 u (1 - u)."""

    def propose(m):
        u = torch.rand(m, 1, generator=hand, dtype=torch.float64)
        return u, power * (u * (1 - u)).log()[:, 0]

    return propose


def test_thinning_turns_the_proposal_into_the_target():
    hand = generator(0)
    draws = thin(uniform_for_beta(hand), N, hand)
    assert draws.shape == (N, 1)
    assert distance(draws[:, 0], stats.beta(2, 2).cdf) < BOUND
    wrong = thin(uniform_for_beta(hand, power=0.3), N, hand)
    assert distance(wrong[:, 0], stats.beta(2, 2).cdf) > BOUND


def test_a_larger_weight_judges_earlier_draws_again():
    """A thousand draws of weight 1 are kept until ten of weight 10 come: a tenth of them stays."""
    chunks = iter([(0.0, 1.0, 1000), (1.0, 10.0, 10)])

    def propose(m):
        value, weight, rows = next(chunks, (2.0, 1.0, 1000))
        return torch.full((rows, 1), value), torch.full((rows,), math.log(weight))

    draws = thin(propose, 2000, generator(1))
    early = int((draws == 0).sum())
    low, high = stats.binom(1000, 0.1).interval(1 - ALARM)
    assert low <= early <= high
    assert int((draws == 1).sum()) == 10


def test_a_guide_is_the_mixture_it_says():
    centres = torch.randn(7, 3, generator=generator(2), dtype=torch.float64)
    factor = torch.tensor([[1.0, 0, 0], [0.5, 2, 0], [0.1, -0.3, 0.7]], dtype=torch.float64)
    z = torch.randn(5, 3, generator=generator(3), dtype=torch.float64) * 3
    shape, share, core = (factor @ factor.mT).numpy(), references.BROAD, 0.4
    density = np.zeros(5)
    for centre in centres.numpy():
        for weight, scale in ((share, 1.0), (1 - share, core)):
            t = stats.multivariate_t(centre, shape * scale**2, df=references.DEGREES)
            density += weight * t.pdf(z.numpy())
    difference = Guide(centres, factor, core).log_prob(z).numpy() - np.log(density)
    np.testing.assert_allclose(difference, difference[0], atol=1e-12)


def test_a_guide_draws_from_its_density():
    """The distance from the only centre, in units of the width, is known for each scale."""
    guide = Guide(torch.zeros(1, 2, dtype=torch.float64), 2 * torch.eye(2).double(), 0.3)
    radius = guide.sample(N, generator(4)).norm(dim=1)

    def cdf(r):
        f = stats.f(2, references.DEGREES)
        return sum(
            share * f.cdf((r / (2 * scale)) ** 2 / 2)
            for share, scale in ((references.BROAD, 1.0), (1 - references.BROAD, 0.3))
        )

    assert distance(radius, cdf) < BOUND


def gaussian_posterior(y, noise):
    """Return mean and deviation of z ~ N(0, 1) after y = z + noise e."""
    return y / (1 + noise**2), noise / math.sqrt(1 + noise**2)


@pytest.mark.parametrize("noise", [1.0, 0.01])
def test_an_annealed_posterior_is_the_closed_form(noise):
    y = torch.tensor([1.5, -0.5, 0.0], dtype=torch.float64)
    z = draw_posterior(lambda z: -0.5 * ((z - y) / noise).square().sum(1), 3, N, generator(5))
    for i in range(3):
        mean, deviation = gaussian_posterior(y[i].item(), noise)
        assert distance(z[:, i], stats.norm(mean, deviation).cdf) < BOUND


def test_two_separate_modes_keep_their_weights():
    """L = exp(-50 (z - 1)^2) + 2 exp(-50 (z + 1)^2): the prior is even, so the odds are 1 : 2."""

    def log_likelihood(z):
        up, down = (-50 * (z[:, 0] - centre) ** 2 for centre in (1, -1))
        return torch.logaddexp(up, down + math.log(2))

    z = draw_posterior(log_likelihood, 1, N, generator(6))[:, 0]
    assert abs(int((z > 0).sum()) - N / 3) < stats.norm.isf(ALARM / 2) * math.sqrt(N * 2 / 9)
    mean, deviation = gaussian_posterior(1.0, 0.1)
    up = z[z > 0]
    cdf = stats.norm(mean, deviation).cdf
    assert distance(up, cdf) < stats.kstwo.isf(ALARM, len(up))


def test_a_guide_that_says_a_wrong_density_is_rejected(monkeypatch):
    """A tilt of the density by half a unit, or the prior counted twice, is seen."""
    y = torch.tensor([1.5], dtype=torch.float64)
    cdf = stats.norm(*gaussian_posterior(1.5, 1.0)).cdf

    def log_likelihood(z):
        return -0.5 * (z - y).square().sum(1)

    right = Guide.log_prob
    monkeypatch.setattr(Guide, "log_prob", lambda guide, z: right(guide, z) - 0.5 * z[:, 0])
    assert distance(draw_posterior(log_likelihood, 1, N, generator(7))[:, 0], cdf) > BOUND
    monkeypatch.setattr(Guide, "log_prob", lambda guide, z: right(guide, z) + z[:, 0] ** 2 / 2)
    assert distance(draw_posterior(log_likelihood, 1, N, generator(8))[:, 0], cdf) > BOUND


def test_a_number_that_is_none_has_no_draws():
    """NaN, as from an equation that overflows, counts as zero likelihood."""
    z = draw_posterior(lambda z: torch.where(z[:, 0] < 0, torch.nan, 0.0), 1, 2000, generator(9))
    assert (z > 0).all()
    bound = stats.kstwo.isf(ALARM, 2000)
    assert stats.kstest(z[:, 0].numpy(), stats.halfnorm.cdf).statistic < bound


def test_what_cannot_be_drawn_is_an_error_that_says_how_far_it_came(monkeypatch):
    hand = generator(10)

    def nothing(m):
        return torch.zeros(m, 1, dtype=torch.float64), torch.full((m,), -math.inf).double()

    with pytest.raises(ReferenceFailed, match=r"expected 5 draws within 300000 .*got 0 of 3\d+"):
        thin(nothing, 5, hand)

    def rare(m):
        u = torch.rand(m, 1, generator=hand, dtype=torch.float64)
        return u, torch.where(u[:, 0] < 1e-3, 0.0, -math.inf)

    with pytest.raises(ReferenceFailed, match="expected 50000 draws within 300000 proposals"):
        thin(rare, 50_000, hand, max_draws=300_000)
    monkeypatch.setattr(references, "MAX_SECONDS", 0.0)
    with pytest.raises(ReferenceFailed, match="and 0 s, got 0 of 0"):
        thin(rare, 5, hand)
    with pytest.raises(ReferenceFailed, match="expected the likelihood's full power .*got power"):
        draw_posterior(lambda z: -1e6 * z.square().sum(1), 2, 10, hand)
    with pytest.raises(ReferenceFailed, match="no likelihood at any of 500 prior draws"):
        draw_posterior(lambda z: torch.full_like(z[:, 0], -math.inf), 1, 10, hand)
    with pytest.raises(ReferenceFailed, match="lie in fewer than 2 directions"):
        draw_posterior(
            lambda z: torch.where(z[:, 0] > z[:, 0].max() - 1e-9, 0.0, -math.inf), 2, 10, hand
        )


def test_no_default_device_is_used(same_when_poisoned):
    same_when_poisoned(lambda: draw_posterior(lambda z: -z.square().sum(1), 2, 100, generator(11)))
