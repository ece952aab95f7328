"""The mixture of the CARL paper against quadrature, distribution function and Fisher bound."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstwo, norm

from lfi_helpers.run import generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.carl_mixture import DEVIATIONS, MEANS, CarlMixture

ALARM = 1e-6  # false-alarm probability of each statistical gate below
TRUTH = 0.05


@pytest.fixture
def mixture():
    return load("carl_mixture")


def column(value, n=1):
    return torch.full((n, 1), value, dtype=torch.float64)


def density(mixture, x, gamma):
    return mixture.log_prob(column(x), column(gamma)).exp().item()


def expectation(mixture, function, gamma=TRUTH):
    """Integrate function(x (N, 1)) p(x | gamma) by the trapezoidal rule: exact to 1e-10 here."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    weight = mixture.log_prob(x, torch.full_like(x, gamma)).exp() * 1e-3
    return (function(x) * weight).sum().item()


def distribution_function(x, gamma):
    weights = (0.5 * (1 - gamma), 0.5 * (1 - gamma), gamma)
    return sum(w * norm.cdf(x, m, s) for w, m, s in zip(weights, MEANS, DEVIATIONS, strict=True))


def score(mixture, x, gamma):
    theta = torch.full_like(x, gamma).requires_grad_()
    return torch.autograd.grad(mixture.log_prob(x, theta).sum(), theta)[0][:, 0]


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.2, 1.0])
def test_the_density_integrates_to_one(mixture, gamma):
    total = quad(lambda x: density(mixture, x, gamma), -20, 20, points=[-2, 0, 1], limit=200)[0]
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.2, 1.0])
def test_the_sampler_follows_the_distribution_function(mixture, gamma):
    n = 200_000
    x = np.sort(mixture.sample(torch.full((n, 1), gamma), generator(0))[:, 0].double().numpy())
    assert distance(x, gamma) < kstwo.isf(ALARM, n)


def distance(x, gamma):
    """Return the Kolmogorov-Smirnov distance of sorted x to p(x | gamma)."""
    height, n = distribution_function(x, gamma), len(x)
    return max((np.arange(1, n + 1) / n - height).max(), (height - np.arange(n) / n).max())


def test_samplers_with_a_wrong_weight_or_a_variance_for_a_deviation_are_rejected(mixture):
    n, hand = 200_000, generator(0)
    k = torch.multinomial(torch.tensor([0.45, 0.5, 0.05]), n, True, generator=hand)
    noise = torch.randn(n, generator=hand)
    mean, deviation = torch.tensor(MEANS), torch.tensor(DEVIATIONS)
    one_sided = mean[k] + deviation[k] * noise  # the signal replaces one background only
    k = torch.multinomial(torch.tensor([0.475, 0.475, 0.05]), n, True, generator=hand)
    squared = mean[k] + deviation[k].square() * noise
    for wrong in (one_sided, squared):
        x = np.sort(wrong.double().numpy())
        assert distance(x, TRUTH) > kstwo.isf(ALARM, n)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_component_is_drawn_from_its_gaussian(mixture, k):
    n = 100_000
    x = np.sort(mixture.draw_component(k, n, generator(k))[:, 0].double().numpy())
    height = norm.cdf(x, MEANS[k], DEVIATIONS[k])
    assert np.abs(height - np.arange(n) / n).max() < kstwo.isf(ALARM, n) + 1 / n
    grid = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    expected = norm.logpdf(grid[:, 0].numpy(), MEANS[k], DEVIATIONS[k])
    torch.testing.assert_close(
        mixture.component_log_prob(grid)[:, k], torch.from_numpy(expected), rtol=1e-12, atol=1e-12
    )


def test_the_mean_of_the_ratio_is_one_under_its_denominator(mixture):
    for gamma in (0.02, TRUTH, 0.2):
        mean = expectation(
            mixture, lambda x, g=gamma: mixture.log_ratio(x, torch.full_like(x, g)).exp(), 0.0
        )
        assert mean == pytest.approx(1, abs=1e-9)


def test_the_largest_log_ratio_and_the_error_of_the_fraction(mixture):
    """At gamma = 0.05: max |log r| = 0.34; 0.00676 by Fisher's information of 5000 events."""
    x = torch.linspace(-12, 12, 24_001, dtype=torch.float64)[:, None]
    log_ratio = mixture.log_ratio(x, torch.full_like(x, TRUTH))
    assert log_ratio.abs().max().item() == pytest.approx(0.341, abs=1e-3)
    assert x[log_ratio.argmax()].item() == pytest.approx(1.0, abs=0.1)  # where the signal sits
    information = expectation(mixture, lambda x: score(mixture, x, TRUTH).square())
    assert (5000 * information) ** -0.5 == pytest.approx(0.00676, abs=5e-6)


def test_the_score_is_the_closed_form_and_has_mean_zero(mixture):
    """It is (c_2 - (c_0 + c_1) / 2) / p."""
    x = torch.linspace(-8, 8, 401, dtype=torch.float64)[:, None]
    for gamma in (0.0, TRUTH, 0.2):
        c = mixture.component_log_prob(x).exp()
        p = mixture.log_prob(x, torch.full_like(x, gamma)).exp()
        closed = (c[:, 2] - (c[:, 0] + c[:, 1]) / 2) / p
        torch.testing.assert_close(score(mixture, x, gamma), closed, rtol=1e-10, atol=1e-10)
        mean = expectation(mixture, lambda x, g=gamma: score(mixture, x, g), gamma)
        assert mean == pytest.approx(0, abs=1e-9)


def test_a_closed_form_without_the_background_term_is_rejected(mixture):
    """c_2 / p forgets that signal replaces background: its mean is one, not zero."""
    mean = expectation(
        mixture,
        lambda x: (
            mixture.component_log_prob(x)[:, 2].exp()
            / mixture.log_prob(x, torch.full_like(x, TRUTH)).exp()
        ),
    )
    assert mean == pytest.approx(1, abs=1e-9)


def test_the_log_ratio_is_signal_over_background(mixture):
    x = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    log_ratio = mixture.log_ratio(x, column(TRUTH, 2))
    assert log_ratio[0] > 0.3  # on the signal's peak
    assert log_ratio[1] == pytest.approx(np.log(1 - TRUTH), abs=1e-3)  # far from the signal


def test_far_tails_stay_finite_in_float32(mixture):
    x, theta = torch.tensor([[-40.0], [60.0]]), torch.tensor([[0.0], [0.1]])
    theta.requires_grad_()
    log_prob = mixture.log_prob(x, theta)
    widest = norm.logpdf([-40, 60], MEANS[1], DEVIATIONS[1]) + np.log([0.5, 0.45])
    torch.testing.assert_close(log_prob.detach(), torch.tensor(widest, dtype=torch.float32))
    log_prob.sum().backward()
    assert torch.isfinite(theta.grad).all()


def test_no_default_device_is_used(mixture, same_when_poisoned):
    theta = torch.full((64, 1), TRUTH)
    same_when_poisoned(lambda: mixture.draw_component(1, 64, generator(0)))
    same_when_poisoned(lambda: CarlMixture().log_ratio(mixture.sample(theta, generator(0)), theta))


def test_wrong_arguments_are_refused(mixture):
    with pytest.raises(ValueError, match="theta: expected a fraction 0 <= gamma <= 1"):
        mixture.sample(column(-0.01))
    with pytest.raises(ValueError, match=r"theta: expected shape \(N, 1\), got \(3,\)"):
        mixture.sample(torch.zeros(3))
    with pytest.raises(ValueError, match="x: expected finite numbers, got 1 NaN"):
        mixture.log_prob(column(torch.nan), column(TRUTH))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        mixture.log_prob(column(0.0, 3), column(TRUTH, 2))
    with pytest.raises(ValueError, match="k: expected component 0, 1 or 2, got 3"):
        mixture.draw_component(3, 10)
