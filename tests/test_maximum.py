"""Profiled and fixed fits against closed forms: a linear model, Student's t, learned ratios."""

import pytest
import torch
from scipy import optimize

from lfi_helpers.classifiers import fit_parametrised, log_likelihood
from lfi_helpers.likelihoods import (
    FitFailed,
    Maximum,
    gradient_maximum,
    grid_maximum,
    over_events,
    profile_fit,
)
from lfi_helpers.run import generator
from lfi_helpers.simulators import load

MIX = torch.tensor([[1.0, 0.8], [0.3, 1.0]], dtype=torch.float64)  # the mean is MIX theta
LOW, HIGH = torch.tensor([-3.0, -3.0]), torch.tensor([3.0, 3.0])
TRUTH = torch.tensor([0.5, -0.3], dtype=torch.float64)
T, N = 40, 25


def events(seed=0):
    noise = torch.randn(T, N, 2, generator=generator(seed), dtype=torch.float64)
    return MIX @ TRUTH + noise


def log_prob(x, theta):
    return -(x - theta @ MIX.T).square().sum(1) / 2


def test_the_free_fit_is_the_inverse_and_its_errors_those_of_the_matrix():
    x, start = events(), TRUTH.expand(T, 2)
    fit = profile_fit(over_events(log_prob, x), start, LOW, HIGH)
    exact = torch.linalg.solve(MIX, x.mean(1).T).T
    torch.testing.assert_close(fit.theta, exact, rtol=0, atol=1e-7)
    variance = (N * MIX.T @ MIX).inverse().diagonal()
    torch.testing.assert_close(fit.error, variance.sqrt().expand(T, 2), rtol=1e-9, atol=0)
    statistic = (exact[:, 0] - TRUTH[0]).square() / variance[0]
    torch.testing.assert_close(fit.statistic, statistic, rtol=1e-6, atol=1e-9)
    other = profile_fit(over_events(log_prob, x), start, LOW, HIGH, interest=(1,))
    statistic = (exact[:, 1] - TRUTH[1]).square() / variance[1]
    torch.testing.assert_close(other.statistic, statistic, rtol=1e-6, atol=1e-9)


def test_the_fixed_fit_ignores_the_nuisance_and_is_another_one():
    x, wrong = events(), torch.tensor([0.5, 0.2], dtype=torch.float64).expand(T, 2)
    fit = profile_fit(over_events(log_prob, x), wrong, LOW, HIGH, held=(1,))
    column = MIX[:, 0]
    exact = (x.mean(1) - wrong[:, 1:] * MIX[:, 1]) @ column / column.square().sum()
    torch.testing.assert_close(fit.theta[:, 0], exact, rtol=0, atol=1e-7)
    assert (fit.theta[:, 1] == 0.2).all() and (fit.error[:, 1] == 0).all()
    variance = 1 / (N * column.square().sum())
    torch.testing.assert_close(fit.error[:, 0], variance.sqrt().expand(T), rtol=1e-9, atol=0)
    torch.testing.assert_close(fit.statistic, (exact - 0.5).square() / variance, rtol=1e-6, atol=0)
    free = profile_fit(over_events(log_prob, x), wrong, LOW, HIGH)
    assert (free.error[:, 0] / fit.error[:, 0]).min() > 1.3  # what not knowing nu costs


def test_the_statistic_of_a_mean_with_unknown_variance_is_that_of_student():
    x = 0.4 + 1.3 * torch.randn(T, 12, 1, generator=generator(1), dtype=torch.float64)

    def normal(x, theta):
        return -(((x[:, 0] - theta[:, 0]) / theta[:, 1]).square() / 2 + theta[:, 1].log())

    start, box = torch.tensor([[0.4, 1.0]]).expand(T, 2), torch.tensor([[-4.0, 0.1], [4.0, 9.0]])
    fit = profile_fit(over_events(normal, x), start, *box)
    mean, variance = x[:, :, 0].mean(1), x[:, :, 0].var(1, unbiased=False)
    exact = 12 * torch.log1p((mean - 0.4).square() / variance)
    torch.testing.assert_close(fit.statistic, exact, rtol=1e-5, atol=1e-8)
    not_profiled = profile_fit(over_events(normal, x), start, *box, held=(1,)).statistic
    assert (not_profiled - exact).abs().max() > 1


def test_the_grid_finds_the_best_of_its_points_and_holds_an_axis_of_one_value():
    x = events(2)
    axes = [torch.linspace(-1, 2, 31), torch.linspace(-2, 1, 31)]
    log_l = over_events(log_prob, x)
    best = grid_maximum(log_l, axes, T)
    rows = torch.arange(T)
    for a in axes[0]:
        for b in axes[1][::6]:
            point = torch.stack([a, b]).double().expand(T, 2)
            assert (log_l(point, rows) <= best.log_l).all()
    climbed = gradient_maximum(log_l, best.theta, LOW, HIGH)
    assert (climbed.log_l >= best.log_l).all()
    assert (climbed.theta - best.theta).abs().max() < 0.2  # correlated: not the nearest point
    held = grid_maximum(log_l, [axes[0][15:16], axes[1]], T)
    assert (held.theta[:, 0] == axes[0][15].double()).all()
    assert (held.log_l <= best.log_l).all()


def test_exact_fits_of_a_simulator_are_those_of_an_independent_minimiser():
    gk, truth = load("gk"), torch.tensor([3.0, 1.5, 2.0, 0.5], dtype=torch.float64)
    x = gk.sample(truth.expand(3 * 80, 4), generator(3)).view(3, 80, 1)
    log_l = over_events(gk.log_prob, x)
    low, high = torch.tensor([1.0, 0.5, 0.1, 0.0]), torch.tensor([5.0, 4.0, 9.0, 2.0])
    best = gradient_maximum(log_l, truth.expand(3, 4), low, high, held=(3,))
    assert isinstance(best, Maximum) and (best.theta[:, 3] == 0.5).all()
    for t in range(3):

        def loss(p, t=t):
            theta = torch.tensor([[*p, 0.5]], dtype=torch.float64)
            return -log_l(theta, torch.tensor([t])).item()

        other = optimize.minimize(
            loss, truth[:3].numpy(), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}
        )
        assert best.log_l[t].item() == pytest.approx(-other.fun, abs=1e-7)
        assert best.theta[t, :3].tolist() == pytest.approx(other.x.tolist(), abs=1e-4)


def gaussians(n, seed):
    """Return theta ~ U(-2, 2)^2, x ~ N(theta, 1) at each, and draws of N(0, 1)."""
    hand = generator(seed)
    theta = 4 * torch.rand(n, 2, generator=hand) - 2
    x0, x1 = (torch.randn(n, 2, generator=hand) for _ in range(2))
    return theta, theta + x0, x1


@pytest.fixture(scope="module")
def learned():
    settings = {"hidden": (16,), "max_epochs": 4, "device": "cpu", "progress": False}
    rows = gaussians(30_000, 4)
    return {kind: fit_parametrised(*rows, kind=kind, **settings) for kind in ("bilinear", "mlp")}


@pytest.mark.parametrize("kind", ["bilinear", "mlp"])
def test_the_sum_over_events_is_that_of_the_ratio(learned, kind):
    theta, x, x_ref = gaussians(30, 5)
    theta = 0.9 * theta
    ratio, rows = learned[kind], torch.arange(30) % 5
    log_l = log_likelihood(ratio, x.view(5, 6, 2))
    by_hand = torch.stack(
        [ratio(t.expand(6, 2), x.view(5, 6, 2)[r]).sum() for t, r in zip(theta, rows, strict=True)]
    )
    torch.testing.assert_close(log_l(theta, rows).float(), by_hand, rtol=1e-4, atol=1e-4)
    normalised = log_likelihood(ratio, x.view(5, 6, 2), x_ref)
    mean = ratio.table(theta, x_ref).exp().mean(1).log()
    torch.testing.assert_close(
        normalised(theta, rows).float(), by_hand - 6 * mean, rtol=1e-4, atol=1e-4
    )


def test_learned_fits_agree_with_the_exact_ones(learned):
    """For events of N(theta, 1) the exact estimate is the mean, its error 1 / sqrt(20)."""
    x = 0.5 + torch.randn(50, 20, 2, generator=generator(6))
    x_ref = torch.randn(2000, 2, generator=generator(7))
    log_l = log_likelihood(learned["bilinear"], x, x_ref)
    fit = profile_fit(log_l, torch.full((50, 2), 0.5), LOW / 1.6, HIGH / 1.6)
    pulls = (fit.theta - x.mean(1)) * 20**0.5
    assert pulls.square().mean().sqrt() < 0.5
    assert (fit.error * 20**0.5).median() == pytest.approx(1, abs=0.2)


def test_normalising_takes_away_what_the_network_adds_to_every_event(learned):
    ratio = learned["bilinear"]
    x = 0.5 + torch.randn(50, 20, 2, generator=generator(8))
    x_ref = torch.randn(2000, 2, generator=generator(9))
    distorted = type(ratio)(Distorted(ratio.module), ratio.low, ratio.high)
    start, box = torch.full((50, 2), 0.5), (LOW / 1.6, HIGH / 1.6)
    (right, raw), (wrong, moved) = [
        [profile_fit(log_likelihood(r, x, ref), start, *box).theta[:, 0] for ref in (x_ref, None)]
        for r in (ratio, distorted)
    ]
    torch.testing.assert_close(wrong, right, rtol=0, atol=1e-5)
    assert (moved - raw).mean() == pytest.approx(0.2, abs=0.05)  # over an information of one


class Distorted(torch.nn.Module):
    """A bilinear network whose intercept has 0.2 theta_1 too much."""

    kind = "bilinear"

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.of_x, self.standard_x = module.of_x, module.standard_x
        self.standard_theta = torch.nn.Identity()

    def of_theta(self, theta):
        b = self.module.of_theta(self.module.standard_theta(theta))
        return torch.cat([b[:, :-1], b[:, -1:] + 0.2 * theta[:, :1]], 1)


def test_fits_lean_on_no_default_device(learned, same_when_poisoned):
    x, x_ref = torch.randn(3, 50, 2, generator=generator(10)), torch.zeros(4, 2)
    start = torch.zeros(3, 2)

    def fits():
        log_l = log_likelihood(learned["bilinear"], x, x_ref)
        fit = profile_fit(log_l, start, LOW / 1.6, HIGH / 1.6)
        return [*fit, grid_maximum(log_l, [LOW / 2, HIGH / 2], 3).theta]

    same_when_poisoned(fits)


def test_a_saddle_gives_no_error():
    def saddle(theta, rows):
        return theta[:, 0].square() - theta[:, 1].square()

    fit = profile_fit(saddle, torch.full((2, 2), 0.1), LOW, HIGH)
    torch.testing.assert_close(fit.theta, torch.tensor([[3.0, 0.0]]).double().expand(2, 2))
    assert fit.error.isnan().all()


START = torch.zeros(1, 2)


def flat(theta, rows):
    return -theta.square().sum(1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda _: gradient_maximum(flat, START + 9, LOW, HIGH), "start: expected values between"),
        (
            lambda _: gradient_maximum(flat, START[:, :1], LOW, HIGH),
            r"start: expected shape \(N, 2",
        ),
        (lambda _: gradient_maximum(flat, START, LOW, HIGH, (2,)), "held: expected coordinates 0"),
        (
            lambda _: grid_maximum(lambda t, r: t[:, 0] * torch.nan, [LOW, HIGH], 2),
            "log_likelihood at its best points: expected finite numbers, got 2",
        ),
        (lambda _: over_events(log_prob, torch.zeros(3, 2)), r"x: expected shape \(T, n, L\)"),
        (lambda r: log_likelihood(r, torch.zeros(3, 2)), r"x: expected shape \(T, n, L\), got"),
        (lambda r: log_likelihood(r, torch.full((1, 1, 2), torch.inf)), "x: expected finite"),
        (lambda r: log_likelihood(r, torch.zeros(1, 3, 2), START[:, :1]), r"x_ref: expected shap"),
        (
            lambda r: log_likelihood(r, torch.zeros(1, 3, 2))(START + 5, torch.tensor([0])),
            "theta: expected values between .* as trained on",
        ),
    ],
)
def test_wrong_input_is_named(learned, call, message):
    with pytest.raises(ValueError, match=message):
        call(learned["bilinear"])


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr("lfi_helpers.likelihoods.newton.MAX_STEPS", 1)
    with pytest.raises(FitFailed, match="did not converge"):
        gradient_maximum(lambda t, r: -t.pow(4).sum(1), START + 1, LOW, HIGH)
