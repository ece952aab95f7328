"""The g-and-k distribution against its own quantiles, quadrature, and the normal distribution."""

import math

import pytest
import torch
from scipy import integrate, stats

from lfi_helpers.run import draw, generator, seeded
from lfi_helpers.simulators import gk as module
from lfi_helpers.simulators import load
from lfi_helpers.simulators.gk import Gk, InversionFailed

ALARM = 1e-6  # false-alarm probability of each statistical gate below
TRUTH, N = (3.0, 1.5, 2.0, 0.5), 100_000
CASES = [TRUTH, (0.0, 1.0, 0.0, 0.0), (-2.0, 0.3, -5.0, 0.1), (1.0, 5.0, 5.0, 1.0), (1, 1, 0, 0.7)]


def at(theta, n=1, dtype=torch.float64):
    return torch.tensor([theta], dtype=dtype).expand(n, 4)


def by_hand(z, theta):
    """The published form, with (1 - exp(-g z)) / (1 + exp(-g z)) for the hyperbolic tangent."""
    a, b, g, k = theta
    skew = (1 - math.exp(-g * z)) / (1 + math.exp(-g * z))
    return a + b * (1 + 0.8 * skew) * (1 + z**2) ** k * z


@pytest.mark.parametrize("theta", CASES)
def test_quantiles_are_those_of_the_published_form(theta):
    u = torch.linspace(1e-6, 1 - 1e-6, 101, dtype=torch.float64)
    x = Gk().quantile(u, at(theta, 101))[:, 0]
    expected = [by_hand(z, theta) for z in stats.norm.ppf(u.numpy())]
    torch.testing.assert_close(x, torch.tensor(expected).double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("theta", CASES)
def test_the_distribution_function_inverts_the_quantiles(theta):
    u = torch.logspace(-12, -0.31, 200, dtype=torch.float64)
    u = torch.cat([u, 1 - u])
    cdf = Gk().cdf(Gk().quantile(u, at(theta, 400)), at(theta, 400))
    torch.testing.assert_close(cdf, u, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("theta", CASES)
def test_the_density_integrates_to_one_and_to_the_distribution_function(theta):
    def density(x):
        x = torch.tensor([[x]], dtype=torch.float64)
        return Gk().log_prob(x, at(theta)).exp().item()

    ends = Gk().quantile(
        torch.tensor([1e-8, 0.3, 0.7, 1 - 1e-8], dtype=torch.float64), at(theta, 4)
    )[:, 0]
    shares = [
        integrate.quad(density, a, b, limit=200, epsabs=1e-9, points=[theta[0]])[0]
        for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    ]
    assert shares == pytest.approx([0.3, 0.4, 0.3], abs=1e-7)


def test_without_skew_and_tails_it_is_the_normal_distribution():
    x = torch.linspace(-30, 40, 200, dtype=torch.float64)[:, None]
    exact = stats.norm(3, 1.5).logpdf(x[:, 0].numpy())
    log_prob = Gk().log_prob(x, at((3.0, 1.5, 0.0, 0.0), 200))
    torch.testing.assert_close(log_prob, torch.from_numpy(exact), rtol=1e-12, atol=1e-12)


def distance(theta):
    """Kolmogorov-Smirnov distance of draws to the distribution function, over the critical one."""
    x = Gk().sample(at(theta, N), generator(0))
    u = Gk().cdf(x, at(theta, N)).numpy()
    return stats.kstest(u, "uniform").statistic / stats.kstwo.isf(ALARM, N)


@pytest.mark.parametrize("theta", CASES)
def test_draws_follow_the_distribution_function(theta):
    assert distance(theta) < 1


def test_a_bend_at_z_instead_of_half_of_it_is_rejected():
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    doubled = Gk().quantile(u, at((3.0, 1.5, 4.0, 0.5), 50))  # tanh(g z) for tanh(g z / 2)
    right = Gk().quantile(u, at(TRUTH, 50))
    assert (doubled - right).abs().max() > 0.1
    x = Gk().sample(at((3.0, 1.5, 4.0, 0.5), N), generator(0))
    statistic = stats.kstest(Gk().cdf(x, at(TRUTH, N)).numpy(), "uniform").statistic
    assert statistic > 3 * stats.kstwo.isf(ALARM, N)


def test_a_density_without_the_skew_of_the_slope_is_rejected():
    def wrong(z, g, k):  # the derivative of the hyperbolic tangent is forgotten
        return (
            (1 + 0.8 * torch.tanh(g * z / 2)) * (1 + z * z) ** (k - 1) * (1 + (2 * k + 1) * z * z)
        )

    x = torch.linspace(-10, 40, 20_001, dtype=torch.float64)[:, None]
    right = Gk().log_prob(x, at(TRUTH, len(x))).exp().sum() * 0.0025
    z = Gk().latent(x, at(TRUTH, len(x)))
    slope = 1.5 * wrong(z, torch.tensor(2.0).double(), torch.tensor(0.5).double())
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) / slope
    assert right == pytest.approx(1, abs=1e-3)
    assert abs(density.sum() * 0.0025 - 1) > 0.02


def test_gradient_and_hessian_are_those_of_finite_differences():
    x = Gk().sample(at(TRUTH, 8), generator(1))
    theta = draw(Gk().prior, 8, generator(2)).double().requires_grad_()
    with seeded(3):  # gradgradcheck draws directions
        assert torch.autograd.gradcheck(Gk().log_prob, (x.requires_grad_(), theta))
        assert torch.autograd.gradgradcheck(Gk().log_prob, (x, theta))


def test_one_polishing_step_alone_has_a_wrong_hessian():
    """One step z - (Q(z) - x) / Q'(z) at a z without derivatives: the curvature is incomplete."""
    x, theta = at(TRUTH)[:, :1] + 2, at(TRUTH).clone()

    def once(theta):
        z = Gk().latent(x, theta.detach())
        location, scale, g, k = theta.unbind(1)
        gap = module._bend(z, g, k) - (x[:, 0] - location) / scale
        z = z - gap / module._slope(z, g, k)
        return (-z.square() / 2 - (scale * module._slope(z, g, k)).log()).sum()

    right = torch.autograd.functional.hessian(lambda t: Gk().log_prob(x, t).sum(), theta)
    wrong = torch.autograd.functional.hessian(once, theta)
    assert (right - wrong).abs().max() > 0.1 * right.abs().max()


def test_the_score_has_mean_zero_at_the_truth():
    theta = at(TRUTH, N).clone().requires_grad_()
    x = Gk().sample(theta.detach(), generator(3))
    (score,) = torch.autograd.grad(Gk().log_prob(x, theta).sum(), theta)
    pulls = score.mean(0) / (score.std(0) / N**0.5)
    assert pulls.abs().max() < stats.norm.isf(ALARM / 8)


def test_far_tails_are_inverted():
    y = torch.tensor([-1e9, -1e3, -1e-9, 0.0, 1e-9, 1e3, 1e9], dtype=torch.float64)[:, None]
    for g in (-30.0, 0.0, 5.0, 30.0):
        for k in (0.0, 0.5, 3.0):
            theta = at((0.0, 1.0, g, k), 7)
            back = module._bend(Gk().latent(y, theta), *theta[:, 2:].T)
            torch.testing.assert_close(back, y[:, 0], rtol=1e-9, atol=1e-12)


def test_an_inversion_without_end_says_how_far_it_came(monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 2)
    with pytest.raises(InversionFailed, match="1 of 2 not inverted in 2 steps, the first with"):
        Gk().log_prob(torch.tensor([[3.0], [90.0]]), at(TRUTH, 2, torch.float32))


def test_the_same_generator_gives_the_same_noise_everywhere():
    box = Gk()
    here, there = (box.sample(at(t, 100), generator(4)) for t in (TRUTH, (0.0, 0.5, 3.0, 0.1)))
    z, same = box.latent(here, at(TRUTH, 100)), box.latent(there, at((0.0, 0.5, 3.0, 0.1), 100))
    torch.testing.assert_close(z, same, rtol=1e-9, atol=1e-10)


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.tensor([TRUTH]).repeat(30, 1)

    def everything():
        box = load("gk")
        x = box.sample(theta, generator(6))
        return [x, box.log_prob(x, theta), box.cdf(x, theta), box.quantile(theta[:, 3], theta)]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(4)), r"theta: expected shape \(N, 4\), got \(4,\)"),
        (lambda b: b.sample(at((0, 0, 0, 0))), "theta: expected .* with B > 0 and k >= 0, got"),
        (lambda b: b.sample(at((0, 1, 0, -0.1))), "theta: expected .* with B > 0 and k >= 0"),
        (lambda b: b.sample(at((0, 1, math.nan, 0))), "theta: expected finite numbers"),
        (lambda b: b.log_prob(torch.zeros(3, 2), at(TRUTH, 3)), r"x: expected shape \(N, 1\)"),
        (lambda b: b.log_prob(torch.zeros(3, 1), at(TRUTH, 2)), "x and theta: expected equally"),
        (lambda b: b.cdf(torch.full((1, 1), math.inf), at(TRUTH)), "x: expected finite numbers"),
        (lambda b: b.quantile(torch.ones(1), at(TRUTH)), "u: expected shares 0 < u < 1"),
        (lambda b: b.quantile(torch.ones(2) / 2, at(TRUTH)), "u and theta: expected equally"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Gk())
