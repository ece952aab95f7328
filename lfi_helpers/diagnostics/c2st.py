"""Classifier two-sample test: how well can a classifier tell two samples apart?

Takes two samples; must never know what drew them.
"""

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite
from lfi_helpers.diagnostics.draws import chance
from lfi_helpers.diagnostics.ensemble import train

FOLDS, FEWEST = 5, 50  # of rows in each sample
HELD_OUT = 10  # one row in so many decides when to stop
MAX_EPOCHS, PATIENCE = 200, 10


def c2st(p: Tensor, q: Tensor, seed: int = 0) -> float:
    r"""Return the cross-validated accuracy of a classifier that tells p from q: 0.5 if it cannot.

    The classifier is the simulation-based-inference benchmark's: features standardised with the
    mean and standard deviation of p, two hidden layers of 10 D units with ReLU, Adam, five folds.
    Here the five networks are trained at once and stopped early, so that they do not overfit: the
    best possible accuracy, :math:`1/2 + 1/4 \int |p - q|`, is approached from below.

    Args:
        p: the reference sample, (N, D).
        q: the other sample, (N, D).
        seed: of the folds, the networks and the order of the rows.

    Raises:
        ValueError: for other shapes, NaN or infinite numbers, fewer than 50 rows, or a feature
            that is constant in p.

    Source: arXiv:1610.06545 (the test), arXiv:2101.04653 (this form of it).
    """
    p = finite("p", batch("p", p))
    q = finite("q", batch("q", q, p.shape[1]))
    if len(p) != len(q) or len(p) < FEWEST:
        wanted = f"expected equally many rows, at least {FEWEST}"
        raise ValueError(f"p and q: {wanted}, got {len(p)} and {len(q)}")
    draws = chance(seed)
    inputs = torch.cat([_standardised(p, p), _standardised(q, p).to(p.device)])
    label = torch.zeros(len(inputs), device=p.device)
    label[len(p) :] = 1
    test, fit, held = (part.to(p.device) for part in _folds(len(p), draws))
    networks = train(
        inputs,
        label.expand(FOLDS, -1),
        fit,
        held,
        hidden=10 * p.shape[1],
        generator=draws,
        max_epochs=MAX_EPOCHS,
        patience=PATIENCE,
    )
    right = (networks(inputs[test]) > 0) == (label[test] > 0.5)
    return float(right.double().mean())


def _standardised(sample: Tensor, p: Tensor) -> Tensor:
    """Return (sample - mean of p) / standard deviation of p as float32, computed in float64."""
    p = p.double()
    deviation = p.std(0)
    if not (deviation > 1e-12 * p.mean(0).abs()).all():
        raise ValueError("p: expected features that vary, got one that is constant")
    return ((sample.to(p) - p.mean(0)) / deviation).float()


def _folds(n: int, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows of each fold, those trained on without it, and those that stop it.

    Each fold holds equally many rows of both samples: under the null hypothesis its expected
    accuracy is exactly 1/2. Up to four rows of each sample are left over and not used.
    """
    size = n // FOLDS
    order = torch.stack([torch.randperm(n, generator=draws, device="cpu") for _ in range(2)])
    order[1] += n
    order = order[:, : FOLDS * size]
    test = order.reshape(2, FOLDS, size).transpose(0, 1).reshape(FOLDS, 2 * size)
    others = [[j for j in range(FOLDS) if j != k] for k in range(FOLDS)]
    rest = torch.stack([test[rows].flatten() for rows in others])
    rest = rest.gather(1, torch.rand(rest.shape, generator=draws, device="cpu").argsort(1))
    n_held = rest.shape[1] // HELD_OUT
    return test, rest[:, n_held:], rest[:, :n_held]
