"""The five mixed features of the CARL paper against scipy's densities and its closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import carl5d as module
from lfi_helpers.simulators import load
from lfi_helpers.simulators.carl5d import MIXING, Carl5d

ALARM = 1e-6  # false-alarm probability of each statistical gate below
TRUTH, N = (1.0, -1.0), 100_000
R = np.array(MIXING)


def at(theta, n=1, dtype=torch.float64):
    return torch.tensor([theta], dtype=dtype).expand(n, 2)


def by_hand(z, theta):
    """Add up scipy's log-densities of the five z and the Jacobian."""
    two = 0.5 * stats.norm.pdf(z[:, 2], -2, 1) + 0.5 * stats.norm.pdf(z[:, 2], 2, 0.5)
    parts = [stats.norm.logpdf(z[:, 0], theta[0], 1), stats.norm.logpdf(z[:, 1], theta[1], 3)]
    parts += [np.log(two), stats.expon.logpdf(z[:, 3], scale=1 / 3)]
    parts += [stats.expon.logpdf(z[:, 4], scale=2)]
    return sum(parts) - np.log(np.linalg.det(R))


def distances(x, theta):
    """Kolmogorov-Smirnov distance of each z to its distribution, over the critical one."""
    z = np.linalg.solve(R, x.double().numpy().T)

    def bimodal(v):
        return 0.5 * stats.norm.cdf(v, -2, 1) + 0.5 * stats.norm.cdf(v, 2, 0.5)

    laws = [stats.norm(theta[0], 1).cdf, stats.norm(theta[1], 3).cdf, bimodal]
    laws += [stats.expon(scale=1 / 3).cdf, stats.expon(scale=2).cdf]
    critical = stats.kstwo.isf(ALARM, len(x))
    return [stats.kstest(v, law).statistic / critical for v, law in zip(z, laws, strict=True)]


def test_the_matrix_is_symmetric_and_positive_definite():
    assert (R == R.T).all()
    assert np.linalg.eigvalsh(R).min() > 0.1
    slipped = R.copy()
    slipped[3, 0] *= -1  # as in one public copy
    assert not (slipped == slipped.T).all()


@pytest.mark.parametrize("theta", [TRUTH, (0.0, 0.0), (-3.0, 3.0)])
def test_the_hidden_z_have_their_distributions_and_are_independent(theta):
    x = Carl5d().sample(at(theta, N), generator(0))
    assert max(distances(x, theta)) < 1
    correlation = np.corrcoef(np.linalg.solve(R, x.numpy().T))[np.triu_indices(5, 1)]
    assert np.abs(correlation).max() < stats.norm.isf(ALARM / 20) / N**0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEVIATIONS", (1.0, 3**0.5)), ("RATES", (1 / 3, 2.0)), ("WIDTHS", (1.0, 0.25))],
)
def test_a_variance_for_a_deviation_and_a_mean_for_a_rate_are_rejected(name, value, monkeypatch):
    monkeypatch.setattr(module, name, value)
    assert max(distances(Carl5d().sample(at(TRUTH, N), generator(0)), TRUTH)) > 3


def test_a_matrix_that_is_not_symmetric_is_rejected(monkeypatch):
    slipped = R.copy()
    slipped[3, 0] *= -1
    monkeypatch.setattr(module, "MIXING", tuple(map(tuple, slipped.tolist())))
    assert max(distances(Carl5d().sample(at(TRUTH, N), generator(0)), TRUTH)) > 3


def test_the_density_is_the_product_of_five():
    theta = (0.7, -2.0)
    x = Carl5d().sample(at(theta, 1000), generator(1))
    z = np.linalg.solve(R, x.numpy().T).T
    log_prob = Carl5d().log_prob(x, at(theta, 1000)).numpy()
    assert np.abs(log_prob - by_hand(z, theta)).max() < 1e-10
    ratio = Carl5d().log_ratio(x, at(theta, 1000), at((0.0, 0.0), 1000)).numpy()
    assert np.abs(ratio - by_hand(z, theta) + by_hand(z, (0, 0))).max() < 1e-10


def test_negative_waits_have_no_density_but_rounding_is_forgiven():
    box, n = Carl5d(), 10_000
    z = torch.zeros(3, 5, dtype=torch.float64)
    z[1, 3], z[2, 4] = -1e-3, -1e-3
    x = z @ torch.from_numpy(R)
    assert torch.isfinite(box.log_prob(x, at(TRUTH, 3))).tolist() == [True, False, False]
    z = box.latent(box.sample(at(TRUTH, n), generator(2))).float()
    z[:, 3] = 0  # the smallest wait
    rounded = z @ torch.from_numpy(R).float()
    assert (box.latent(rounded)[:, 3] < 0).sum() > n / 10  # the rounding of float32 does this
    assert torch.isfinite(box.log_prob(rounded, at(TRUTH, n, torch.float32))).all()


def test_the_score_is_the_gradient_and_has_mean_zero():
    x = Carl5d().sample(at(TRUTH, N), generator(3))
    theta = at(TRUTH, N).clone().requires_grad_()
    (score,) = torch.autograd.grad(Carl5d().log_prob(x, theta).sum(), theta)
    z = Carl5d().latent(x)
    by_hand = (z[:, :2] - at(TRUTH)) / torch.tensor([1.0, 9.0])
    torch.testing.assert_close(score, by_hand, rtol=1e-10, atol=1e-10)
    error = torch.tensor([1.0, 1 / 3]) / N**0.5  # square root of Fisher's information over N
    assert (score.mean(0) / error).abs().max() < stats.norm.isf(ALARM / 4)


def test_the_maximum_of_the_likelihood_is_where_it_says():
    x = Carl5d().sample(at(TRUTH, 500), generator(4))
    best, error = Carl5d().maximum_likelihood(x)
    assert error.tolist() == pytest.approx([0.0447, 0.1342], abs=1e-4)
    assert ((best - at(TRUTH)[0]) / error).abs().max() < stats.norm.isf(ALARM / 4)
    theta = best.expand(500, 2).clone().requires_grad_()
    (slope,) = torch.autograd.grad(Carl5d().log_prob(x, theta).sum(), theta)
    assert slope.sum(0).abs().max() < 1e-9
    shifts = torch.stack([best + error * torch.tensor(s) for s in ((1.0, 0.0), (0.0, 1.0))])
    for shifted in shifts:  # one standard error: -2 log L rises by one
        lost = Carl5d().log_ratio(x, best.expand(500, 2), shifted.expand(500, 2)).sum()
        assert 2 * lost.item() == pytest.approx(1, abs=1e-9)


def test_the_same_generator_gives_the_same_noise_everywhere():
    box = Carl5d()
    here, there = (box.sample(at(t, 100), generator(5)) for t in (TRUTH, (0.0, 0.5)))
    shift = (torch.tensor([[1.0, -1.5, 0, 0, 0]], dtype=torch.float64)) @ torch.from_numpy(R)
    torch.testing.assert_close(here - there, shift.expand(100, 5), rtol=0, atol=1e-12)


def test_no_default_device_is_used(same_when_poisoned):
    theta = torch.tensor([[0.1, -0.2], [1.0, 2.0]]).repeat(30, 1)

    def everything():
        box = load("carl5d")
        x = box.sample(theta, generator(6))
        exact = [box.log_prob(x, theta), box.log_ratio(x, theta, theta.flip(0))]
        return [x, *exact, *box.maximum_likelihood(x), draw(box.prior, 5, generator(7))]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(5)), r"theta: expected shape \(N, 2\), got \(5,\)"),
        (lambda b: b.sample(torch.full((1, 2), torch.nan)), "theta: expected finite numbers"),
        (lambda b: b.latent(torch.zeros(3, 4)), r"x: expected shape \(N, 5\), got \(3, 4\)"),
        (lambda b: b.log_prob(torch.zeros(3, 5), torch.zeros(2, 2)), "x and theta: expected eq"),
        (
            lambda b: b.log_ratio(torch.zeros(3, 5), torch.zeros(3, 2), torch.zeros(2, 2)),
            "x and theta and theta_ref: expected equally many rows",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Carl5d())
