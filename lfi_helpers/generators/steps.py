"""The steps of a game: rows to draw, a falling rate, a look whether it still is a game.

Knows numbers and modules; must never know who plays, nor for what.
"""

import copy
import math

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import positive
from lfi_helpers.training import TrainingDiverged
from lfi_helpers.training.fit import step_bar

LOOK = 50  # steps between two looks at the value
BEYOND = 1e3  # a value of more nats, or standard deviations of the data, is no game any more


def demand(max_steps, batch_size, critic_rate, penalty) -> None:
    """Raise unless these are numbers that a game can be played with."""
    positive("max_steps", max_steps)
    positive("batch_size", batch_size)
    positive("critic_rate", critic_rate)
    if not penalty >= 0:
        raise ValueError(f"penalty: expected a number >= 0, got {penalty!r}")


class Rows:
    """Draws of columns (1, L, M) from a sample (1, L, N)."""

    def __init__(self, sample: Tensor, size: int, hand: torch.Generator):
        self.sample, self.size, self.hand = sample.contiguous(), size, hand

    def __call__(self) -> Tensor:
        """Draw M of the columns, with replacement."""
        which = {"generator": self.hand, "device": self.sample.device, "dtype": torch.int64}
        return self.sample[:, :, torch.randint(self.sample.shape[2], (self.size,), **which)]


class Watch:
    """Steps with a falling rate; every so often a look whether this still is a game."""

    def __init__(self, players: nn.Module, max_steps: int, rate: float, progress: bool):
        self.players, self.max_steps, self.rate, self.progress = players, max_steps, rate, progress
        self.good = copy.deepcopy(players.state_dict())
        self.step, self.value, self.loss, self.fresh = [], [], [], []

    def steps(self):
        """Yield the step and the share of the rate that is left."""
        with step_bar(self.max_steps, self.progress) as bar:
            for step in range(self.max_steps):
                fall = (1 + math.cos(math.pi * step / self.max_steps)) / 2
                yield step, fall
                if len(self.fresh) == LOOK or step + 1 == self.max_steps:
                    self.look(step + 1, self.rate * fall)
                    bar.update(step + 1 - bar.n)

    def note(self, value: Tensor, loss: Tensor) -> None:
        """Keep the value of the game and the generator's loss of one step."""
        self.fresh.append(torch.stack([value, loss]))

    def look(self, step: int, rate: float) -> None:
        """Write down the means since the last look; put the players back if they are lost."""
        value, loss = torch.stack(self.fresh).mean(0).tolist()
        sound = all(p.isfinite().all() for p in self.players.state_dict().values())
        if not (sound and abs(value) < BEYOND):  # also NaN
            self.players.load_state_dict(self.good)
            raise TrainingDiverged(step, rate, self.value[-1] if self.value else math.nan)
        self.good = copy.deepcopy(self.players.state_dict())
        self.step.append(step)
        self.value.append(value)
        self.loss.append(loss)
        self.fresh = []
