"""Importance sampling of an unnormalised posterior, with its evidence, in up to three dimensions.

Must never know what the density means.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.inference.pairs import log_prior
from lfi_helpers.run import draw, generator

ROUND, CENTRES, NEIGHBOUR = 20_000, 400, 8  # draws of a round, kernels, whose distance is a width
PRIOR_SHARE = 0.1  # of the proposal: it bounds every weight by likelihood / 0.1
ENOUGH, LEAST = 0.3, 200  # share of effective draws that ends adaptation; draws that temper it


@dataclass(frozen=True)
class Weighted:
    """Weighted draws on the CPU: ``theta`` (M, D), ``log_weight`` (M,), unnormalised."""

    theta: Tensor
    log_weight: Tensor

    @property
    def ess(self) -> float:
        """Return Kish's effective number of draws, (sum w)^2 / sum w^2."""
        return kish(self.log_weight)

    @property
    def log_evidence(self) -> float:
        """Return the logarithm of the mean weight."""
        return float(torch.logsumexp(self.log_weight, 0)) - math.log(len(self.theta))

    @property
    def log_evidence_error(self) -> float:
        """Return the standard error of log_evidence."""
        return math.sqrt(max(1 / self.ess - 1 / len(self.theta), 0.0))

    def resample(self, n: int, g: torch.Generator) -> Tensor:
        """Draw n rows in proportion to their weights, (n, D), evenly spread and shuffled."""
        share = torch.softmax(self.log_weight.double(), 0).cumsum(0)
        offset = torch.rand(1, generator=g, device="cpu", dtype=share.dtype)
        u = (torch.arange(n, device="cpu") + offset) / n
        index = torch.searchsorted(share, u * share[-1]).clamp_max(len(share) - 1)
        return self.theta[index[torch.randperm(n, generator=g, device="cpu")]]


def kish(log_weight: Tensor) -> float:
    """Return (sum w)^2 / sum w^2; 0 if every weight is zero."""
    if not bool((log_weight > -math.inf).any()):
        return 0.0
    w = torch.softmax(log_weight.double(), 0)
    return float(1 / (w * w).sum())


def importance_sample(
    log_likelihood: Callable[[Tensor], Tensor],
    prior: Distribution,
    ess: float,
    *,
    seed: int = 0,
    max_seconds: float = 120.0,
    max_rounds: int = 60,
) -> Weighted:
    r"""Draw theta with weights prior * likelihood / proposal until they are worth ``ess`` draws.

    The first proposal is the prior, the next ones a tenth of the prior and Gaussian kernels
    around resampled draws, as wide as the distance to their neighbours; while few draws carry the
    weight it is tempered. When the proposal is good, its draws are kept and added up: their mean
    weight estimates the evidence :math:`\int p(\theta) L(\theta) d\theta`. Sources:
    doi:10.1198/106186004X12803, arXiv:0708.0711.

    Args:
        log_likelihood: (N, D) -> (N,), up to a constant.
        prior: event shape (D,).
        ess: Kish's effective number of draws that is wanted.
        seed: of all randomness.
        max_seconds, max_rounds: the budget; a round has 20 000 draws.

    Raises:
        BudgetExceeded: when it is spent; says how many effective draws there are.
    """
    g, begun, kept, kernels = generator(seed), time.monotonic(), [], None
    final = False
    for i in range(max_rounds):
        theta = _propose(prior, kernels, g)
        log_p = log_prior(prior, theta)
        target = torch.full_like(log_p, -math.inf)
        inside = log_p > -math.inf
        target[inside] = log_p[inside] + log_likelihood(theta[inside])
        log_q = log_p if kernels is None else _log_proposal(theta, log_p, kernels)
        log_weight = target - log_q
        log_weight = torch.where(inside & ~log_weight.isnan(), log_weight, -math.inf)
        size = kish(log_weight)
        final = final or size > ENOUGH * ROUND or i >= 12
        if final:
            kept.append(Weighted(theta, log_weight))
            total = Weighted(
                torch.cat([w.theta for w in kept]), torch.cat([w.log_weight for w in kept])
            )
            if total.ess >= ess:
                return total
        else:
            kernels = _kernels(theta, log_weight, g)
        if time.monotonic() - begun > max_seconds:
            break
    worth = f"{total.ess:.0f} of {ess:.0f}" if kept else f"{size:.0f} in the last round"
    raise BudgetExceeded(
        f"importance_sample: {worth} effective draws after {i + 1} rounds of {ROUND} draws and "
        f"{time.monotonic() - begun:.1f} s"
    )


def _propose(prior, kernels, g) -> Tensor:
    """Draw a round from the proposal."""
    n_prior = ROUND if kernels is None else int(PRIOR_SHARE * ROUND)
    theta = draw(prior, n_prior, g).float().cpu()
    if kernels is None:
        return theta
    centres, widths = kernels
    which = torch.randint(len(centres), (ROUND - n_prior,), generator=g, device="cpu")
    noise = torch.randn(len(which), centres.shape[1], generator=g, device="cpu")
    return torch.cat([theta, centres[which] + widths[which] * noise])


def _log_proposal(theta, log_p, kernels) -> Tensor:
    """Return the log-density of the mixture of prior and kernels, (N,)."""
    centres, widths = kernels
    constant = torch.log(widths).sum(1) + 0.5 * centres.shape[1] * math.log(2 * math.pi)
    parts = []
    for rows in theta.split(2_000):
        square = (((rows[:, None] - centres) / widths) ** 2).sum(2)
        parts.append(torch.logsumexp(-0.5 * square - constant, 1))
    log_kernels = torch.cat(parts) - math.log(len(centres)) + math.log(1 - PRIOR_SHARE)
    return torch.logaddexp(log_kernels, log_p + math.log(PRIOR_SHARE))


def _kernels(theta, log_weight, g) -> tuple[Tensor, Tensor]:
    """Return the centres and widths (K, D) of the next proposal."""
    if not bool((log_weight > -math.inf).any()):
        raise BudgetExceeded(f"importance_sample: no likelihood in {len(theta)} draws")
    tempered = log_weight - log_weight.max()
    for _ in range(40):
        if kish(tempered) >= LEAST:
            break
        tempered = tempered * 0.7
    centres = Weighted(theta, tempered).resample(CENTRES, g)
    unit = theta.std(0).clamp_min(torch.finfo(theta.dtype).tiny)
    distinct = torch.unique(centres, dim=0)
    gaps = torch.cdist(centres / unit, distinct / unit)
    k = min(NEIGHBOUR, len(distinct) - 1)
    near = gaps.kthvalue(k + 1, 1).values[:, None].clamp_min(1e-6)
    return centres, near * unit
