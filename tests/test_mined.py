"""Mined losses on a finite world, enumerated exactly: minimisers are the ratio and the score."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq

from lfi_helpers.classifiers import (
    alice_loss,
    alices_loss,
    carl_loss,
    cascal_loss,
    mined_rows,
    rascal_loss,
    ratio_and_score,
    rolr_loss,
    sallino,
    sally_loss,
)
from lfi_helpers.run import generator
from lfi_helpers.simulators import Gold, load

# How often (x, z) occurs among 64 draws at theta and at theta_ref, and 64 dp(x, z | theta)/dtheta.
AT_THETA = torch.tensor([[6, 2, 1, 7], [3, 9, 4, 4], [10, 5, 8, 5]])
AT_REF = torch.tensor([[2, 4, 3, 1], [8, 6, 2, 6], [9, 11, 2, 10]])
SLOPE = torch.tensor(
    [[[1, -3], [-2, 1], [1, 0], [3, 2]], [[-1, 4], [2, -1], [-3, 2], [1, -2]]]
    + [[[2, 1], [-4, -5], [1, 3], [-1, -2]]]
)  # (x, z, D)


def world():
    """Return the 64 + 64 rows: x, label, joint log-ratio, joint score (everywhere) of each."""
    x, z = (i.flatten() for i in torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij"))
    log_ratio = (AT_THETA.double() / AT_REF).log()
    score = SLOPE.double() / AT_THETA[:, :, None]
    rows = [
        (x.repeat_interleave(count.flatten()), z.repeat_interleave(count.flatten()))
        for count in (AT_THETA, AT_REF)
    ]
    label = torch.cat([torch.full((64,), 1.0), torch.full((64,), 0.0)]).double()
    x, z = (torch.cat(column) for column in zip(*rows, strict=True))
    return x, label, log_ratio[x, z], score[x, z]


def truth():
    """Return log r(x), (3,), and t(x), (3, D): sums over z."""
    p, q = AT_THETA.sum(1).double(), AT_REF.sum(1).double()
    return (p / q).log(), SLOPE.sum(1).double() / p[:, None]


def rolr(f, t, y, joint, score):
    return rolr_loss(f, y, joint)


def alice(f, t, y, joint, score):
    return alice_loss(f, joint)


def cascal(f, t, y, joint, score):
    return cascal_loss(f, t, y, score)


def rascal(f, t, y, joint, score):
    return rascal_loss(f, t, y, joint, score)


def alices(f, t, y, joint, score):
    return alices_loss(f, t, y, joint, score)


def sally(f, t, y, joint, score):
    return sally_loss(t[y == 1], score[y == 1])


def rolr_exchanged(f, t, y, joint, score):
    """Compare r where the draws are at theta, 1 / r where they are at the reference."""
    return rolr_loss(f, 1 - y, joint)


def rolr_of_the_logarithm(f, t, y, joint, score):
    return (f - joint).square().mean()


def rolr_clipped(f, t, y, joint, score):
    return rolr_loss(f, y, joint.clamp(-0.5, 0.5))


def alice_upside_down(f, t, y, joint, score):
    return alice_loss(f, -joint)


def alice_unbalanced(f, t, y, joint, score):
    return alice_loss(f[y == 1], joint[y == 1])


def alice_soft_ratio(f, t, y, joint, score):
    """The target is r(x, z) / max r instead of the probability."""
    return F.binary_cross_entropy_with_logits(f, (joint - joint.max()).exp())


def cascal_score_of_all_rows(f, t, y, joint, score):
    """The score term also counts draws at the reference."""
    return carl_loss(f, y) + (t - score).square().sum(1).mean()


def sally_at_the_wrong_place(f, t, y, joint, score):
    return sally_loss(t[y == 0], score[y == 0])


def score_from_labels_swapped(f, t, y, joint, score):
    return alices_loss(f, t, 1 - y, joint, score)


RATIO, SCORE = {rolr, alice}, {sally}
BOTH = {cascal, rascal, alices}
WRONG_RATIO = [rolr_exchanged, rolr_of_the_logarithm, rolr_clipped]
WRONG_RATIO += [alice_upside_down, alice_unbalanced, alice_soft_ratio]
WRONG_SCORE = [cascal_score_of_all_rows, sally_at_the_wrong_place, score_from_labels_swapped]


def gradients(loss, log_r, t):
    """Return the loss of the tables log_r (3,) and t (3, D), and its slope in each entry."""
    x, *rows = world()
    tables = log_r.clone().requires_grad_(), t.clone().requires_grad_()
    value = loss(tables[0][x], tables[1][x], *rows)
    return value.detach(), *torch.autograd.grad(
        value, tables, allow_unused=True, materialize_grads=True
    )


def named(losses):
    return sorted(losses, key=lambda loss: loss.__name__)


def test_the_finite_world_is_what_it_should_be():
    assert AT_THETA.sum() == AT_REF.sum() == 64
    assert torch.equal(SLOPE.sum((0, 1)), torch.zeros(2, dtype=torch.int64))
    x, label, joint, score = world()
    log_r, t = truth()
    for k in range(3):
        at_ref = (x == k) & (label == 0)
        assert joint[at_ref].exp().mean() == pytest.approx(log_r[k].exp().item(), rel=1e-12)
        at_theta = (x == k) & (label == 1)
        assert (-joint[at_theta]).exp().mean() == pytest.approx((-log_r[k]).exp().item())
        torch.testing.assert_close(score[at_theta].mean(0), t[k])
    assert (AT_THETA.sum(1)[:, None] / 64 * t).sum(0).abs().max() < 1e-15  # E[t] = 0


@pytest.mark.parametrize("loss", named(RATIO | SCORE | BOTH))
def test_the_truth_is_the_minimum(loss):
    log_r, t = truth()
    best, slope_r, slope_t = gradients(loss, log_r, t)
    assert max(slope_r.abs().max(), slope_t.abs().max()) < 1e-12
    hand = generator(0)
    for size in (0.01, 0.1, 1.0):
        for _ in range(20):
            step = size * torch.randn(3, 3, generator=hand, dtype=torch.float64)
            other, *_ = gradients(loss, log_r + step[0], t + step[1:].T)
            assert other > best + 1e-7


@pytest.mark.parametrize("loss", named(RATIO | BOTH))
def test_the_ratio_found_without_its_formula_is_the_exact_one(loss):
    log_r, t = truth()
    for k in range(3):

        def slope(f, k=k):
            table = log_r.clone()
            table[k] = f
            return gradients(loss, table, t)[1][k].item()

        assert brentq(slope, -3, 3, xtol=1e-13) == pytest.approx(log_r[k].item(), abs=1e-10)


@pytest.mark.parametrize("loss", WRONG_RATIO)
def test_a_wrong_ratio_loss_has_another_minimum(loss):
    _, slope_r, _ = gradients(loss, *truth())
    assert slope_r.abs().max() > 5e-3


@pytest.mark.parametrize("loss", WRONG_SCORE)
def test_a_score_of_paths_drawn_elsewhere_has_another_minimum(loss):
    _, _, slope_t = gradients(loss, *truth())
    assert slope_t.abs().max() > 5e-3


def test_alice_is_the_cross_entropy_averaged_over_the_labels():
    """Of the rows with one (x, z) the share s(x, z) has label 1, exactly, in this world."""
    x, label, joint, _ = world()
    f = torch.randn(3, generator=generator(1), dtype=torch.float64)[x]
    torch.testing.assert_close(alice_loss(f, joint), carl_loss(f, label), rtol=1e-13, atol=0)


def test_each_loss_is_the_sum_of_its_parts():
    _, label, joint, score = world()
    f = torch.randn(128, generator=generator(2), dtype=torch.float64)
    t = torch.randn(128, 2, generator=generator(3), dtype=torch.float64)
    error = (label * (t - score).square().sum(1)).mean()
    for value, ratio in [
        (cascal_loss(f, t, label, score, 2.0), carl_loss(f, label)),
        (rascal_loss(f, t, label, joint, score, 2.0), rolr_loss(f, label, joint)),
        (alices_loss(f, t, label, joint, score, 2.0), alice_loss(f, joint)),
    ]:
        torch.testing.assert_close(value, ratio + 2 * error, rtol=1e-12, atol=0)
    r, joint_r = f.exp(), joint.exp()
    by_hand = (1 - label) * (r - joint_r) ** 2 + label * (1 / r - 1 / joint_r) ** 2
    torch.testing.assert_close(rolr_loss(f, label, joint), by_hand.mean())


def test_rows_without_a_label_one_add_no_score_error():
    f, zeros = torch.zeros(4), torch.zeros(4)
    t = torch.zeros(4, 1, requires_grad=True)
    loss = cascal_loss(f, t, zeros, torch.full((4, 1), torch.nan))
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert (t.grad == 0).all()


def test_nothing_is_clipped():
    f, joint = torch.tensor([40.0, -40.0], requires_grad=True), torch.tensor([30.0, -30.0])
    label = torch.tensor([0.0, 1.0])
    assert rolr_loss(f, label, joint).item() == pytest.approx(math.exp(80), rel=1e-4)
    far = torch.tensor([60.0, -60.0])
    assert torch.isinf(rolr_loss(far, label, joint))  # fit stops and says so
    loss = alice_loss(f, torch.tensor([30.0, -200.0]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(f.grad).all()
    certain = torch.tensor([1e4], requires_grad=True)
    alice_loss(certain, torch.tensor([-20.0])).backward()
    assert certain.grad.item() == pytest.approx(1.0)  # a wrong and certain row still pulls


# --- gold of a simulator


def galton_rows(n, seed):
    board = load("galton")
    at, ref = (torch.full((n, 1), v, dtype=torch.float64, device="cpu") for v in (-0.8, -0.6))
    gold = board.mine(at, ref, generator(seed, 0)), board.mine(ref, at, generator(seed, 1))
    return board, mined_rows(at, *gold)


def test_rows_carry_the_ratio_of_theta_over_the_reference_on_both_halves():
    board, rows = galton_rows(20_000, 0)
    assert rows.x.shape == (40_000, 1) and rows.label.sum() == 20_000
    assert torch.isnan(rows.joint_score[rows.label == 0]).all()
    joint = rows.joint_log_ratio.exp()
    # E[1 / r] = 1 at theta, E[r] = 1 at the reference: 5 standard errors, a false alarm in 2e6
    for values in ((1 / joint)[rows.label == 1], joint[rows.label == 0]):
        assert abs(values.mean() - 1) < 5 * values.std() / len(values) ** 0.5
    forgotten = (1 / joint)[rows.label == 0]  # a sign not changed gives E[1 / r], far above one
    assert forgotten.mean() - 1 > 20 * forgotten.std() / len(forgotten) ** 0.5
    score = rows.joint_score[rows.label == 1]
    assert abs(score.mean()) < 5 * score.std() / len(score) ** 0.5


def table_error(loss, board, rows):
    """Train a table log r[x] to the minimum; return its weighted mean squared error."""
    table = torch.zeros(31, dtype=torch.float64, requires_grad=True)
    x = rows.x[:, 0].long()
    hand = torch.optim.LBFGS([table], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        hand.zero_grad()
        value = loss(table[x], rows) + 1e-6 * table.square().sum()
        value.backward()
        return value

    hand.step(closure)
    support = board.support.double()
    at, ref = (torch.full_like(support, v) for v in (-0.8, -0.6))
    weight = board.log_prob(support, at).exp() + board.log_prob(support, ref).exp()
    exact = board.log_prob(support, at) - board.log_prob(support, ref)
    return (weight / 2 * (table.detach()[support[:, 0].long()] - exact).square()).sum().item()


def test_gold_needs_far_fewer_simulations_than_labels():
    errors = {"carl": 0.0, "alice": 0.0}
    for seed in range(3):
        board, rows = galton_rows(5000, seed)
        errors["carl"] += table_error(lambda f, r: carl_loss(f, r.label), board, rows)
        errors["alice"] += table_error(lambda f, r: alice_loss(f, r.joint_log_ratio), board, rows)
    assert errors["carl"] / errors["alice"] > 10


class Quadratic(torch.nn.Module):
    """log r = a . theta + theta C theta + theta B x: its score is known."""

    def __init__(self):
        super().__init__()
        hand = generator(4)
        for name in ("b", "c"):
            value = torch.randn(2, 2, generator=hand, dtype=torch.float64)
            setattr(self, name, torch.nn.Parameter(value))

    def forward(self, theta, x):
        return torch.einsum("nd,de,ne->n", theta, self.b, x) + ((theta @ self.c) * theta).sum(1)


def test_the_score_of_a_network_is_its_gradient_and_trains_its_weights():
    module, hand = Quadratic(), generator(5)
    theta, x = (torch.randn(50, 2, generator=hand, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        log_r, score = ratio_and_score(module, theta, x)
    expected = x @ module.b.T + theta @ (module.c + module.c.T)
    torch.testing.assert_close(score, expected)
    torch.testing.assert_close(log_r, module(theta, x))
    assert not theta.requires_grad
    sally_loss(score, torch.zeros_like(score)).backward()
    by_hand = 2 * torch.einsum("nd,ne->de", expected, x).detach() / 50
    torch.testing.assert_close(module.b.grad, by_hand)


def test_sallino_turns_the_score_of_a_gaussian_into_its_log_ratio():
    """Of x ~ N(theta, 1) in two dimensions: t = x at 0, log r = x . step - |step|^2 / 2."""
    step, n, hand = torch.tensor([0.5, -0.3]), 100_000, generator(6)
    at_theta = step + torch.randn(n, 2, generator=hand)
    at_ref = torch.randn(n, 2, generator=hand)
    fresh = torch.randn(5000, 2, generator=hand)
    exact = fresh @ step - step.square().sum() / 2
    for method, rms in (("platt", 0.03), ("histogram", 0.06)):
        learned = sallino(at_theta, at_ref, step, method)(fresh)
        assert (learned - exact).square().mean().sqrt() < rms
        swapped = sallino(at_ref, at_theta, step, method)(fresh)
        assert (swapped - exact).square().mean().sqrt() > 0.5


# --- contracts


def test_no_default_device_is_used(same_when_poisoned):
    _, rows = galton_rows(200, 7)
    f, t = 0.1 * rows.joint_log_ratio, rows.x.double()

    def everything():
        _, again = galton_rows(200, 7)
        theta, x, label, joint, score = again
        ratio = sallino(t[:200], t[200:], torch.tensor([1.0], device="cpu"), "platt")(t)
        return [
            ratio,
            rascal_loss(f, t, label, joint, score),
            cascal_loss(f, t, label, score),
            alices_loss(f, t, label, joint, score),
            *ratio_and_score(lambda theta, x: (theta * x)[:, 0], theta, x),
        ]

    same_when_poisoned(everything)


ONES = torch.ones(4)
GOLD = Gold(ONES[:, None], ONES, ONES[:, None])
NAN = torch.tensor([1.0, torch.nan, 1.0, torch.inf])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: rolr_loss(ONES, ONES, ONES[:, None]), r"expected the same shape \(N,\)"),
        (lambda: rolr_loss(ONES, ONES, NAN), "joint_log_ratio: expected finite .* got 2 NaN"),
        (lambda: alice_loss(ONES, NAN), "joint_log_ratio: expected finite numbers, got 2 NaN"),
        (lambda: alice_loss(ONES[:, None], ONES), r"expected the same shape \(N,\)"),
        (lambda: sally_loss(ONES, ONES), r"score: expected shape \(N, L\), got \(4,\)"),
        (lambda: sally_loss(ONES[:, None], ONES), r"same shape \(N, D\), got \(4, 1\) and \(4,\)"),
        (lambda: sally_loss(ONES[:, None], NAN[:, None]), "joint_score: expected finite"),
        (lambda: cascal_loss(ONES, ONES[:, None], ONES, NAN[:, None]), "joint_score: .* finite"),
        (lambda: cascal_loss(ONES, ONES[:3, None], ONES, ONES[:, None]), "equally many rows"),
        (lambda: mined_rows(ONES[:, None], GOLD, GOLD._replace(x=ONES[:3, None])), "equally many"),
        (
            lambda: mined_rows(ONES[:, None], GOLD, GOLD._replace(joint_log_ratio=NAN)),
            "at_ref.joint_log_ratio: expected finite",
        ),
        (lambda: ratio_and_score(lambda t, x: t, ONES[:, None], ONES[:, None]), "log_ratio: .*4,"),
        (lambda: sallino(ONES[:, None], ONES[:, None], torch.zeros(1)), "step: .* not zero"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
