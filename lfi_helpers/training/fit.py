"""fit(): whole tensors on the device, early stopping, best weights restored, resumed after a kill.

It must never know what it trains for.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lfi_helpers.run import pick_device, seeded
from lfi_helpers.training.checkpoint import Store
from lfi_helpers.training.history import History
from lfi_helpers.training.loop import Loop
from lfi_helpers.training.rows import Data, Rows
from lfi_helpers.training.settings import Settings


def fit(
    module: nn.Module,
    loss: Callable[[nn.Module, Data], Tensor],
    data: Data,
    *,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    schedule: str = "cosine",
    validation_fraction: float = 0.1,
    patience: int | None = None,
    min_delta: float = 0.0,
    average: float | None = None,
    gradient_clip: float | None = None,
    accumulate: int = 1,
    precision: str = "32-true",
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    fabric=None,
    progress: bool = True,
) -> History:
    """Minimise ``loss(module, batch)`` over batches of data; restore the best weights seen.

    Args:
        module: trained in place; it stays on the device.
        loss: mean loss of a batch, which has the form of data (a tensor, or a tuple of tensors).
        data: a tensor (N, ...) or a tuple of tensors of N rows, moved to the device once.
        max_steps: how many gradient steps, or
        max_epochs: how many passes over the training rows (exactly one of the two is given).
        batch_size: rows per step; the last, smaller batch of an epoch is left out of it.
        learning_rate: the largest of the schedule.
        schedule: ``"constant"``, ``"cosine"`` to zero, or ``"one_cycle"``.
        validation_fraction: share of the rows that is held out and never trained on; with 0 the
            last weights are kept.
        patience: stop after so many epochs without a better validation loss; None never stops.
        min_delta: by how much a validation loss must undercut the last that counted as better.
            Epochs that gain less together do not count, but the best weights are always kept.
        average: judge and keep not the weights themselves but their running mean, in which each
            step's weights fade by this factor: 0.99 averages about the last hundred steps.
        gradient_clip: largest norm of the gradient; None does not clip.
        accumulate: parts in which a batch passes through the module, to save memory.
        precision: ``"32-true"``, ``"bf16-mixed"`` or ``"16-mixed"``.
        seed: of the split, the order of the rows, and dropout; the global random state is kept.
        device: ``"auto"`` or a torch device.
        checkpoint: a folder. The state is saved there after every epoch; if it has a state of the
            same run, the run goes on from it, bitwise as if it had never stopped.
        fabric: a launched Lightning ``Fabric`` (extra ``scale``): every process calls ``fit`` with
            the same arguments and computes its share of each batch; it then owns device and
            precision, and ``precision`` stays ``"32-true"``.
        progress: show a bar.

    Raises:
        ValueError: for an argument outside its range, or a checkpoint of another run.
        TrainingDiverged: when a loss is not finite; the best weights seen are restored first.
    """
    asked = locals()
    settings = Settings(**{field.name: asked[field.name] for field in fields(Settings)})
    device = pick_device(device if fabric is None else fabric.device)
    rows = Rows(data, validation_fraction, seed, device)
    loop = Loop(module.to(device), loss, rows, settings, fabric)
    with seeded(seed):
        store = None if checkpoint is None else _resume(checkpoint, loop)
        with step_bar(loop.n_steps, progress, initial=loop.step) as bar:
            while not loop.finished:
                loop.epoch()
                if store is not None and (fabric is None or fabric.is_global_zero):
                    store.save(loop.step, loop.state_dict())
                bar.update(loop.step - bar.n)
                bar.set_postfix_str(f"loss {loop.latest:.4g}, best {loop.history.best_loss:.4g}")
    loop.restore()
    return loop.history


def _resume(folder: str | Path, loop: Loop) -> Store:
    """Open the folder of checkpoints and continue from its newest state, if it has one."""
    shapes = {name: tuple(value.shape) for name, value in loop.module.state_dict().items()}
    config = {"settings": asdict(loop.settings), "module": shapes, "data": loop.rows.digest()}
    store = Store(folder, config)
    state = store.load(loop.device)
    if state is not None:
        loop.load_state_dict(state)
    return store


def step_bar(total: int, progress: bool, initial: int = 0) -> tqdm:
    """Return a bar of steps, hidden without progress or where TQDM_DISABLE is set."""
    hidden = not progress or bool(os.environ.get("TQDM_DISABLE"))  # notebooks' bars ignore it
    return tqdm(total=total, initial=initial, unit="step", disable=hidden)
