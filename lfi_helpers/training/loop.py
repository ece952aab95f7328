"""One training run: gradient steps, judgement by held-out rows, the best weights.

It must never know what it trains for.
"""

import copy
import math
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from lfi_helpers.training.history import History, TrainingDiverged
from lfi_helpers.training.rows import Rows
from lfi_helpers.training.settings import Settings

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Loop:
    """The state of a run and what changes it, epoch by epoch."""

    def __init__(self, module: nn.Module, loss, rows: Rows, settings: Settings, fabric=None):
        self.module, self.loss, self.rows, self.settings = module, loss, rows, settings
        self.fabric = fabric
        self.device = rows.shuffle.device
        self.steps_per_epoch = max(1, len(rows.train) // settings.batch_size)
        self.n_steps = settings.n_steps(self.steps_per_epoch)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = Adam(self.parameters, lr=settings.learning_rate, fused=True)
        self.schedule = _schedule(self.optimiser, settings, self.n_steps)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=settings.precision == "16-mixed"
        )
        self.trained = module  # with Fabric, a wrapper that averages gradients over processes
        if fabric is not None:
            self.trained, self.optimiser = fabric.setup(module, self.optimiser)
        self.history = History()
        averaged = self.parameters if settings.average is not None else []
        self.mean = [p.detach().clone() for p in averaged]
        self.best = copy.deepcopy(module.state_dict())
        self.latest = math.nan
        self.to_beat, self.epochs_waited = math.inf, 0

    @property
    def step(self) -> int:
        """How many gradient steps were taken."""
        return self.history.step[-1] if self.history.step else 0

    @property
    def finished(self) -> bool:
        """Are all steps taken, or is patience at its end?"""
        patience = self.settings.patience
        self.history.stopped_early = patience is not None and self.epochs_waited >= patience
        return self.history.stopped_early or self.step >= self.n_steps

    def epoch(self) -> None:
        """Pass over the rows; look at the losses once after it, so that the device never waits."""
        self.module.train()
        start, taken, rates = self.step, 0, []
        losses = torch.empty(self.steps_per_epoch, device=self.device)  # in one piece: many small
        for index in self.rows.shuffled(self.settings.batch_size):  # ones would scatter the memory
            if start + taken == self.n_steps:
                break
            rates.append(self.optimiser.param_groups[0]["lr"])
            losses[taken] = self._step(index)
            taken += 1
            self._average(start + taken)
        losses = losses[:taken]
        if self.fabric is not None:
            losses = self.fabric.all_reduce(losses, reduce_op="mean")
        self._demand_finite(losses, start, rates)
        self.history.step.append(start + taken)
        self.latest = losses.mean().item()
        self.history.train_loss.append(self.latest)
        self._judge()

    def _step(self, index: Tensor) -> Tensor:
        """Take one gradient step on the rows of index, in ``accumulate`` parts."""
        self.optimiser.zero_grad(set_to_none=True)
        if self.fabric is not None:
            index = index[self.fabric.global_rank :: self.fabric.world_size]
        total = torch.zeros((), device=self.device)
        for part in index.chunk(self.settings.accumulate):
            value = self._loss(part) * (len(part) / len(index))
            total += value.detach()
            value = self.scaler.scale(value)
            value.backward() if self.fabric is None else self.fabric.backward(value)
        if self.settings.gradient_clip is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.schedule is not None:
            self.schedule.step()
        return total

    def _loss(self, index: Tensor) -> Tensor:
        dtype = MIXED.get(self.settings.precision)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return self.loss(self.trained, self.rows[index])

    def _judge(self) -> None:
        """Keep the weights if the held-out loss is the lowest so far; without such rows, always.

        A training loss cannot tell better weights from luckier batches, so it decides nothing.
        """
        held = self.rows.held
        self._swap()
        if len(held):
            self.module.eval()
            with torch.no_grad():
                parts = held.split(max(self.settings.batch_size, 4096))
                total = sum(self._loss(part) * len(part) for part in parts) / len(held)
            self._demand_finite(total[None], self.step, None)
            self.latest = total.item()
            self.history.validation_loss.append(self.latest)
        if not len(held) or self.latest < self.history.best_loss:
            self.history.best_loss, self.history.best_step = self.latest, self.step
            self.best = copy.deepcopy(self.module.state_dict())
        self.epochs_waited += 1
        if self.latest < self.to_beat - self.settings.min_delta:
            self.to_beat, self.epochs_waited = self.latest, 0
        self._swap()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the running mean towards the weights; at first it is the mean of all steps."""
        if self.mean:
            share = max(1 - self.settings.average, 1 / step)
            torch._foreach_lerp_(self.mean, self.parameters, share)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the weights and their running mean, if there is one."""
        for weight, mean in zip(self.parameters, self.mean, strict=False):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    def restore(self) -> None:
        """Put the best weights back into the module."""
        self.module.load_state_dict(self.best)
        self.module.eval()

    def state_dict(self) -> dict:
        """Return everything that the next epoch depends on: tensors and numbers only."""
        parts = ("module", "optimiser", "schedule", "scaler")
        owned = {name: getattr(self, name) for name in parts}
        return {
            **{name: part.state_dict() for name, part in owned.items() if part is not None},
            "history": asdict(self.history),
            "best": self.best,
            "mean": self.mean,
            "latest": self.latest,
            "to_beat": self.to_beat,
            "epochs_waited": self.epochs_waited,
            "shuffle": self.rows.shuffle.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state: the next epoch is bitwise what it would have been."""
        for name in ("module", "optimiser", "schedule", "scaler"):
            if name in state:
                getattr(self, name).load_state_dict(state[name])
        self.history = History(**state["history"])
        self.best, self.latest, self.mean = state["best"], state["latest"], state["mean"]
        self.to_beat, self.epochs_waited = state["to_beat"], state["epochs_waited"]
        self.rows.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all([s.cpu() for s in state["random_cuda"]])

    def _demand_finite(self, losses: Tensor, start: int, rates: list[float] | None) -> None:
        bad = (~torch.isfinite(losses)).nonzero()
        if not len(bad):
            return
        k = int(bad[0])
        self.restore()
        last = losses[k - 1].item() if k else self.latest
        rate = rates[k] if rates else self.optimiser.param_groups[0]["lr"]
        raise TrainingDiverged(start + k, rate, last)


def _schedule(optimiser, settings: Settings, n_steps: int) -> LRScheduler | None:
    if settings.schedule == "constant":
        return None
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimiser, n_steps)
    return OneCycleLR(optimiser, max_lr=settings.learning_rate, total_steps=n_steps + 1)
