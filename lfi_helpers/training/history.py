"""What a training run leaves behind: its losses, or the error that says where it diverged.

Computes nothing.
"""

from dataclasses import dataclass, field


@dataclass
class History:
    """Losses of one call of ``fit``, one entry per epoch.

    ``step`` counts gradient steps; ``train_loss`` is the mean over the epoch's batches,
    ``validation_loss`` the mean over the held-out rows (empty without validation); the weights of
    ``best_step`` were restored.
    """

    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_step: int = 0
    best_loss: float = float("inf")
    stopped_early: bool = False


class TrainingDiverged(RuntimeError):
    """A loss stopped being finite. The best weights seen are kept in the module."""

    def __init__(self, step: int, learning_rate: float, last_loss: float):
        self.step, self.learning_rate, self.last_loss = step, learning_rate, last_loss
        super().__init__(
            f"training diverged at step {step}: learning rate {learning_rate:.3g}, "
            f"last finite loss {last_loss:.6g}; the best weights seen are restored: "
            "try a smaller learning rate"
        )
