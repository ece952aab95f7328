"""The recurrent network: packed sequences, recursion by hand, padding, order, gradients."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from lfi_helpers.networks import Recurrent
from lfi_helpers.run import generator


def batch(n=40, longest=9):
    g = generator(0)
    length = torch.randint(0, longest + 1, (n,), generator=g)
    length[:2] = torch.tensor([0, longest])
    return torch.randn(n, longest, 3, generator=g), length


def test_it_equals_the_packed_sequence():
    net, (rows, length) = Recurrent(3, 2, hidden=8, seed=1), batch()
    some = length > 0
    packed = pack_padded_sequence(rows[some], length[some], batch_first=True, enforce_sorted=False)
    state = torch.zeros(len(rows), 8)
    state[some] = net.lstm(packed)[1][0][-1]
    assert (net(rows, length) - net.head(state)).abs().max() < 1e-6


def test_it_equals_the_recursion_by_hand():
    """Gates i, f, o and the candidate g: c = f c + i g, h = o tanh c."""
    net, (rows, length) = Recurrent(3, 1, hidden=4, seed=2).double(), batch(6)
    rows = rows.double()
    weights = [p for _, p in net.lstm.named_parameters()]
    for k, n in enumerate(length.tolist()):
        h = c = torch.zeros(4, dtype=torch.float64)
        for t in range(n):
            gates = weights[0] @ rows[k, t] + weights[1] @ h + weights[2] + weights[3]
            i, f, g, o = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        assert (net(rows[k : k + 1], length[k : k + 1]) - net.head(h)).abs().max() < 1e-12


def test_padding_never_matters_not_even_nan_and_neither_do_the_neighbours():
    net, (rows, length) = Recurrent(3, seed=3), batch()
    padding = torch.arange(9) >= length[:, None]
    expected = net(rows.masked_fill(padding[..., None], 0.0), length)
    for rubbish in (7.0, 1e30, torch.nan):
        filled = rows.masked_fill(padding[..., None], rubbish)
        assert torch.equal(net(filled, length), expected)
    longer = torch.cat([rows, torch.full((40, 5, 3), -3.0)], 1)
    assert torch.equal(net(longer, length), expected)
    alone = torch.cat([net(rows[k : k + 1], length[k : k + 1]) for k in range(40)])
    assert (alone - expected).abs().max() < 1e-6


def test_a_network_that_reads_the_padding_is_told_apart():
    net, (rows, length) = Recurrent(3, seed=3), batch()
    to_the_end = torch.full_like(length, 9)
    padding = torch.arange(9) >= length[:, None]
    one, other = (rows.masked_fill(padding[..., None], v) for v in (0.0, 7.0))
    assert (net(one, to_the_end) - net(other, to_the_end)).abs().max() > 1e-2


def test_the_order_of_the_rows_matters():
    net, (rows, length) = Recurrent(3, seed=3), batch()
    full = torch.full_like(length, 9)
    assert (net(rows, full) - net(rows.flip(1), full)).abs().max() > 1e-3


def test_gradients_do_not_reach_the_padding():
    net, (rows, length) = Recurrent(3, seed=4), batch()
    rows.requires_grad_()
    net(rows, length).sum().backward()
    reached = (rows.grad != 0).any(2)
    assert torch.equal(reached, torch.arange(9) < length[:, None])
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_padding_does_not_reach_the_weights_gradients():
    net, (rows, length) = Recurrent(3, seed=4), batch()
    padding = (torch.arange(9) >= length[:, None])[..., None]

    def gradients(filling):
        answer = net(rows.masked_fill(padding, filling), length).sum()
        return torch.autograd.grad(answer, list(net.parameters()))

    for clean, filled in zip(gradients(0.0), gradients(torch.nan), strict=True):
        assert torch.equal(clean, filled)


def test_only_empty_sequences():
    net = Recurrent(3, 2, seed=5)
    got = net(torch.ones(4, 3, 3), torch.zeros(4, dtype=torch.int64))
    assert torch.equal(got, net.head(torch.zeros(4, 16)))


def test_seeds_and_the_default_device(same_when_poisoned):
    rows, length = batch()
    same_when_poisoned(lambda: Recurrent(3, seed=6)(rows, length).detach())
    one, same, other = (Recurrent(3, seed=s)(rows, length) for s in (6, 6, 7))
    assert torch.equal(one, same) and not torch.equal(one, other)
    for a, b in zip(
        Recurrent(3, seed=6).parameters(), Recurrent(3, seed=7).parameters(), strict=True
    ):
        assert not torch.equal(a, b)


@pytest.mark.parametrize(
    ("rows", "length", "message"),
    [
        (torch.ones(4, 3), torch.ones(4).long(), r"rows: expected shape \(N, T, 3\)"),
        (torch.ones(4, 5, 2), torch.ones(4).long(), r"rows: expected shape \(N, T, 3\), got"),
        (torch.ones(4, 0, 3), torch.zeros(4).long(), r"rows: expected shape \(N, T, 3\)"),
        (torch.ones(4, 5, 3), torch.ones(4), r"length: expected \(4,\) integers"),
        (torch.ones(4, 5, 3), torch.ones(3).long(), r"length: expected \(4,\) integers, got"),
        (torch.ones(2, 5, 3), torch.tensor([1, 6]), "length: expected 0 ... 5 rows, got 1 ... 6"),
        (torch.ones(2, 5, 3), torch.tensor([-1, 2]), "length: expected 0 ... 5 rows, got -1"),
    ],
)
def test_wrong_input_is_named(rows, length, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(3)(rows, length)


@pytest.mark.parametrize("widths", [(0, 1, 4), (3, 0, 4), (3, 1, 0)])
def test_a_width_below_one_is_refused(widths):
    with pytest.raises(ValueError, match="expected a (width >= 1|number > 0), got 0"):
        Recurrent(*widths)
