"""Weak supervision: mixtures against their densities, the loss of bags against enumeration."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lfi_helpers.classifiers import mixed_log_ratio, proportions_loss, pure_log_ratio
from lfi_helpers.networks import mlp
from lfi_helpers.run import generator
from lfi_helpers.training import fit

X = torch.linspace(-4, 4, 81, dtype=torch.float64, device="cpu")
S, B = (
    Normal(torch.tensor(mean, device="cpu").double(), torch.tensor(sd, device="cpu").double())
    for mean, sd in ((1, 1), (-1, 2))
)
LOG_R = S.log_prob(X) - B.log_prob(X)
PAIRS = [(0.8, 0.2), (1.0, 0.0), (0.3, 0.6), (1.0, 0.4), (0.5, 0.0)]


def density(f):
    return f * S.log_prob(X).exp() + (1 - f) * B.log_prob(X).exp()


@pytest.mark.parametrize(("f1", "f2"), PAIRS)
def test_mixtures_and_back(f1, f2):
    mixed = mixed_log_ratio(LOG_R, f1, f2)
    torch.testing.assert_close(mixed, (density(f1) / density(f2)).log(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(pure_log_ratio(mixed, f1, f2), LOG_R, rtol=1e-8, atol=1e-8)
    order = LOG_R.argsort(descending=f1 < f2)
    assert (mixed[order].diff() > 0).all()  # the theorem
    wrong = mixed_log_ratio(LOG_R, f2, f1)
    assert (wrong - mixed).abs().max() > 0.1


def test_equal_fractions_tell_nothing():
    assert mixed_log_ratio(LOG_R, 0.4, 0.4).abs().max() < 1e-15
    with pytest.raises(ValueError, match="f1 and f2: expected two different"):
        pure_log_ratio(LOG_R, 0.4, 0.4)


def test_extreme_ratios_reach_the_ends_of_the_interval():
    far = torch.tensor([-800.0, 800.0], dtype=torch.float64, device="cpu")
    ends = mixed_log_ratio(far, 0.8, 0.2)
    assert ends.tolist() == pytest.approx([math.log(0.25), math.log(4)])


def test_a_ratio_beyond_the_ends_is_infinite_not_clipped():
    beyond = torch.tensor([-2.0, 2.0, 0.0], device="cpu")  # the ends are -+ 1.386
    assert pure_log_ratio(beyond, 0.8, 0.2).tolist() == [-math.inf, math.inf, 0.0]
    assert pure_log_ratio(beyond, 0.2, 0.8).tolist() == [math.inf, -math.inf, 0.0]


class Table(nn.Module):
    """A logit of its own for each of the values 0, 1, ... of one feature."""

    def __init__(self, n):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(n, device="cpu"))

    def forward(self, x):
        return self.logit[x[..., 0].long()][..., None]


def test_the_loss_is_the_formula():
    x = torch.randn(30, 3, 2, generator=generator(1))
    f = torch.tensor([0.2, 0.5, 0.9], device="cpu")
    linear = mlp(2, 1, (), seed=1)
    by_hand = 0.0
    for k in range(3):
        outputs = [torch.sigmoid(linear(x[i, k])).item() for i in range(30)]
        by_hand += (sum(outputs) / 30 - f[k].item()) ** 2
    assert proportions_loss(f)(linear, x).item() == pytest.approx(by_hand, rel=1e-5)


def test_the_best_answer_is_a_hard_cut_on_the_ratio():
    """All 2^6 cuts of six values are enumerated; training ends at the best, a threshold on s/b."""
    s = torch.tensor([1, 2, 3, 4, 6, 8.0], device="cpu") / 24
    b = s.flip(0)
    f = torch.tensor([0.25, 0.75], device="cpu")
    n = 1_200  # so that counts are whole numbers
    p = f[:, None] * s + (1 - f[:, None]) * b
    counts = (p * n * 4).round().long()
    bags = torch.stack(
        [torch.repeat_interleave(torch.arange(6, device="cpu"), count) for count in counts], 1
    )
    loss, table = proportions_loss(f), Table(6)
    losses = {}
    for cut in range(64):
        keep = torch.tensor([cut >> i & 1 for i in range(6)], device="cpu").float()
        losses[cut] = ((p @ keep - f) ** 2).sum().item()
    best = min(losses, key=losses.get)
    assert best == 0b111000  # s / b grows with the value, and this is a threshold
    data = bags[:, :, None].float()
    fit(
        table,
        loss,
        data,
        max_steps=400,
        batch_size=len(data),
        learning_rate=0.1,
        validation_fraction=0,
        device="cpu",
        progress=False,
    )
    assert ((table.logit > 2) == torch.tensor([0, 0, 0, 1, 1, 1], device="cpu").bool()).all()
    assert loss(table, data).item() < losses[best] + 1e-3
    probability = (s / (s + b)).logit()
    table.logit.data = probability
    assert loss(table, data).item() > losses[best] + 0.01  # the probability is not the best


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="f1: expected a fraction"):
        mixed_log_ratio(LOG_R, 1.2, 0.2)
    with pytest.raises(ValueError, match="fractions: expected at least two different"):
        proportions_loss(torch.full((3,), 0.5, device="cpu"))
    with pytest.raises(ValueError, match="fractions: expected shape"):
        proportions_loss(torch.tensor([0.5, 1.5], device="cpu"))
    with pytest.raises(ValueError, match=r"x: expected \(N, 2, L\)"):
        loss = proportions_loss(torch.tensor([0.2, 0.8], device="cpu"))
        loss(nn.Identity(), torch.zeros(4, 3, 1, device="cpu"))
