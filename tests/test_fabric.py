"""Two processes that share each batch find what one process finds."""

import subprocess
import sys
from pathlib import Path

import torch

from lfi_helpers.networks import mlp
from lfi_helpers.run import generator
from lfi_helpers.training import fit

SETTINGS = {"max_epochs": 3, "batch_size": 100, "learning_rate": 0.01, "seed": 1}
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from lightning_fabric import Fabric
import test_fabric as t

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
state, history = t.train(fabric=fabric, checkpoint={folder!r})
torch.save((state, history.train_loss), f"{folder}/rank{{fabric.global_rank}}.pt")
"""


def loss(module, batch):
    x, y = batch
    return (module(x)[:, 0] - y).square().mean()


def train(**more):
    module = mlp(3, 1, (16,))
    x = torch.randn(2000, 3, generator=generator(0))
    history = fit(module, loss, (x, x.prod(1)), progress=False, **SETTINGS, **more)
    return module.state_dict(), history


def test_two_processes_share_each_batch(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True, timeout=300)
    (state, losses), (other, _) = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    alone, history = train(device="cpu")
    torch.testing.assert_close(state, other, rtol=0, atol=0)
    torch.testing.assert_close(state, alone, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses, history.train_loss, rtol=1e-3, atol=1e-5)
    assert len(list(tmp_path.glob("step-*.pt"))) == 2
