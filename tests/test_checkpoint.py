"""Checkpoints: a killed run ends where an uninterrupted one does; damage is seen and named."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from lfi_helpers.networks import mlp
from lfi_helpers.run import generator
from lfi_helpers.training import TrainingDiverged, fit
from lfi_helpers.training.checkpoint import Store

CPU = torch.device("cpu")


def train(folder, max_epochs=6, seed=3, data=None, **settings):
    """Train a network with dropout and early stopping; return its weights and history."""
    x = torch.randn(400, 3, generator=generator(0)) if data is None else data
    module = nn.Sequential(mlp(3, 16), nn.Dropout(0.3), mlp(16, 1, ()))
    history = fit(
        module,
        lambda m, x: (m(x)[:, 0] - x.sum(1)).square().mean(),
        x,
        max_epochs=max_epochs,
        batch_size=50,
        learning_rate=0.01,
        patience=50,
        seed=seed,
        device="cpu",
        checkpoint=folder,
        progress=False,
        **settings,
    )
    return torch.cat([p.detach().flatten() for p in module.parameters()]), history


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import test_checkpoint as t
save = t.Store.save
def slow(self, *state):
    save(self, *state)
    time.sleep(0.03)  # let the killer hit every epoch
t.Store.save = slow
print("ready", flush=True)
weights, history = t.train({folder!r}, max_epochs=40)
print("done", flush=True)
"""


def test_kills_at_any_moment_change_nothing(tmp_path):
    """Kill a real process again and again; what comes out is bitwise the uninterrupted run."""
    expected, history = train(tmp_path / "calm", max_epochs=40)
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "killed"))
    moments, kills = random.Random(0), 0
    for _ in range(30):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moments.uniform(0.05, 0.6))
        if process.poll() is None and kills < 5:
            process.send_signal(signal.SIGKILL)
            kills += 1
        done = b"done" in process.communicate()[0]
        if done:
            break
    assert done and kills >= 3
    got, resumed = train(tmp_path / "killed", max_epochs=40)
    assert torch.equal(got, expected)
    assert resumed == history
    assert not list((tmp_path / "killed").glob("*.tmp"))
    assert len(list((tmp_path / "killed").glob("*.pt"))) == 2


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_an_interrupted_run_goes_on_bitwise(tmp_path, monkeypatch, schedule, average):
    settings = {"schedule": schedule, "average": average}
    expected, history = train(tmp_path / "calm", **settings)
    save = Store.save

    def interrupt(self, step, state):
        save(self, step, state)
        if step == 3 * 7:  # 360 rows in batches of 50 make 7 steps an epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", **settings)
    monkeypatch.setattr(Store, "save", save)
    got, resumed = train(tmp_path / "stopped", **settings)
    assert torch.equal(got, expected) and resumed == history


def test_without_the_shuffle_state_the_resumed_run_differs(tmp_path, monkeypatch):
    """The wrong implementation that many have shipped: every resume replays the first order."""
    from lfi_helpers.training.loop import Loop

    expected, _ = train(tmp_path / "calm")
    load = Loop.load_state_dict
    monkeypatch.setattr(
        Loop,
        "load_state_dict",
        lambda self, state: load(self, state | {"shuffle": self.rows.shuffle.get_state()}),
    )
    steps = iter([False, False, True])
    save = Store.save

    def interrupt(self, *state):
        save(self, *state)
        if next(steps, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped")
    assert not torch.equal(train(tmp_path / "stopped")[0], expected)


def state_of(k):
    return {"weights": torch.full((200,), float(k)), "k": k}


def filled(folder):
    store = Store(folder, {"run": 1})
    for k in range(4):
        store.save(k, state_of(k))
    return store


def test_the_newest_of_two_is_loaded(tmp_path):
    assert Store(tmp_path / "empty", {}).load(CPU) is None
    assert filled(tmp_path).load(CPU)["k"] == 3
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert names == [f"step-{k:012d}.{end}" for k in (2, 3) for end in ("json", "pt")]


def test_every_flipped_bit_is_seen(tmp_path):
    """torch.load alone accepts about half of such files in silence."""
    store = filled(tmp_path)
    path = tmp_path / "step-000000000003.pt"
    good, dice = path.read_bytes(), random.Random(1)
    for _ in range(200):
        bad = bytearray(good)
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        path.write_bytes(bad)
        with pytest.warns(UserWarning, match="step-000000000003 is damaged .*fingerprint"):
            assert store.load(CPU)["k"] == 2


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("end", ["pt", "json"])
def test_a_truncated_file_is_named_and_the_one_before_is_used(tmp_path, end, share):
    store = filled(tmp_path)
    path = tmp_path / f"step-000000000003.{end}"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.warns(UserWarning, match="step-000000000003 is damaged"):
        assert store.load(CPU)["k"] == 2


def test_a_missing_file_is_named(tmp_path):
    store = filled(tmp_path)
    (tmp_path / "step-000000000003.pt").unlink()
    with pytest.warns(UserWarning, match="step-000000000003 is damaged .*FileNotFoundError"):
        assert store.load(CPU)["k"] == 2


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    store = filled(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(4, state_of(4))
    monkeypatch.undo()
    assert Store(tmp_path, {"run": 1}).load(CPU)["k"] == 3
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("change", [{"seed": 4}, {"max_epochs": 7}, {"data": torch.ones(400, 3)}])
def test_the_checkpoints_of_another_run_are_refused(tmp_path, change):
    train(tmp_path)
    with pytest.raises(ValueError, match="checkpoint: expected one of this run.*got another's"):
        train(tmp_path, **change)


def test_no_code_is_loaded(tmp_path):
    """A file that would run a command when unpickled is refused although its fingerprint fits."""
    store = filled(tmp_path)

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    store.save(9, {"k": Hostile()})
    with pytest.raises(Exception, match="[Ww]eights"):
        store.load(CPU)
    assert not (tmp_path / "ran").exists()


def test_after_a_divergence_the_last_good_state_is_kept(tmp_path):
    x = torch.randn(400, 3, generator=generator(0))
    calls = []

    def loss(module, x):
        calls.append(1)
        return module(x).square().mean() * (torch.nan if len(calls) > 20 else 1)

    with pytest.raises(TrainingDiverged):
        fit(mlp(3, 1), loss, x, max_epochs=5, batch_size=50, checkpoint=tmp_path, progress=False)
    assert Store(tmp_path, {}).folder.joinpath("step-000000000014.pt").exists()
