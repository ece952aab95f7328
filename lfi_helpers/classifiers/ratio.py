"""The likelihood ratio of two samples, learned by telling them apart.

Knows samples only, never who drew them.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import batch, finite
from lfi_helpers.classifiers.calibration import Calibrator, calibrate
from lfi_helpers.classifiers.fresh import demand_fresh, fingerprint
from lfi_helpers.classifiers.losses import carl_loss
from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import pick_device
from lfi_helpers.training import History, fit


@dataclass
class LogRatio:
    """A learned log p(x | 0) / p(x | 1): call it on x (N, L) to get (N,)."""

    module: nn.Module
    history: History | None = None
    calibrator: Calibrator | None = None
    trained: tuple = ()  # fingerprints of the rows of x0 and of x1 that were trained on

    def __call__(self, x: Tensor) -> Tensor:
        """Return the log-ratio of each row, (N,), on x's device, without gradient."""
        return self.log_ratio(x)

    def log_ratio(self, x: Tensor) -> Tensor:
        """Return the log-ratio of each row, (N,), calibrated if a calibrator was fitted."""
        score = self.score(x)
        return score if self.calibrator is None else self.calibrator.log_ratio(score)

    def clipped(self, x: Tensor) -> Tensor:
        """Return the same; beyond the scores that were calibrated, as at the outermost of them."""
        score, learned = self.score(x), self.calibrator
        if learned is None:
            return score
        return learned.log_ratio(score.clamp(learned.low, learned.high))

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Return what the network says of each row, (N,), before any calibration."""
        x = finite("x", batch("x", x))
        weights = next(self.module.parameters())
        score = torch.empty(len(x), dtype=weights.dtype, device=x.device)
        for rows, part in zip(x.split(8_192), score.split(8_192), strict=True):
            part.copy_(self.module(rows.to(weights))[:, 0])  # nothing small stays between chunks
        return score

    def calibrated(self, x0: Tensor, x1: Tensor, method: str = "isotonic") -> "LogRatio":
        """Return the ratio calibrated on two fresh samples, (N0, L) and (N1, L).

        Raises:
            ValueError: if a sample was trained on: there a classifier is more certain than it
                should be, and calibration would confirm it.
        """
        score = torch.cat([self.score(x0), self.score(x1)])
        for name, rows, seen in zip(("x0", "x1"), (x0, x1), self.trained, strict=False):
            demand_fresh(name, rows, seen)
        label = torch.cat([torch.ones(len(x0), device="cpu"), torch.zeros(len(x1), device="cpu")])
        return replace(self, calibrator=calibrate(score, label, method))


def fit_log_ratio(
    x0: Tensor,
    x1: Tensor,
    *,
    seed: int = 0,
    hidden: tuple[int, ...] = (64, 64),
    max_epochs: int = 20,
    batch_size: int = 1024,
    learning_rate: float = 1e-2,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> LogRatio:
    """Learn log p(x | 0) / p(x | 1) from a sample of each by binary cross-entropy.

    The draws of the numerator, hypothesis 0, have the label 1. The two samples count equally
    whatever their sizes: their rows have the weights N / (2 N_k), so that no prior odds
    log N_0 / N_1 enters. The features are standardised; a tenth of the rows picks the best epoch.
    Source: arXiv:1506.02169.

    Args:
        x0: draws of the numerator p(x | 0), (N0, L).
        x1: draws of the denominator p(x | 1), (N1, L).
        seed: of the initial weights, the split and the order of the rows.
        hidden, max_epochs, batch_size, learning_rate: of the network and of its training.
        device: ``"auto"`` or a torch device.
        progress: show a bar.

    Raises:
        ValueError: if a sample is not (N, L), not finite or shorter than 10 rows, or the widths
            differ.
    """
    x0 = finite("x0", batch("x0", x0))
    x1 = finite("x1", batch("x1", x1, x0.shape[1]))
    if min(len(x0), len(x1)) < 10:
        raise ValueError(f"x0 and x1: expected at least 10 rows each, got {len(x0)}, {len(x1)}")
    x = torch.cat([x0, x1]).float()
    label = torch.cat([torch.ones_like(x0[:, 0]), torch.zeros_like(x1[:, 0])]).float()
    weight = torch.where(label == 1, len(x) / (2 * len(x0)), len(x) / (2 * len(x1)))

    def loss(module, rows):
        x, label, weight = rows
        return carl_loss(module(x)[:, 0], label, weight)

    network = mlp(x.shape[1], 1, hidden, seed=seed)
    module = nn.Sequential(Standardise(x), network).to(pick_device(device))
    history = fit(
        module,
        loss,
        (x, label, weight),
        max_epochs=max_epochs,
        batch_size=min(batch_size, len(x)),
        learning_rate=learning_rate,
        schedule="cosine",
        seed=seed,
        device=device,
        progress=progress,
    )
    return LogRatio(module, history, trained=(fingerprint(x0), fingerprint(x1)))
