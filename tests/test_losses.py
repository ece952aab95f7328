"""Losses: their minimisers in closed form, at every point, and the wrong forms are told apart."""

import math

import pytest
import torch
from scipy.optimize import brentq

from lfi_helpers.classifiers import carl_loss, focal_loss, nre_loss
from lfi_helpers.run import generator

PROBABILITIES = [0.001, 0.1, 0.3, 0.5, 0.8, 0.97]


def pointwise(loss, f, p):
    """Return p loss(f, 1) + (1 - p) loss(f, 0): the payment where label 1 has probability p."""
    f = f[None]
    return p * loss(f, torch.ones_like(f)) + (1 - p) * loss(f, torch.zeros_like(f))


def slope(loss, f, p):
    f = torch.tensor(float(f), dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(pointwise(loss, f, p), f)[0].item()


def minimiser(loss, p):
    """Find where the payment is flat by bracketing: no formula of the loss is used."""
    return brentq(lambda f: slope(loss, f, p), -20, 20, xtol=1e-12)


def squared(f, label):
    return (torch.sigmoid(f) - label).square().mean()


def absolute(f, label):
    return (torch.sigmoid(f) - label).abs().mean()


def naive(f, label):
    """Compute the cross-entropy the wrong way: the probability is stored, then its logarithm."""
    s = torch.sigmoid(f)
    return -(label * s.log() + (1 - label) * (1 - s).log()).mean()


def focal_odds(s, gamma):
    """Return the odds p / (1 - p) of which the focal minimiser is s (its docstring)."""

    def c(s):
        return s**gamma / (1 - s) - gamma * s ** (gamma - 1) * math.log(1 - s)

    return c(s) / c(1 - s)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_cross_entropy_and_squared_error_learn_the_log_odds(p):
    log_odds = math.log(p / (1 - p))
    assert minimiser(carl_loss, p) == pytest.approx(log_odds, abs=1e-9)
    assert minimiser(squared, p) == pytest.approx(log_odds, abs=1e-9)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.8])
def test_absolute_error_learns_only_who_is_ahead(p):
    sign = -1 if p > 0.5 else 1
    assert all(sign * slope(absolute, f, p) > 0 for f in range(-10, 11))


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_minimiser_has_its_closed_form(p, gamma):
    def odds(f):
        return focal_odds(1 / (1 + math.exp(-f)), gamma)

    expected = brentq(lambda f: math.log(odds(f)) - math.log(p / (1 - p)), -20, 20, xtol=1e-12)
    found = minimiser(lambda f, label: focal_loss(f, label, gamma), p)
    assert found == pytest.approx(expected, abs=1e-7)
    if p != 0.5:  # a distortion towards even odds, and not the log-ratio
        assert 0 < found / math.log(p / (1 - p)) < 0.9


def test_focal_distortion_keeps_the_order():
    found = [minimiser(focal_loss, p) for p in PROBABILITIES]
    assert found == sorted(found)


def test_focal_loss_without_focus_is_the_cross_entropy():
    f, label = torch.randn(50, generator=generator(0)), torch.arange(50.0) % 2
    torch.testing.assert_close(focal_loss(f, label, 0.0), carl_loss(f, label))
    direct = naive(f.double(), label.double())
    torch.testing.assert_close(carl_loss(f, label).double(), direct)


@pytest.mark.parametrize("loss", [carl_loss, focal_loss])
def test_swapping_the_labels_turns_the_ratio_around(loss):
    f, label = torch.randn(100, generator=generator(1)), (torch.arange(100) % 3 == 0).float()
    torch.testing.assert_close(loss(f, label), loss(-f, 1 - label), rtol=1e-6, atol=0)
    assert not torch.isclose(loss(f, label), loss(f, 1 - label), rtol=1e-2)


def balanced(label):
    n, n_1 = len(label), label.sum()
    return torch.where(label == 1, n / (2 * n_1), n / (2 * (n - n_1)))


@pytest.mark.parametrize(("weights", "offset"), [(balanced, 0.0), (torch.ones_like, math.log(4))])
def test_class_weights_take_the_prior_odds_away(weights, offset):
    # the same x in 80 rows of label 1 and 20 of label 0: p(x | 1) = p(x | 0), log r = 0
    label = (torch.arange(100) < 80).double()

    def payment(f):
        f = torch.tensor(f, dtype=torch.float64, requires_grad=True)
        loss = carl_loss(f.expand(100), label, weights(label))
        return torch.autograd.grad(loss, f)[0].item()

    assert brentq(payment, -10, 10, xtol=1e-12) == pytest.approx(offset, abs=1e-9)


@pytest.mark.parametrize("loss", [carl_loss, focal_loss, lambda f, y: focal_loss(f, y, 0.5)])
def test_huge_logits_have_finite_losses_and_slopes(loss):
    f = torch.tensor([1e4, 1e4, -1e4, -1e4, 30.0], requires_grad=True)
    value = loss(f, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]))
    value.backward()
    torch.testing.assert_close(value.item(), (2e4 + 30) / 5, rtol=1e-6, atol=0)
    assert torch.isfinite(f.grad).all()
    assert f.grad[1] > 0.1  # a wrong and certain row still pulls: a saturated sigmoid would not


def test_sigmoid_then_logarithm_fails_where_the_logit_does_not():
    f, label = torch.tensor([18.0]), torch.tensor([0.0])
    assert torch.sigmoid(f) == 1
    assert torch.isinf(naive(f, label))
    assert carl_loss(f, label).item() == pytest.approx(18.0, abs=1e-6)


def test_the_talks_formula_is_no_ratio():
    # s = p1 / (p0 + p1); the slide says p1/p0 = 1 - 1/s
    p0, p1 = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.8, 0.1, 0.3])
    s = p1 / (p0 + p1)
    torch.testing.assert_close(s / (1 - s), p1 / p0)
    assert (1 - 1 / s < 0).all()
    torch.testing.assert_close(-(1 - 1 / s), p0 / p1)  # the inverse, with the wrong sign


# nre_loss: a finite world in which the shuffled pairs are exactly independent

JOINT = torch.tensor([[2, 1, 1], [1, 0, 3]])  # how often (theta, x) occurs among 8; a zero cell


def euler_circuit():
    """Return pairs (theta, x) of which the joint is JOINT and the shuffled joint its product.

    Rows i - 1 and i are one edge from theta_{i-1} to theta_i that carries x_i. There are
    8 p(a) * JOINT[b, x] edges from a to b with x: a circuit over all of them is such a data set.
    """
    edges = {0: [], 1: []}
    for a in (0, 1):
        for b in (0, 1):
            for x in range(3):
                edges[a] += [(b, x)] * int(JOINT[a].sum() * JOINT[b, x])
    stack, circuit = [(0, None)], []
    while stack:  # Hierholzer
        here = stack[-1][0]
        if edges[here]:
            stack.append(edges[here].pop(0))
        else:
            circuit.append(stack.pop())
    theta, x = zip(*circuit[-2::-1], strict=True)
    return torch.tensor(theta)[:, None], torch.tensor(x)[:, None]


def table_slope(table, theta, x):
    table = table.clone().requires_grad_()
    loss = nre_loss(lambda theta, x: table[theta[:, 0], x[:, 0]], theta, x)
    return loss, torch.autograd.grad(loss, table)[0]


def test_the_finite_world_is_what_it_should_be():
    theta, x = euler_circuit()
    assert len(theta) == 64
    product = (JOINT.sum(1) / 8)[:, None] * JOINT.sum(0) / 8
    for pairs, expected in [(theta, JOINT / 8), (theta.roll(1, 0), product)]:
        count = torch.zeros(2, 3).index_put_((pairs[:, 0], x[:, 0]), torch.ones(64), True)
        torch.testing.assert_close(count / 64, expected)


def test_nre_minimiser_is_the_log_likelihood_over_the_evidence():
    theta, x = euler_circuit()
    p = JOINT.double() / 8
    log_ratio = (p / (p.sum(1, keepdim=True) * p.sum(0))).log()  # log p(x | theta) / p(x)
    log_ratio[1, 1] = -40.0  # never together: minus infinity
    loss, gradient = table_slope(log_ratio, theta, x)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-15)
    for wrong in (-log_ratio, log_ratio + math.log(4), p.log().clamp(-40)):
        other, gradient = table_slope(wrong, theta, x)
        assert gradient.abs().max() > 1e-2
        assert other > loss + 1e-2


def test_joint_pairs_in_place_of_marginal_pairs_teach_nothing(monkeypatch):
    """Forget the shuffle, and the truth is no minimum any more: log r = 0 is."""
    theta, x = euler_circuit()
    p = JOINT.double() / 8
    log_ratio = (p / (p.sum(1, keepdim=True) * p.sum(0))).log().clamp(min=-40)
    monkeypatch.setattr(torch.Tensor, "roll", lambda pairs, *_, **__: pairs)
    nothing, gradient = table_slope(torch.zeros_like(log_ratio), theta, x)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-15)
    loss, gradient = table_slope(log_ratio, theta, x)
    assert gradient.abs().max() > 1e-2
    assert loss > nothing + 1e-2


def test_nre_loss_of_no_information_is_log_two():
    theta, x = torch.zeros(5, 2), torch.zeros(5, 3)
    assert nre_loss(lambda t, x: t[:, 0], theta, x).item() == pytest.approx(math.log(2))
    assert torch.isfinite(nre_loss(lambda t, x: t[:, 0] + 1e4, theta, x))


def test_nre_pairs_each_x_with_the_neighbours_theta():
    theta, x = torch.arange(4.0)[:, None], torch.arange(4.0)[:, None]
    seen = []

    def log_ratio(theta, x):
        seen.append((theta[:, 0].tolist(), x[:, 0].tolist()))
        return 0 * x[:, 0]

    nre_loss(log_ratio, theta, x)
    assert seen == [([0, 1, 2, 3], [0, 1, 2, 3]), ([3, 0, 1, 2], [0, 1, 2, 3])]


@pytest.mark.parametrize("loss", [carl_loss, focal_loss])
def test_the_order_of_the_rows_does_not_matter(loss):
    f, label = torch.randn(1000, generator=generator(2)).double(), torch.arange(1000.0) % 2
    order = torch.randperm(1000, generator=generator(3))
    torch.testing.assert_close(loss(f[order], label[order]), loss(f, label), rtol=1e-12, atol=0)
    rolled = label.roll(1)  # labels that belong to other rows do matter
    assert not torch.isclose(loss(2 * label - 1, rolled), loss(2 * label - 1, label), rtol=1e-2)


def test_labels_may_be_integers_or_truth_values():
    f, label = torch.randn(8, generator=generator(4)), torch.arange(8) % 2
    for loss in (carl_loss, focal_loss):
        expected = loss(f, label.float())
        torch.testing.assert_close(loss(f, label), expected)
        torch.testing.assert_close(loss(f, label == 1), expected)


@pytest.mark.parametrize("loss", [carl_loss, focal_loss])
@pytest.mark.parametrize(
    "shapes", [((8, 1), (8,)), ((8,), (8, 1)), ((8, 1), (8, 1)), ((8,), (7,))]
)
def test_a_broadcast_is_refused(loss, shapes):
    f, label = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"log_ratio and label: expected the same shape \(N,\)"):
        loss(f, label)


def test_wrong_arguments_are_refused():
    zeros = torch.zeros(8)
    with pytest.raises(ValueError, match=r"and weight: expected the same shape \(N,\)"):
        carl_loss(zeros, zeros, torch.ones(8, 1))
    with pytest.raises(ValueError, match="gamma: expected a number >= 0, got -1"):
        focal_loss(zeros, zeros, -1)
    with pytest.raises(ValueError, match="theta and x: expected equally many rows"):
        nre_loss(lambda t, x: x[:, 0], torch.zeros(4, 1), torch.zeros(5, 1))
    with pytest.raises(ValueError, match="theta: expected at least 2 rows to shuffle, got 1"):
        nre_loss(lambda t, x: x[:, 0], torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"log_ratio: expected shape \(4,\), got \(4, 1\)"):
        nre_loss(lambda t, x: x, torch.zeros(4, 1), torch.zeros(4, 1))


def test_losses_do_not_lean_on_the_default_device(same_when_poisoned):
    f, label = torch.randn(9, generator=generator(5)), torch.arange(9.0) % 2
    same_when_poisoned(lambda: (carl_loss(f, label), focal_loss(f, label)))
    same_when_poisoned(lambda: nre_loss(lambda t, x: (t * x)[:, 0], f[:, None], label[:, None]))


def test_the_arguments_are_not_changed():
    f, label = torch.randn(9, generator=generator(6)), torch.arange(9) % 2
    before = f.clone(), label.clone()
    carl_loss(f, label), focal_loss(f, label)
    assert torch.equal(f, before[0]) and torch.equal(label, before[1])
