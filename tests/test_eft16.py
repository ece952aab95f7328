"""The 16-dimensional effective field theory against quadrature, closed forms and its own draws."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.eft16 import ALPHA, BETA, Eft16

ALARM = 1e-6  # false-alarm probability of each statistical gate below
POINTS = [(0.0, 0.0), (0.4, -0.3), (-0.5, 0.5), (0.0, 0.45)]
N = 60_000


def at(theta, n=1):
    return torch.tensor([theta], dtype=torch.float64).expand(n, 2)


def squared_given(z, theta, first):
    """Return E[M^2] given z_0 (first = 0) or z_2 (first = 2) under N(z), by hand."""
    v = theta[0] * np.array(ALPHA) + theta[1] * np.array(BETA)
    own, other = (theta[0], theta[1]) if first == 0 else (theta[1], theta[0])
    rest = sum(v**2) - v[first] ** 2 - v[first + 1] ** 2
    return (1 + v[first] * z) ** 2 + (v[first + 1] + 0.3 * own * z) ** 2 + rest + 0.09 * other**2


def marginal_excess(z, theta, first):
    """Chi2 of drawn z_first against its exact marginal in 40 bins, over its critical value."""
    edges = np.linspace(-4, 4, 41)
    fine = np.linspace(-9, 9, 18_001)
    density = stats.norm.pdf(fine) * squared_given(fine, theta, first)
    height = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    height = np.interp(edges, fine, height / height[-1])
    wanted = len(z) * np.diff(np.concatenate([[0], height, [1]]))
    seen = np.bincount(np.searchsorted(edges, z), minlength=42)
    filled = wanted > 10
    chi2 = ((seen - wanted)[filled] ** 2 / wanted[filled]).sum()
    return chi2 / stats.chi2.isf(ALARM, filled.sum() - 1)


def in_errors(values, truth=0.0):
    """Return how many standard errors the mean of values is from truth, over the critical one."""
    z = abs(values.mean() - truth) / (values.std() / len(values) ** 0.5)
    return float(z) / stats.norm.isf(ALARM / 2)


def probes(x):
    """Functions of x with which a difference of two conditional means would correlate."""
    return [torch.ones(len(x)), x[:, 0], x[:, 2] * x[:, 3], x[:, 0] * x[:, 1], x @ x.new(BETA)]


# --- the sampler


@pytest.mark.parametrize("theta", POINTS)
def test_the_latent_draws_follow_their_exact_marginals(theta):
    z = Eft16().latent(at(theta, N).float(), generator(0)).double().numpy()
    for first in (0, 2):
        assert marginal_excess(z[:, first], theta, first) < 1


def test_draws_that_are_all_accepted_are_rejected():
    eft, theta = Eft16(), (0.4, -0.3)
    z, accepted = eft._propose(at(theta, N), generator(1))
    assert marginal_excess(z[:, 0].numpy(), theta, 0) > 2
    assert marginal_excess(z[accepted][:, 0].numpy(), theta, 0) < 1
    without_coupling = eft.latent(at((0.0, 0.0), N), generator(1))
    assert marginal_excess(without_coupling[:, 0].numpy(), theta, 0) > 2


@pytest.mark.parametrize("theta", POINTS)
def test_a_quarter_is_accepted_everywhere(theta):
    _, accepted = Eft16()._propose(at(theta, N), generator(2))
    assert in_errors(accepted.double(), 0.25) < 1


def test_rows_keep_their_theta():
    """Rejected rows wait: if they came back in another order, the halves would be mixed."""
    theta = torch.cat([at((0.5, 0.5), N), at((-0.5, -0.5), N)])
    mean = Eft16().latent(theta, generator(3))[:, 1].reshape(2, N).mean(1)
    rate = Eft16().cross_section(theta[[0, -1]])
    # 2 (v_1 + 0.3 theta_1 v_0) / Z
    exact = 2 * torch.tensor([0.2 + 0.015, -0.2 + 0.015], dtype=torch.float64) / rate
    assert (mean - exact).abs().max() < 6 * (3 / N) ** 0.5  # sd < sqrt(3): a chance of 2e-9
    assert (mean.flip(0) - exact).abs().max() > 0.3


# --- the exact likelihood


def enumerated_ratio(x, theta):
    """E[M^2 / Z | x] by three Gauss-Hermite nodes in each of six directions: exact for M^2."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    units = np.zeros((6, 16))
    units[:4, :4] = np.eye(4)
    for k, direction in ((4, ALPHA), (5, BETA)):
        units[k, 4:] = np.array(direction[4:]) / np.linalg.norm(direction[4:])
    total = 0.0
    for node in product(range(3), repeat=6):
        z = x / 1.25 + np.sqrt(0.2) * nodes[list(node)] @ units
        a = z @ np.array(ALPHA) + 0.3 * z[0] * z[1]
        b = z @ np.array(BETA) + 0.3 * z[2] * z[3]
        total += (
            np.prod(weights[list(node)] / weights.sum()) * (1 + theta[0] * a + theta[1] * b) ** 2
        )
    aa, bb, ab = (np.dot(p, q) for p, q in ((ALPHA, ALPHA), (BETA, BETA), (ALPHA, BETA)))
    rate = 1 + theta[0] ** 2 * (aa + 0.09) + theta[1] ** 2 * (bb + 0.09)
    return total / (rate + 2 * theta[0] * theta[1] * ab)


@pytest.mark.parametrize("theta", POINTS)
def test_the_ratio_is_the_average_over_the_latent_z(theta):
    x = 1.5 * torch.randn(5, 16, generator=generator(4), dtype=torch.float64)
    exact = [np.log(enumerated_ratio(row, theta)) for row in x.numpy()]
    learned = Eft16().log_ratio(x, at(theta, 5))
    assert np.abs(learned.numpy() - exact).max() < 1e-12
    known = stats.norm.logpdf(x.numpy(), scale=1.25**0.5).sum(1)
    log_prob = Eft16().log_prob(x, at(theta, 5)).numpy()
    assert np.abs(log_prob - known - exact).max() < 1e-11


def test_the_mean_of_the_ratio_is_one_at_the_reference():
    eft = Eft16()
    x = eft.sample(at((0.0, 0.0), N), generator(5))
    for theta in POINTS[1:]:
        assert in_errors(eft.log_ratio(x, at(theta, N)).exp(), 1.0) < 1
        forgotten = eft.log_ratio(x, at(theta, N)) + eft.cross_section(at(theta)).log()
        assert in_errors(forgotten.exp(), 1.0) > 2  # Z left out


@pytest.mark.parametrize("theta", POINTS)
def test_the_score_is_the_gradient_and_has_mean_zero(theta):
    eft = Eft16()
    x = eft.sample(at(theta, N), generator(6))
    score = eft.score(x, at(theta, N))
    few = at(theta, 50).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(eft.log_prob(x[:50], few).sum(), few)
    torch.testing.assert_close(score[:50], gradient, rtol=1e-10, atol=1e-12)
    assert max(in_errors(column) for column in score.T) < 1


def test_the_fisher_information_is_exact():
    eft, zero = Eft16(), at((0.0, 0.0), N)
    x = eft.sample(zero, generator(7))
    for observed, score in (
        ("x", eft.score(x, zero)),
        ("z", eft.mine(zero, zero, generator(7)).joint_score),
    ):
        information = eft.fisher_information(observed)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            assert in_errors(score[:, i] * score[:, j], information[i, j]) < 1
    assert eft.fisher_information().diag().tolist() == pytest.approx([1.650, 1.254], abs=1e-3)
    assert eft.fisher_information("z").diag().tolist() == pytest.approx([2.135, 1.640], abs=1e-3)
    lost = eft.fisher_information("z") - eft.fisher_information()
    assert torch.linalg.eigvalsh(lost).min() > 0  # data processing


# --- gold


def gold_errors(eft, theta):
    """Score and ratio of mined gold against the exact ones, correlated with functions of x."""
    gold = eft.mine(at(theta, N), at((0.0, 0.0), N), generator(8))
    miss = gold.joint_score - eft.score(gold.x, at(theta, N))
    score = max(in_errors(g * column) for g in probes(gold.x) for column in miss.T)
    gold = eft.mine(at((0.0, 0.0), N), at(theta, N), generator(9))
    miss = (-gold.joint_log_ratio).exp() - eft.log_ratio(gold.x, at(theta, N)).exp()
    return score, max(in_errors(g * miss) for g in probes(gold.x))


@pytest.mark.parametrize("theta", POINTS[1:])
def test_gold_averages_to_the_exact_score_and_ratio(theta):
    assert max(gold_errors(Eft16(), theta)) < 1


class ScoreAtX(Eft16):
    """The joint score is computed from the detector's x instead of z."""

    def mine(self, theta, theta_ref, generator=None):
        gold = super().mine(theta, theta_ref, generator)
        parts = self.amplitudes(gold.x)
        score = 2 * parts / (1 + (parts * theta).sum(1))[:, None] - self._slope(theta)
        return gold._replace(joint_score=score)


class ScoreWithoutRate(Eft16):
    """The score of M^2 alone: the derivative of the normalisation is forgotten."""

    def _slope(self, theta):
        return 0 * theta


class RatioWithoutRate(Eft16):
    """The joint ratio of squared amplitudes alone."""

    def cross_section(self, theta):
        return torch.ones_like(theta[:, 0])


@pytest.mark.parametrize(("wrong", "part"), [(ScoreAtX, 0), (RatioWithoutRate, 1)])
def test_wrong_gold_is_rejected(wrong, part, monkeypatch):
    right = Eft16()
    monkeypatch.setattr(wrong, "log_ratio", lambda self, x, theta: right.log_ratio(x, theta))
    assert gold_errors(wrong(), (0.2, 0.1))[part] > 5


def test_a_score_without_the_rate_has_another_mean():
    theta = (0.4, -0.3)
    x = Eft16().sample(at(theta, N), generator(10))
    score = ScoreWithoutRate().score(x, at(theta, N))
    assert max(in_errors(column) for column in score.T) > 2


def test_the_score_at_x_is_far_from_the_truth():
    eft, zero = Eft16(), at((0.0, 0.0), N)
    x = eft.sample(zero, generator(11))
    truth, wrong = eft.score(x, zero), 2 * eft.amplitudes(x)
    relative = (wrong - truth).square().mean(0) / truth.var(0)
    assert (relative > 0.08).all()
    assert (truth - 2 * eft.amplitudes(0.8 * x)).abs().max() < 1e-12


# --- morphing

BASIS = [(0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5), (0.5, 0.5)]


def test_six_densities_make_every_other():
    eft, basis = Eft16(), torch.tensor(BASIS, dtype=torch.float64)
    x = 1.5 * torch.randn(200, 16, generator=generator(12), dtype=torch.float64)
    theta = draw(eft.prior, 200, generator(13)).double()
    weights = eft.morphing_weights(theta, basis)
    parts = torch.stack([eft.log_prob(x, at(row, 200)).exp() for row in BASIS], 1)
    exact = eft.log_prob(x, theta).exp()
    assert ((weights * parts).sum(1) / exact - 1).abs().max() < 1e-10
    assert (weights.sum(1) - 1).abs().max() < 1e-12
    assert (eft.morphing_weights(basis, basis) - torch.eye(6)).abs().max() < 1e-12
    without_rates = weights / eft.cross_section(basis) * eft.cross_section(theta)[:, None]
    assert ((without_rates * parts).sum(1) / exact - 1).abs().max() > 1e-2


# --- contracts


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.tensor([[0.1, -0.2], [0.0, 0.0]]).repeat(30, 1)
    basis = torch.tensor(BASIS)

    def everything():
        eft, hand = Eft16(), generator(14)
        x, gold = eft.sample(theta, hand), eft.mine(theta, theta.flip(0), hand)
        exact = [eft.log_prob(x, theta), eft.score(x, theta), eft.cross_section(theta)]
        return [*gold, *exact, eft.fisher_information("z"), eft.morphing_weights(theta, basis)]

    same_when_poisoned(everything)


def test_single_precision_is_precise_enough():
    eft, theta = load("eft16"), draw(Eft16().prior, 1000, generator(15))
    gold = eft.mine(theta, theta.flip(0), generator(16))
    assert all(part.dtype == torch.float32 for part in gold)
    torch.testing.assert_close(
        eft.log_prob(gold.x, theta).double(),
        eft.log_prob(gold.x.double(), theta.double()),
        rtol=1e-5,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda e: e.sample(torch.zeros(5)), r"theta: expected shape \(N, 2\), got \(5,\)"),
        (lambda e: e.latent(torch.full((1, 2), torch.nan)), "theta: expected finite numbers"),
        (lambda e: e.mine(torch.zeros(3, 2), torch.zeros(2, 2)), "theta and theta_ref: expected"),
        (lambda e: e.score(torch.zeros(3, 16), torch.zeros(2, 2)), "x and theta: expected equal"),
        (lambda e: e.log_prob(torch.zeros(3, 15), torch.zeros(3, 2)), r"x: .*\(N, 16\)"),
        (lambda e: e.fisher_information("y"), "observed: expected 'x' or 'z', got 'y'"),
        (lambda e: e.morphing_weights(at((0, 0)), torch.zeros(5, 2)), r"basis: .*\(6, 2\)"),
        (
            lambda e: e.morphing_weights(at((0, 0)), torch.arange(12.0).reshape(6, 2)),
            "basis: expected six points that are on no common conic",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Eft16())
