"""One classifier for all parameters: theta is an input of the network, beside the event.

Knows samples only, never who drew them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import batch, finite, one_of, same_length
from lfi_helpers.classifiers.calibration import calibrate
from lfi_helpers.classifiers.losses import carl_loss
from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import generator, pick_device, spawn_seeds
from lfi_helpers.training import History, fit

RANK = 12  # of the bilinear network
MARGIN = 0.01  # of the range of theta trained on: so far beyond it a ratio is still given


class ThetaNetwork(nn.Module):
    r"""log r(x | theta) of standardised inputs: call it on theta (N, D), x (N, L) to get (N,).

    ``"mlp"`` takes theta and x side by side; ``"bilinear"`` is a(x) . b(theta) + c(theta) with two
    networks, which suits log-ratios of families that are close to exponential.
    """

    def __init__(self, theta: Tensor, x: Tensor, kind: str, hidden: tuple[int, ...], seed: int):
        super().__init__()
        one_of("kind", kind, ["mlp", "bilinear"])
        seeds = spawn_seeds(seed, 2)
        self.kind = kind
        self.standard_theta, self.standard_x = Standardise(theta), Standardise(x)
        if kind == "mlp":
            self.network = mlp(theta.shape[1] + x.shape[1], 1, hidden, seed=seeds[0])
        else:
            self.of_x = mlp(x.shape[1], RANK, hidden, seed=seeds[0])
            self.of_theta = mlp(theta.shape[1], RANK + 1, hidden[:1], seed=seeds[1])

    def forward(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-ratio of each row, (N,)."""
        theta, x = self.standard_theta(theta), self.standard_x(x)
        if self.kind == "mlp":
            return self.network(torch.cat([theta, x], 1))[:, 0]
        b = self.of_theta(theta)  # (N, RANK + 1)
        return (self.of_x(x) * b[:, :-1]).sum(1) + b[:, -1]


def borrow_theta(theta: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw n rows of theta, in whole shuffled rounds: for events that know no theta, (n, D).

    Events of the denominator must get theta from the same distribution as those of the numerator.
    Else theta itself tells the two apart, and the ratio learned is that of (theta, x) together.
    """
    theta = batch("theta", theta)
    rounds = []
    for first in range(0, n, len(theta)):
        order = torch.randperm(len(theta), generator=generator, device="cpu")
        rounds.append(order[: n - first])
    return theta[torch.cat(rounds).to(theta.device)]


@dataclass
class ParametrisedRatio:
    """A learned log p(x | theta) / p_1(x): call it on theta (N, D) and x (N, L) to get (N,).

    It refuses every theta that is not between ``low`` and ``high``, (D,) each: the range it was
    trained on.
    """

    module: ThetaNetwork
    low: Tensor
    high: Tensor
    history: History | None = None

    @torch.no_grad()
    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-ratio of each row, (N,), on x's device, without gradient.

        Raises:
            ValueError: for a theta outside the range that was trained on.
        """
        theta, x = self.inside(theta), finite("x", batch("x", x))
        same_length(theta=theta, x=x)
        rows = zip(theta.split(8_192), x.split(8_192), strict=True)
        weights = next(self.module.parameters())
        return torch.cat([self.module(t.to(weights), v.to(weights)) for t, v in rows]).to(x.device)

    def table(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-ratio of every event at every theta: (G, D), (N, L) -> (G, N)."""
        theta = self.inside(theta)
        return torch.stack([self(row.expand(len(x), -1), x) for row in theta])

    def calibrated_table(
        self,
        theta: Tensor,
        x: Tensor,
        draw: Callable[[Tensor], Tensor],
        x_ref: Tensor,
        method: str = "platt",
        theta_ref: Tensor | None = None,
    ) -> Tensor:
        """Return ``table`` with a calibration of its own at every theta, (G, N).

        A likelihood surface adds up small differences between neighbouring theta: ``draw`` should
        use the same noise at each (common random numbers), and the method should be smooth in
        theta. Platt's two numbers are; steps and bins are not.

        With ``theta_ref`` the ratio is that to p(x | theta_ref), which ``x_ref`` is then drawn
        from. Take a neighbour of theta: between two that overlap, Platt's regression makes the
        mean of the log-ratio right where the events lie, whatever the network has got wrong.

        Args:
            theta: where the surface is wanted, (G, D).
            x: events, (N, L).
            draw: gives fresh events (M, L) at one theta (D,).
            x_ref: fresh events of the denominator, (M', L).
            method: of ``calibrate``.
            theta_ref: another denominator than the one trained with, (D,).
        """

        def score(at, events):
            above = self.table(at[None], events)[0]
            return above if theta_ref is None else above - self.table(theta_ref[None], events)[0]

        rows = []
        for at in self.inside(theta):
            fresh = draw(at)
            scores = score(at, fresh), score(at, x_ref)
            label = torch.cat([torch.ones_like(scores[0]), torch.zeros_like(scores[1])])
            calibrator = calibrate(torch.cat(scores), label, method)
            rows.append(calibrator.log_ratio(score(at, x)))
        return torch.stack(rows)

    def inside(self, theta: Tensor) -> Tensor:
        """Return theta (N, D) if it is in the range that was trained on; else raise."""
        theta = finite("theta", batch("theta", theta, len(self.low)))
        low, high = self.low.to(theta), self.high.to(theta)
        outside = ((theta < low) | (theta > high)).any(1)
        if outside.any():
            wanted = f"between {low.tolist()} and {high.tolist()}, as trained on"
            got = f"{int(outside.sum())} outside, the first {theta[outside][0].tolist()}"
            raise ValueError(f"theta: expected values {wanted}, got {got}")
        return theta


def fit_parametrised(
    theta: Tensor,
    x0: Tensor,
    x1: Tensor,
    *,
    kind: str = "bilinear",
    seed: int = 0,
    hidden: tuple[int, ...] = (64, 64),
    max_epochs: int = 15,
    batch_size: int = 1024,
    learning_rate: float = 6e-3,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> ParametrisedRatio:
    """Learn log p(x | theta) / p_1(x) for all theta at once by binary cross-entropy.

    Events of the denominator get theta drawn from those of the numerator. The two samples count
    equally whatever their sizes. Source: arXiv:1601.07913, arXiv:1506.02169.

    Args:
        theta: parameters of the numerator, spread over the range of interest, (N0, D).
        x0: one draw at each, (N0, L).
        x1: draws of the denominator, which knows no theta, (N1, L).
        kind: ``"bilinear"`` or ``"mlp"``, see ``ThetaNetwork``.
        seed: of the borrowed theta, the initial weights, the split and the order of the rows.
        hidden, max_epochs, batch_size, learning_rate: of the network and of its training.
        device: ``"auto"`` or a torch device.
        checkpoint: a folder of ``fit``: an interrupted training goes on from there.
        progress: show a bar.

    Raises:
        ValueError: for other shapes, numbers that are not finite, or fewer than 10 rows.
    """
    theta, x0 = finite("theta", batch("theta", theta)).float(), finite("x0", batch("x0", x0))
    x1 = finite("x1", batch("x1", x1, x0.shape[1]))
    same_length(theta=theta, x0=x0)
    if min(len(x0), len(x1)) < 10:
        raise ValueError(f"x0 and x1: expected at least 10 rows each, got {len(x0)}, {len(x1)}")
    borrowed = borrow_theta(theta, len(x1), generator(seed))
    rows_theta, x = torch.cat([theta, borrowed]), torch.cat([x0, x1]).float()
    label = torch.cat([torch.ones_like(x0[:, 0]), torch.zeros_like(x1[:, 0])]).float()
    weight = torch.where(label == 1, len(x) / (2 * len(x0)), len(x) / (2 * len(x1)))
    module = ThetaNetwork(theta, x, kind, hidden, seed).to(pick_device(device))
    history = fit(
        module,
        lambda module, rows: carl_loss(module(*rows[:2]), *rows[2:]),
        (rows_theta, x, label, weight),
        max_epochs=max_epochs,
        batch_size=min(batch_size, len(x)),
        learning_rate=learning_rate,
        schedule="one_cycle",
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )
    low, high = theta.amin(0), theta.amax(0)
    margin = MARGIN * (high - low)
    return ParametrisedRatio(module, low - margin, high + margin, history)
