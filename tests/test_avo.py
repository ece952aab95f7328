"""Adversarial variational optimisation: gradients by hand against autograd and closed forms."""

import math

import pytest
import torch
from torch import nn

from lfi_helpers.generators import Critics, Proposal, fit_avo, score_gradient
from lfi_helpers.run import generator
from lfi_helpers.training import TrainingDiverged


def critic_loss(critics, x_sim, x_obs, x_between, penalty):
    """Return the loss of the docstring, the penalty by two derivatives of autograd."""
    x_between = x_between.clone().requires_grad_()
    slope = torch.autograd.grad(critics(x_between).sum(), x_between, create_graph=True)[0]
    gap = critics(x_sim).mean(1) - critics(x_obs).mean(1)
    return (gap + penalty * (slope.norm(dim=2) - 1).square().mean(1)).sum()


def random_critics(runs, x_dim, seed):
    """Return critics in double precision with random weights, also the biases."""
    critics = Critics(runs, x_dim, hidden=7, seed=seed, dtype=torch.float64)
    with torch.no_grad():
        critics.flat.normal_(generator=generator(seed))
    return critics


def both_gradients(penalty, x_dim=3):
    """Return the gradient written by hand and that of autograd, both (3, P)."""
    critics, hand = random_critics(3, x_dim, seed=1), generator(2)
    x = [torch.randn(3, 11, x_dim, generator=hand, dtype=torch.float64) for _ in range(3)]
    critics.set_gradient(torch.cat(x, 1).mT.contiguous(), penalty)
    (expected,) = torch.autograd.grad(critic_loss(critics, *x, penalty), critics.flat)
    return critics.flat.grad, expected


@pytest.mark.parametrize("penalty", [0.0, 0.025, 10.0])
@pytest.mark.parametrize("x_dim", [1, 2, 5])
def test_the_critics_gradient_is_that_of_autograd(penalty, x_dim):
    by_hand, expected = both_gradients(penalty, x_dim)
    torch.testing.assert_close(by_hand, expected, rtol=1e-11, atol=1e-13)


def test_a_penalty_without_its_target_slope_is_seen(monkeypatch):
    norm = torch.linalg.vector_norm
    monkeypatch.setattr(torch.linalg, "vector_norm", lambda *a, **k: 1e9 * norm(*a, **k))
    by_hand, expected = both_gradients(10.0)
    assert (by_hand - expected).abs().max() > 0.1


def test_the_critics_are_networks_of_one_architecture():
    critics = random_critics(2, 3, seed=3)
    u, b, v, c, w = (part[1] for part in critics.weights)
    x = torch.randn(2, 6, 3, generator=generator(4), dtype=torch.float64)
    act = nn.LeakyReLU(0.1)
    expected = act(act(x[1] @ u.T + b) @ v.T + c) @ w
    torch.testing.assert_close(critics(x)[1], expected)
    assert critics.flat.shape == (2, 7 * 3 + 7 + 49 + 7 + 7)


# E_q[l] for l = a theta^2 + s theta + c under N(mu, sd): a (mu^2 + sd^2) + s mu + c
MU, SD, A, S, C = 0.7, 0.6, 1.5, -2.0, 40.0
EXACT = (2 * A * MU + S, 2 * A * SD**2)  # in mu and in log sd


def gradients_of_a_parabola(baseline, repeats=20_000, constant=C, m=8):
    """Return estimates from ``repeats`` independent runs of m draws, (repeats, 2)."""
    mean = torch.full((repeats, 1), MU, dtype=torch.float64)
    log_sd = torch.full_like(mean, math.log(SD))
    theta = Proposal(mean, log_sd.exp()).sample(m, generator(5))
    loss = (A * theta.square() + S * theta + constant)[:, :, 0]
    return torch.cat(score_gradient(theta, loss, mean, log_sd, baseline * mean[:, 0] / MU), 1)


@pytest.mark.parametrize("baseline", [1.0, 0.0])
def test_the_score_gradient_is_unbiased_with_and_without_baseline(baseline):
    found = gradients_of_a_parabola(baseline)
    error = found.std(0) / len(found) ** 0.5
    pull = (found.mean(0) - torch.tensor(EXACT, dtype=torch.float64)) / error
    assert pull.abs().max() < 5  # two normal numbers: 1.1e-6


def test_the_baseline_removes_the_noise_of_a_constant():
    noisy, quiet = (gradients_of_a_parabola(b, 2_000).var(0) for b in (0.0, 1.0))
    assert (noisy / quiet).min() > 20
    same = gradients_of_a_parabola(1.0, 50, constant=0.0), gradients_of_a_parabola(1.0, 50)
    torch.testing.assert_close(*same, rtol=1e-9, atol=1e-9)


def test_a_baseline_that_contains_its_own_draw_is_biased():
    """The mean over all draws shrinks the gradient by (M - 1) / M: enumeration of all pairs."""
    theta = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # q as two points: score = +-1
    pairs = torch.cartesian_prod(theta, theta)[:, :, None]  # (4, 2, 1), equally probable
    loss = 3 * pairs[:, :, 0] + 10
    at = torch.zeros(4, 1, dtype=torch.float64)
    right = score_gradient(pairs, loss, at, at, torch.ones(4, dtype=torch.float64))[0]
    assert right.mean().item() == pytest.approx(3, abs=1e-12)  # E[loss * score]
    own = ((loss - loss.mean(1, keepdim=True))[:, :, None] * pairs).mean(1)
    assert own.mean().item() == pytest.approx(1.5, abs=1e-12)


def test_the_entropy_is_the_gaussians_and_its_slope_is_what_the_game_adds():
    proposal = Proposal(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 0.5], [3.0, 1.0, 1.0]]))
    normal = torch.distributions.Normal(proposal.mean, proposal.log_sd.exp())
    constant = 1.5 * math.log(2 * math.pi * math.e)
    torch.testing.assert_close(proposal.entropy() + constant, normal.entropy().sum(1))
    (slope,) = torch.autograd.grad(proposal.entropy().sum(), proposal.log_sd)
    assert (slope == 1).all()
    # a simulator that ignores theta: only the entropy is left, and its sign decides
    quiet = {"n_critic": 1, "warm_up": 0, "n_epochs": 20, "learning_rate": 0.05, "device": "cpu"}
    data = torch.zeros(10, 1)
    history = fit_avo(
        proposal, lambda theta, g: torch.zeros(len(theta), 1), data, entropy=(5.0, -5.0), **quiet
    )
    assert (history.sd[-1, 0] < 0.5 * history.sd[0, 0]).all()
    assert (history.sd[-1, 1] > 2 * history.sd[0, 1]).all()


def shifted_normal(theta, hand):
    return theta + torch.randn(theta.shape, generator=hand, device=theta.device)


def tune(runs=2, **settings):
    """Tune the mean of a Gaussian: (proposal, history) of a short game."""
    data = 1 + torch.randn(2_000, 1, generator=generator(6), device="cpu")
    start = torch.zeros(runs, 1, device="cpu")
    proposal = Proposal(start, torch.full_like(start, 0.5))
    settings = {"entropy": (1.0,) * runs, "n_epochs": 3, "n_critic": 10, "warm_up": 5} | settings
    sample = settings.pop("sample", shifted_normal)
    return proposal, fit_avo(proposal, sample, data, device="cpu", **settings)


def test_the_game_finds_the_mean_of_a_gaussian():
    proposal, history = tune(3, n_epochs=150, n_critic=30, learning_rate=0.02)
    exact = 1 + torch.randn(2_000, 1, generator=generator(6)).mean().item()
    # over 24 runs the last-50 mean is off by -0.003 +- 0.016, the width 0.049 +- 0.006: the bands
    # are six standard deviations wide (three runs: 1e-8); the start is 0 and 0.5
    assert (history.mean[-50:].mean(0) - exact).abs().max() < 0.1
    assert (history.sd[-1] < 0.09).all()
    torch.testing.assert_close(history.mean[-1], proposal.mean.detach())
    assert history.gap.shape == (150, 3)
    assert history.gap[-50:].mean(0).abs().max() < 0.1 * history.gap[0].abs().min()


def test_the_same_seed_gives_the_same_game(same_when_poisoned):
    same_when_poisoned(lambda: tuple(tune(seed=3)[1]))
    assert not torch.equal(tune(seed=3)[1].mean, tune(seed=4)[1].mean)


def test_a_game_that_diverges_says_where_and_keeps_the_best_proposal():
    """A simulator whose events explode after the third epoch, and the critics with them."""
    calls = []

    def explodes(theta, hand):
        calls.append(theta.unflatten(0, (2, -1)).mean(1))
        return shifted_normal(theta, hand) * (3e37 if len(calls) > 6 else 1)

    with pytest.raises(TrainingDiverged) as caught:
        tune(sample=explodes, n_epochs=9, learning_rate=0.02)
    error = caught.value
    assert (error.step, error.learning_rate) == (3, 0.02)
    assert math.isfinite(error.last_loss)
    for text in ("step 3", "0.02", f"{error.last_loss:.6g}"):
        assert text in str(error)


def test_the_best_proposal_is_where_the_critic_saw_least():
    proposal, history = tune(2, n_epochs=6, learning_rate=0.02, seed=5)
    start = torch.zeros(1, 2, 1)
    before = torch.cat([start, history.mean])[:-1, :, 0]  # what the critic of each epoch saw
    calls = []

    def explodes(theta, hand):
        calls.append(1)
        return shifted_normal(theta, hand) * (3e37 if len(calls) > 12 else 1)

    data = 1 + torch.randn(2_000, 1, generator=generator(6))
    again = Proposal(torch.zeros(2, 1), torch.full((2, 1), 0.5))
    settings = {"n_critic": 10, "warm_up": 5, "learning_rate": 0.02, "seed": 5, "device": "cpu"}
    with pytest.raises(TrainingDiverged) as caught:
        fit_avo(again, explodes, data, entropy=(1.0, 1.0), n_epochs=9, **settings)
    assert caught.value.step == 6
    smallest = history.gap.abs().argmin(0)
    expected = before.gather(0, smallest[None])[0]
    torch.testing.assert_close(again.mean.detach()[:, 0], expected)
    assert not torch.equal(again.mean.detach(), proposal.mean.detach())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entropy": (1.0,)}, "entropy: expected 2 numbers"),
        ({"baseline": (True, True, False)}, "baseline: expected 2 numbers"),
        ({"batch_size": 1}, "batch_size: expected at least 2"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number > 0"),
        ({"sample": lambda theta, g: theta[:5]}, "sample.theta.: expected shape"),
        ({"sample": lambda theta, g: theta * torch.nan}, "sample.theta.: expected finite"),
    ],
)
def test_wrong_input_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        tune(**settings)


def test_proposals_need_one_shape_and_positive_widths():
    with pytest.raises(ValueError, match="mean and sd: expected one shape"):
        Proposal(torch.zeros(2, 1), torch.ones(2, 2))
    with pytest.raises(ValueError, match="sd > 0"):
        Proposal(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="n: expected a number > 0"):
        Critics(0, 1)
