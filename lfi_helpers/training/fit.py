"""The training loop: whole tensors on the device, early stopping, best weights restored.

It must never know what it trains for.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from tqdm.auto import tqdm

from lfi_helpers.arguments import one_of, positive, same_length
from lfi_helpers.run import generator, pick_device, seeded
from lfi_helpers.training.history import History, TrainingDiverged

SCHEDULES = ("constant", "cosine", "one_cycle")
Data = Tensor | tuple[Tensor, ...]


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
    seed: int = 0,
    device: str | torch.device = "auto",
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
        seed: of the split, the order of the rows, and dropout; the global random state is kept.
        device: ``"auto"`` or a torch device.
        progress: show a bar.

    Raises:
        ValueError: for an argument outside its range.
        TrainingDiverged: when a loss is not finite; the best weights seen are restored first.
    """
    steps_asked, validation_fraction = _check(
        max_steps, max_epochs, batch_size, learning_rate, schedule, validation_fraction, patience
    )
    device = pick_device(device)
    module.to(device)
    columns, rebuild = _columns(data, device)
    shuffle = generator(seed, device=device)
    order = torch.randperm(len(columns[0]), generator=shuffle, device=device)
    n_held = round(validation_fraction * len(order))
    held, train = order[:n_held], order[n_held:]
    if validation_fraction and not n_held:
        raise ValueError(f"data: expected enough rows to hold some out, got {len(order)}")
    if len(train) == 0:
        raise ValueError("data: expected at least one row to train on, got none")
    steps_per_epoch = max(1, len(train) // batch_size)
    n_steps = steps_asked if max_steps else steps_asked * steps_per_epoch

    def batch_loss(rows: Tensor) -> Tensor:
        return loss(module, rebuild([column[rows] for column in columns]))

    loop = _Loop(module, batch_loss, learning_rate, schedule, n_steps)
    bar = tqdm(total=n_steps, desc="fit", unit="step", disable=None if progress else True)
    with seeded(seed), bar:
        for first in range(0, n_steps, steps_per_epoch):
            rows = train[torch.randperm(len(train), generator=shuffle, device=device)]
            loop.epoch(rows, batch_size, min(steps_per_epoch, n_steps - first))
            loop.judge(held, batch_size)
            bar.update(loop.history.step[-1] - bar.n)
            bar.set_postfix(loss=f"{loop.latest:.4g}", best=f"{loop.history.best_loss:.4g}")
            if patience is not None and loop.epochs_since_best >= patience:
                loop.history.stopped_early = True
                break
    loop.restore()
    return loop.history


class _Loop:
    """One training run: optimiser, schedule, history and the best weights so far."""

    def __init__(self, module, batch_loss, learning_rate, schedule, n_steps):
        self.module, self.batch_loss = module, batch_loss
        self.optimiser = Adam(module.parameters(), lr=learning_rate, fused=True)
        self.schedule = _schedule(self.optimiser, schedule, learning_rate, n_steps)
        self.history = History()
        self.best = copy.deepcopy(module.state_dict())
        self.latest = math.nan
        self.epochs_since_best = 0

    def epoch(self, rows: Tensor, batch_size: int, n_steps: int) -> None:
        """Take n_steps; look at the losses once after them, so that the device never waits."""
        self.module.train()
        start = self.history.step[-1] if self.history.step else 0
        losses, rates = [], []
        for k in range(n_steps):
            value = self.batch_loss(rows[k * batch_size : (k + 1) * batch_size])
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            rates.append(self.optimiser.param_groups[0]["lr"])
            self.optimiser.step()
            if self.schedule is not None:
                self.schedule.step()
            losses.append(value.detach())
        losses = torch.stack(losses)
        self._demand_finite(losses, start, rates)
        self.history.step.append(start + n_steps)
        self.latest = losses.mean().item()
        self.history.train_loss.append(self.latest)

    def judge(self, held: Tensor, batch_size: int) -> None:
        """Keep the weights if the held-out loss is the lowest so far; without such rows, always.

        A training loss cannot tell better weights from luckier batches, so it decides nothing.
        """
        if len(held):
            self.module.eval()
            with torch.no_grad():
                parts = held.split(max(batch_size, 4096))
                total = sum(self.batch_loss(rows) * len(rows) for rows in parts) / len(held)
            self._demand_finite(total[None], self.history.step[-1], None)
            self.latest = total.item()
            self.history.validation_loss.append(self.latest)
        if not len(held) or self.latest < self.history.best_loss:
            self.history.best_loss, self.history.best_step = self.latest, self.history.step[-1]
            self.best = copy.deepcopy(self.module.state_dict())
            self.epochs_since_best = 0
        else:
            self.epochs_since_best += 1

    def restore(self) -> None:
        self.module.load_state_dict(self.best)
        self.module.eval()

    def _demand_finite(self, losses: Tensor, start: int, rates: list[float] | None) -> None:
        bad = (~torch.isfinite(losses)).nonzero()
        if not len(bad):
            return
        k = int(bad[0])
        self.restore()
        last = losses[k - 1].item() if k else self.latest
        rate = rates[k] if rates else self.optimiser.param_groups[0]["lr"]
        raise TrainingDiverged(start + k, rate, last)


def _schedule(optimiser, name, learning_rate, n_steps) -> LRScheduler | None:
    if name == "constant":
        return None
    if name == "cosine":
        return CosineAnnealingLR(optimiser, n_steps)
    return OneCycleLR(optimiser, max_lr=learning_rate, total_steps=n_steps + 1)


def _columns(data: Data, device: torch.device):
    """Return data's tensors on the device and the function that gives a batch data's form."""
    single = isinstance(data, Tensor)
    columns = [data] if single else list(data)
    for i, column in enumerate(columns):
        if not isinstance(column, Tensor):
            raise TypeError(f"data: expected tensors, got {type(column).__name__} at place {i}")
    if not columns:
        raise ValueError("data: expected at least one tensor, got none")
    same_length(**{f"data[{i}]": column for i, column in enumerate(columns)})
    return [column.to(device) for column in columns], (lambda part: part[0]) if single else tuple


def _check(
    max_steps, max_epochs, batch_size, learning_rate, schedule, validation_fraction, patience
):
    if (max_steps is None) == (max_epochs is None):
        raise ValueError(
            f"max_steps and max_epochs: expected exactly one, got {max_steps} and {max_epochs}"
        )
    counts = {
        "max_steps": max_steps,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "patience": patience,
    }
    for name, count in counts.items():
        if count is not None and (
            isinstance(count, bool) or not isinstance(count, int) or count < 1
        ):
            raise ValueError(f"{name}: expected an integer >= 1, got {count!r}")
    positive("learning_rate", learning_rate)
    one_of("schedule", schedule, SCHEDULES)
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            f"validation_fraction: expected 0 <= fraction < 1, got {validation_fraction}"
        )
    if patience is not None and not validation_fraction:
        raise ValueError("patience: expected held-out rows to judge by, got validation_fraction 0")
    return max_steps or max_epochs, validation_fraction
