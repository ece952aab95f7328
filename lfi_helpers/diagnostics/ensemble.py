"""Small classifiers trained side by side as one batched network: what c2st and lc2st share.

Knows rows and labels only; must never know where they come from.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEARNING_RATE, WARM_UP = 1e-2, 50  # Adam's rate, reached after so many steps
BETA1, BETA2 = 0.9, 0.999  # Adam's memories
MEMORY = 0.99  # of the running mean of the weights, which is what is judged and kept
STEPS_PER_EPOCH, SMALLEST, LARGEST = 28, 32, 256  # of batches
KINKS = (0.7, 4.0)  # range of the steepness of the first layer's kinks, in standard deviations
GAIN = 1e-4  # a smaller gain in the mean validation loss is none


class Ensemble:
    """K networks features -> hidden -> hidden -> 1 with ReLU; row k of ``flat`` is network k."""

    def __init__(self, flat: Tensor, features: int, hidden: int):
        self.flat, self.shapes = flat, _shapes(features, hidden)
        self.layers, start = [], 0
        for rows, columns in self.shapes:
            part = flat[:, start : start + rows * columns]
            self.layers.append(part.view(len(flat), rows, columns))
            start += rows * columns

    def __call__(self, x: Tensor) -> Tensor:
        """Return every network's logit of label 1: (K, B, features) -> (K, B)."""
        return self._forward(x)[2].squeeze(-1)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w1, b1, w2, b2, w3, b3 = self.layers
        first = torch.baddbmm(b1, x, w1).relu_()
        second = torch.baddbmm(b2, first, w2).relu_()
        return first, second, torch.baddbmm(b3, second, w3)

    def write_gradient(self, into: "Ensemble", x: Tensor, label: Tensor) -> None:
        """Write each network's gradient of its mean cross-entropy (twice as fast as autograd)."""
        w1, b1, w2, b2, w3, b3 = into.layers
        first, second, logit = self._forward(x)
        error = logit.sigmoid_().sub_(label[..., None]).div_(x.shape[1])  # (K, B, 1)
        w3.copy_(second.mT @ error)
        b3.copy_(error.sum(1, keepdim=True))
        error = (error @ self.layers[4].mT).mul_(second > 0)  # (K, B, hidden)
        w2.copy_(first.mT @ error)
        b2.copy_(error.sum(1, keepdim=True))
        error = (error @ self.layers[2].mT).mul_(first > 0)
        w1.copy_(x.mT @ error)
        b1.copy_(error.sum(1, keepdim=True))


def _shapes(d: int, h: int) -> list[tuple[int, int]]:
    return [(d, h), (1, h), (h, h), (1, h), (h, 1), (1, 1)]


@torch.no_grad()
def train(
    inputs: Tensor,
    labels: Tensor,
    rows: Tensor,
    held: Tensor,
    *,
    hidden: int,
    generator: torch.Generator,
    max_epochs: int,
    patience: int | None,
) -> Ensemble:
    """Train K networks at once with Adam; each keeps its weights of lowest held-out loss.

    Args:
        inputs: standardised features, (M, d), shared by all networks.
        labels: 0 or 1, of every row for every network, (K, M).
        rows: which rows each network is trained on, (K, T).
        held: which rows decide what it keeps, (K, V).
        hidden: width of both hidden layers.
        generator: of the first weights and the order of the rows, on the CPU.
        max_epochs: passes over the rows, at most.
        patience: stop after so many epochs without a gain in the mean held-out loss; None never.
    """
    steps = _Steps(_first_weights(inputs, len(rows), hidden, generator), inputs.shape[1], hidden)
    size = min(max(rows.shape[1] // STEPS_PER_EPOCH, SMALLEST), LARGEST)
    x_held, y_held = inputs[held], labels.gather(1, held)
    kept = Ensemble(steps.mean.flat.clone(), inputs.shape[1], hidden)
    lowest = torch.full((len(rows),), math.inf, device=inputs.device)
    record, since = math.inf, 0
    for _ in range(max_epochs):
        order = torch.rand(rows.shape, generator=generator, device="cpu").argsort(1)
        shuffled = rows.gather(1, order.to(rows.device))
        x, y = inputs[shuffled], labels.gather(1, shuffled)
        for first in range(0, max(1, x.shape[1] - size + 1), size):
            steps.take(x[:, first : first + size], y[:, first : first + size])
        loss = F.binary_cross_entropy_with_logits(steps.mean(x_held), y_held, reduction="none")
        loss = loss.mean(1)  # (K,)
        better = loss < lowest
        kept.flat[better], lowest[better] = steps.mean.flat[better], loss[better]
        mean = float(loss.mean())
        record, since = (mean, 0) if mean < record - GAIN else (record, since + 1)
        if patience is not None and since >= patience:
            break
    return kept


class _Steps:
    """Adam on all networks at once, and the running mean of their weights."""

    def __init__(self, flat: Tensor, features: int, hidden: int):
        self.now, self.slope, self.mean = (
            Ensemble(start, features, hidden)
            for start in (flat, torch.zeros_like(flat), flat.clone())
        )
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.taken = 0

    def take(self, x: Tensor, label: Tensor) -> None:
        self.taken += 1
        self.now.write_gradient(self.slope, x, label)
        slope = self.slope.flat
        self.first.lerp_(slope, 1 - BETA1)
        self.second.mul_(BETA2).addcmul_(slope, slope, value=1 - BETA2)
        rate = LEARNING_RATE * min(1, self.taken / WARM_UP) / (1 - BETA1**self.taken)
        scale = (self.second / (1 - BETA2**self.taken)).sqrt_().add_(1e-8)
        self.now.flat.addcdiv_(self.first, scale, value=-rate)
        memory = min(MEMORY, 1 - 1 / (1 + self.taken / 5))  # short at the start
        self.mean.flat.lerp_(self.now.flat, 1 - memory)


def _first_weights(inputs: Tensor, members: int, hidden: int, generator) -> Tensor:
    """Draw weights (K, P) whose first kinks pass through rows of the data, gentle and steep ones.

    With kinks through the origin, as usual, fine structure far from it is found late or never.
    """
    d = inputs.shape[1]
    sizes = [a * b for a, b in _shapes(d, hidden)]
    flat = torch.randn(members, sum(sizes), generator=generator, device="cpu")
    w1, b1, w2, b2, w3, b3 = Ensemble(flat, d, hidden).layers
    low, high = KINKS
    steepness = torch.rand(members, 1, hidden, generator=generator, device="cpu")
    w1.mul_(low * (high / low) ** steepness * math.sqrt(2 / d))
    place = torch.randint(len(inputs), (members, hidden), generator=generator, device="cpu")
    b1.copy_(-(w1.mT * inputs.cpu()[place]).sum(2)[:, None])
    w2.mul_(math.sqrt(2 / hidden))
    w3.mul_(0.1 * math.sqrt(2 / hidden))
    b2.zero_()
    b3.zero_()
    return flat.to(inputs.device)
