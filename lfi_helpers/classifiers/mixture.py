"""Ratios of mixtures, put together from classifiers of two components each.

Knows samples of the components, never who drew them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lfi_helpers.arguments import finite, floating
from lfi_helpers.classifiers.ratio import LogRatio, fit_log_ratio
from lfi_helpers.run import spawn_seeds


def mixture_log_ratio(pairwise: Tensor, weights: Tensor, weights_ref: Tensor) -> Tensor:
    r"""Return log p(x) / p'(x) of two mixtures of the same K components from pairwise ratios.

    p(x) / p'(x) = sum_c w_c [sum_c' w'_c' p_c'(x) / p_c(x)]^-1. A classifier that must find a
    small signal in a mixture sees hardly a difference; one that tells two components apart sees
    a large one. The weights may carry a gradient, also where they are 0.

    Args:
        pairwise: log p_i(x) / p_j(x), (N, K, K).
        weights: w, (K,) or (N, K), not negative, with sum 1.
        weights_ref: w' of the denominator, the same.

    Raises:
        ValueError: for other shapes, numbers that are not finite, or weights that are no shares.

    Source: arXiv:1506.02169, section 4.
    """
    pairwise = finite("pairwise", floating("pairwise", pairwise))
    if pairwise.ndim != 3 or pairwise.shape[1] != pairwise.shape[2]:
        raise ValueError(f"pairwise: expected shape (N, K, K), got {tuple(pairwise.shape)}")
    w = _shares("weights", weights, pairwise)
    w_ref = _shares("weights_ref", weights_ref, pairwise)
    over = pairwise.double().transpose(1, 2)  # (N, c, c') log p_c' / p_c
    largest = over.amax(2, keepdim=True)
    inverse = ((over - largest).exp() * w_ref[:, None]).sum(2).log() + largest[:, :, 0]
    least = inverse.amin(1, keepdim=True)  # inverse: (N, K) log p' / p_c
    log_ratio = ((least - inverse).exp() * w).sum(1).log() - least[:, 0]
    return log_ratio.to(pairwise.dtype)


def _shares(name: str, weights: Tensor, pairwise: Tensor) -> Tensor:
    """Return weights as (1, K) or (N, K) of pairwise's type."""
    weights = finite(name, floating(name, weights)).to(pairwise)
    n, k, _ = pairwise.shape
    if weights.shape not in ((k,), (n, k)):
        raise ValueError(
            f"{name}: expected shape ({k},) or ({n}, {k}), got {tuple(weights.shape)}"
        )
    if (weights < 0).any() or ((weights.sum(-1) - 1).abs() > 1e-5).any():
        raise ValueError(f"{name}: expected shares >= 0 with sum 1, got others")
    return weights.reshape(-1, k)


@dataclass
class PairwiseRatios:
    """One classifier for each pair i < j of K components: call it on x (N, L) for (N, K, K)."""

    n_components: int
    ratios: dict[tuple[int, int], LogRatio]

    def __call__(self, x: Tensor) -> Tensor:
        """Return log p_i(x) / p_j(x) of all pairs, antisymmetric in i and j, (N, K, K)."""
        rows = [[torch.zeros_like(x[:, 0])] * self.n_components for _ in range(self.n_components)]
        for (i, j), ratio in self.ratios.items():
            rows[i][j] = ratio(x)
            rows[j][i] = -rows[i][j]
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def log_ratio(self, x: Tensor, weights: Tensor, weights_ref: Tensor) -> Tensor:
        """Return the log-ratio of two mixtures of the components, (N,): see above."""
        return mixture_log_ratio(self(x), weights, weights_ref)

    def calibrated(self, components: Sequence[Tensor], method: str = "isotonic"):
        """Return the ratios, each calibrated on fresh draws of its two components."""
        ratios = {
            (i, j): ratio.calibrated(components[i], components[j], method)
            for (i, j), ratio in self.ratios.items()
        }
        return replace(self, ratios=ratios)


def fit_pairwise(components: Sequence[Tensor], *, seed: int = 0, **settings) -> PairwiseRatios:
    """Learn log p_i(x) / p_j(x) of every pair i < j from a sample of each component.

    Args:
        components: K samples, (N_k, L) each.
        seed: every pair has a seed of its own, derived from it.
        settings: of ``fit_log_ratio``.

    Raises:
        ValueError: for fewer than two components.
    """
    if len(components) < 2:
        raise ValueError(f"components: expected at least two samples, got {len(components)}")
    pairs = [(i, j) for j in range(len(components)) for i in range(j)]
    seeds = spawn_seeds(seed, len(pairs))
    ratios = {
        (i, j): fit_log_ratio(components[i], components[j], seed=s, **settings)
        for (i, j), s in zip(pairs, seeds, strict=True)
    }
    return PairwiseRatios(len(components), ratios)
