"""Classifiers trained against an adversary, so that their output does not tell a nuisance.

Knows rows of events, labels and nuisances only, never who drew them.
"""

import copy
from dataclasses import dataclass, field
from math import log, pi

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from lfi_helpers.arguments import batch, finite, positive, same_length
from lfi_helpers.classifiers.adversary import MixtureDensity
from lfi_helpers.classifiers.losses import carl_loss
from lfi_helpers.run import generator, pick_device
from lfi_helpers.training import TrainingDiverged

LOOK = 25  # outer steps between two judgements of the state
WORSE = 1.0  # nat: an adversary that much worse than a Gaussian that ignores s has diverged


@dataclass
class Pivot:
    """What ``fit_pivot`` leaves: the adversary, and the losses of every outer step."""

    adversary: MixtureDensity
    classifier_loss: list[float] = field(default_factory=list)  # L_f
    adversary_loss: list[float] = field(default_factory=list)  # L_r


def score(classifier: nn.Module, x: Tensor) -> Tensor:
    """Return what the adversary sees, (N,): the logit, bent so that it stays within 10.

    The logit tells as much as the probability, but does not crowd the events that a cut keeps.
    """
    return 10 * torch.tanh(classifier(x)[:, 0] / 10)


def fit_pivot(
    classifier: nn.Module,
    x: Tensor,
    label: Tensor,
    z: Tensor,
    *,
    weight: float,
    within: int | None = None,
    n_outer: int = 250,
    n_inner: int = 8,
    warm_up: int = 200,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    adversary_rate: float = 2e-3,
    hidden: tuple[int, ...] = (32, 32),
    activation: str = "silu",
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Pivot:
    r"""Train the classifier against an adversary that reads the nuisance z off its score.

    .. math:: \min_f \max_r\; L_f(f) - \lambda\, L_r(f, r), \qquad
        L_r = E[-\log r(z | s)] \le H(z),

    with equality if and only if s and z are independent and r is the best adversary. So r must be
    kept good: ``n_inner`` steps of r follow each step of f. Source: arXiv:1611.01046.

    Args:
        classifier: gives logits (N, 1); trained before (``weight`` = 0 changes little), and here
            in place.
        x: events, (N, L).
        label: 0 or 1, (N,).
        z: the nuisance of each event, (N,).
        weight: lambda, >= 0.
        within: demand independence among rows of this label only (background); None for all.
        n_outer: steps of the classifier.
        n_inner: steps of the adversary before each of them.
        warm_up: steps of the adversary before the first.
        batch_size: rows of each step, drawn with replacement.
        learning_rate: of Adam, for the classifier; it falls to zero as a cosine, so that the game
            ends at rest.
        adversary_rate: of Adam, for the adversary; it stays.
        hidden, activation: of the adversary's network.
        seed: of the adversary's weights and of the rows.
        device: ``"auto"`` or a torch device.

    Raises:
        ValueError: for wrong shapes, a negative weight, or too few rows of the label ``within``.
        TrainingDiverged: when a loss is not finite, or the adversary is 1 nat worse than a
            Gaussian that ignores s: it then drives the classifier anywhere. Before that, the state
            with the smallest L_f + lambda max(H - L_r, 0) seen is put back into the classifier.
    """
    rows = _Rows(x, label, z, within, batch_size, seed, pick_device(device))
    if not weight >= 0:
        raise ValueError(f"weight: expected a number >= 0, got {weight!r}")
    positive("learning_rate", learning_rate)
    positive("adversary_rate", adversary_rate)
    adversary = MixtureDensity(z, hidden=hidden, activation=activation, seed=seed)
    game = _Game(classifier.to(rows.x.device), adversary.to(rows.x.device), rows, weight)
    slow = Adam(classifier.parameters(), lr=learning_rate, fused=True)
    fast = Adam(adversary.parameters(), lr=adversary_rate, fused=True)
    decay = CosineAnnealingLR(slow, max(n_outer, 1))
    for _ in range(warm_up):
        game.adversary_step(fast)
    for step in range(n_outer):
        for _ in range(n_inner):
            game.adversary_step(fast)
        game.classifier_step(slow)
        decay.step()
        if (step + 1) % LOOK == 0 or step + 1 == n_outer:
            game.judge(adversary_rate)
    classifier.eval()
    return Pivot(adversary, *(torch.stack(losses).tolist() for losses in game.losses))


class _Rows:
    """Rows on the device, and random batches of them."""

    def __init__(self, x, label, z, within, batch_size, seed, device):
        x, z = finite("x", batch("x", x)), finite("z", z)
        same_length(x=x, label=label, z=z)
        if z.ndim != 1 or label.ndim != 1 or not ((label == 0) | (label == 1)).all():
            got = f"{tuple(z.shape)} and {tuple(label.shape)}"
            raise ValueError(f"z and label: expected shape (N,), labels 0 or 1, got {got}")
        where = torch.ones_like(label, dtype=torch.bool) if within is None else label == within
        if int(where.sum()) < 10:
            raise ValueError(f"within: expected at least 10 rows of it, got {int(where.sum())}")
        self.x, self.label, self.z = (v.float().to(device) for v in (x, label, z))
        self.seen = where.nonzero()[:, 0].to(device)  # by the adversary
        self.batch_size, self.hand = batch_size, generator(seed, 1, device)

    def draw(self, seen: bool) -> Tensor:
        n = len(self.seen) if seen else len(self.x)
        size = (self.batch_size,)
        index = torch.randint(n, size, generator=self.hand, device=self.x.device)
        return self.seen[index] if seen else index


class _Game:
    """The two players, their losses, and the best state so far."""

    def __init__(self, classifier, adversary, rows, weight):
        self.classifier, self.adversary, self.rows, self.weight = (
            classifier,
            adversary,
            rows,
            weight,
        )
        self.steps = 0  # of the classifier
        self.losses = ([], [])  # L_f and L_r, one entry per step of the classifier
        spread = rows.z[rows.seen].double().std().item()
        self.ignorant = log(2 * pi * spread**2) / 2 + 0.5  # Gaussian NLL of z, >= H(z)
        self.best = (float("inf"), copy.deepcopy(classifier.state_dict()))
        self.last = self.reading(rows.seen[: rows.batch_size]).item()

    def adversary_step(self, optimiser) -> None:
        index = self.rows.draw(seen=True)
        with torch.no_grad():
            s = score(self.classifier, self.rows.x[index])
        _descend(optimiser, -self.adversary.log_prob(self.rows.z[index], s).mean())

    def reading(self, index: Tensor) -> Tensor:
        """Return L_r on these rows, through which the gradient reaches both players."""
        s = score(self.classifier, self.rows.x[index])
        return -self.adversary.log_prob(self.rows.z[index], s).mean()

    def classifier_step(self, optimiser) -> None:
        index, seen = self.rows.draw(seen=False), self.rows.draw(seen=True)
        loss = carl_loss(self.classifier(self.rows.x[index])[:, 0], self.rows.label[index])
        readable = self.reading(seen)
        _descend(optimiser, loss - self.weight * readable)
        self.losses[0].append(loss.detach())
        self.losses[1].append(readable.detach())

    def judge(self, rate: float) -> None:
        """Look at the steps since the last judgement; keep the state if it is the best so far."""
        l_f, l_r = (torch.stack(losses[self.steps :]) for losses in self.losses)
        bad = ~torch.isfinite(l_f + l_r) | (l_r > self.ignorant + WORSE)
        if bad.any():
            first = int(bad.nonzero()[0])
            last = l_r[first - 1].item() if first else self.last
            self.classifier.load_state_dict(self.best[1])
            raise TrainingDiverged(self.steps + first, rate, last)
        value = (l_f.mean() + self.weight * (self.ignorant - l_r.mean()).clamp(min=0)).item()
        if value < self.best[0]:
            self.best = (value, copy.deepcopy(self.classifier.state_dict()))
        self.steps, self.last = self.steps + len(l_r), l_r[-1].item()


def _descend(optimiser, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
