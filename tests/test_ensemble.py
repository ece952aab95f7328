"""An ensemble trained in one pass is its members trained one by one."""

import pytest
import torch
from torch import nn

from lfi_helpers.networks import Ensemble, Standardise, mlp
from lfi_helpers.run import generator
from lfi_helpers.training import fit

SETTINGS = {"max_epochs": 5, "batch_size": 50, "device": "cpu", "progress": False, "seed": 2}


def data():
    x = torch.randn(500, 3, generator=generator(0))
    return x, x.square().sum(1)


def members(k=3):
    return [nn.Sequential(Standardise(data()[0]), mlp(3, 1, (16,), seed=s)) for s in range(k)]


def loss(module, batch):
    x, y = batch
    return (module(x)[..., 0] - y).square().mean(-1).sum()  # sum over members if there are any


def test_one_pass_trains_each_member_as_if_alone():
    together = Ensemble(members())
    fit(together, loss, data(), validation_fraction=0, **SETTINGS)
    for k, alone in enumerate(members()):
        fit(alone, loss, data(), validation_fraction=0, **SETTINGS)
        torch.testing.assert_close(together.member(k).state_dict(), alone.state_dict())
        torch.testing.assert_close(together(data()[0])[k], alone(data()[0]))


def test_members_do_not_share_weights():
    first = members(2)
    together = Ensemble(first)
    before = first[0][1][0].weight.clone()
    with torch.no_grad():
        for parameter in together.parameters():
            parameter += 1
    assert torch.equal(first[0][1][0].weight, before)
    assert not torch.equal(together.member(0)[1][0].weight, together.member(1)[1][0].weight)


def test_dropout_differs_between_members_in_training_only():
    same = [nn.Sequential(mlp(3, 8, ()), nn.Dropout(0.5)) for _ in range(2)]
    together, x = Ensemble(same), data()[0]
    with torch.random.fork_rng():
        together.train()
        out = together(x)
    assert not torch.equal(out[0], out[1])
    together.eval()
    assert torch.equal(*together(x))


def test_no_default_device_is_used(same_when_poisoned):
    x = data()[0]
    same_when_poisoned(lambda: Ensemble([mlp(3, 1, seed=s) for s in range(2)])(x).detach())


def test_unlike_members_are_refused():
    with pytest.raises(ValueError, match="members: expected modules of one architecture"):
        Ensemble([mlp(3, 1), mlp(3, 2)])
    with pytest.raises(ValueError, match="members: expected at least one"):
        Ensemble([])
    with pytest.raises(ValueError, match="k: expected 0 <= k < 1"):
        Ensemble([mlp(3, 1)]).member(1)
