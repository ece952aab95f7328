"""The settings of a training run, checked before anything is computed. Trains nothing itself."""

import math
from dataclasses import dataclass

from lfi_helpers.arguments import one_of, positive
from lfi_helpers.run import check_seed

SCHEDULES = ("constant", "cosine", "one_cycle")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Settings:
    """What ``fit`` was asked for; ``fit``'s docstring explains each."""

    max_steps: int | None
    max_epochs: int | None
    batch_size: int
    learning_rate: float
    schedule: str
    validation_fraction: float
    patience: int | None
    min_delta: float
    average: float | None
    gradient_clip: float | None
    accumulate: int
    precision: str
    seed: int

    def __post_init__(self):
        if (self.max_steps is None) == (self.max_epochs is None):
            got = f"{self.max_steps} and {self.max_epochs}"
            raise ValueError(f"max_steps and max_epochs: expected exactly one, got {got}")
        for name in ("max_steps", "max_epochs", "batch_size", "patience", "accumulate"):
            count = getattr(self, name)
            if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
                raise ValueError(f"{name}: expected an integer >= 1, got {count!r}")
            if count is not None and count < 1:
                raise ValueError(f"{name}: expected an integer >= 1, got {count}")
        positive("learning_rate", self.learning_rate)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta: expected a finite number >= 0, got {self.min_delta}")
        if self.gradient_clip is not None:
            positive("gradient_clip", self.gradient_clip)
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average: expected 0 < average < 1, got {self.average}")
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        check_seed(self.seed)
        share = self.validation_fraction
        if not 0 <= share < 1:
            raise ValueError(f"validation_fraction: expected 0 <= fraction < 1, got {share}")
        if self.patience is not None and not share:
            raise ValueError("patience: expected held-out rows to judge by, got fraction 0")

    def n_steps(self, steps_per_epoch: int) -> int:
        """Return how many gradient steps the whole run takes."""
        return self.max_steps or self.max_epochs * steps_per_epoch
