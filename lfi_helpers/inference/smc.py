"""A population that closes in on the observation: sequential Monte Carlo with ABC.

Imports the floor and its siblings; must never know which simulator it calls.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import one_of
from lfi_helpers.inference.abc import ABCResult, Generation, linear_adjustment
from lfi_helpers.inference.errors import BudgetExceeded, NoAcceptedSamples
from lfi_helpers.inference.forward import Distance, Forward, euclidean, tolerance
from lfi_helpers.inference.pairs import count, log_prior

BATCH = 50_000  # most simulations at a time
ROWS = 2_000  # of the weights that are computed at a time
MAX_SIM = 100_000_000  # the budget where none is given


@dataclass(frozen=True)
class Population:
    """Particles (P, D) with log-weights (P,), and what was simulated there."""

    theta: Tensor
    log_weight: Tensor
    s: Tensor
    distance: Tensor
    epsilon: float

    @property
    def weights(self) -> Tensor:
        """Return the weights in float64; they sum to one."""
        return torch.softmax(self.log_weight.double(), 0)


def smc_abc(
    sample: Callable,
    prior: Distribution,
    x_obs: Tensor,
    *,
    n_particles: int,
    epsilons: list[float] | None = None,
    max_sim: int | None = None,
    distance: Distance = euclidean,
    summary: Callable[[Tensor], Tensor] | None = None,
    adjust: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_seconds: float = 600.0,
) -> ABCResult:
    r"""Carry a weighted population through falling tolerances, each drawn around the one before.

    The first population is drawn from the prior. Each later one proposes from the mixture
    :math:`q(\theta) = \sum_j W_j N(\theta; \theta_j, 2 \Sigma)` of the one before, with its
    weighted covariance :math:`\Sigma`, accepts where d <= epsilon, and has the weights
    :math:`p(\theta) / q(\theta)`, computed as logarithms. Source: arXiv:0805.2256.

    Args:
        sample, prior, x_obs, distance, summary, adjust, seed, device, max_seconds: as of
            ``rejection_abc``.
        n_particles: P, the size of every population.
        epsilons: the falling tolerances. None chooses each as the median distance of the
            population before, until the budget is spent.
        max_sim: the budget: draws of theta, whether they are simulated or outside the prior.

    Returns:
        The last population. Its ``generations`` have the n_eff of each; ``n_sim`` counts all.

    Raises:
        NoAcceptedSamples: if nothing comes within one of the epsilons.
        BudgetExceeded: when draws or seconds are spent before the last of the epsilons is
            reached, or, without epsilons, before the first population is complete.
    """
    n, schedule = count("n_particles", n_particles), _schedule(epsilons, max_sim)
    max_sim = MAX_SIM if max_sim is None else count("max_sim", max_sim)
    one_of("adjust", adjust, [None, "linear"])
    forward = Forward(sample, prior, x_obs, summary, distance, seed, device, max_seconds)
    population, generations = None, []
    while True:
        epsilon = schedule.pop(0) if epsilons is not None else _next(population)
        before = forward.n_sim
        try:
            population, rate = _generation(forward, population, epsilon, n, max_sim)
        except BudgetExceeded:
            if epsilons is not None or population is None:
                raise
            break
        n_eff = float(1 / population.weights.square().sum())
        generations.append(Generation(epsilon, forward.n_sim - before, rate, n_eff))
        if not schedule if epsilons is not None else _next(population) is None:
            break
    theta, weights, d = population.theta, population.weights, population.distance
    if adjust is not None:
        parts = population.s, forward.s_obs, weights, d, d.max().item()
        theta, weights = linear_adjustment(theta, *parts)
    share = len(generations) * n / forward.n_sim
    done = tuple(generations)
    return ABCResult(theta, weights, d, forward.n_sim, share, population.epsilon, done)


def _schedule(epsilons: list[float] | None, max_sim: int | None) -> list[float]:
    """Return the tolerances that are given, after checking that they fall."""
    if epsilons is None:
        if max_sim is None:
            raise ValueError("epsilons and max_sim: expected at least one, got neither")
        return []
    schedule = [tolerance("epsilons", epsilon) for epsilon in epsilons]
    if not schedule or any(b >= a for a, b in zip(schedule, schedule[1:], strict=False)):
        raise ValueError(f"epsilons: expected falling tolerances, got {schedule}")
    return schedule


def _next(population: Population | None) -> float | None:
    """Return the median distance, or the largest one below epsilon; None if there is none."""
    if population is None:
        return math.inf
    d = population.distance
    below = d[d < population.epsilon]
    if len(below) == 0 or bool((d == d[0]).all()):
        return None
    return min(d.median().item(), below.max().item())


def _generation(
    forward: Forward, previous: Population | None, epsilon: float, n: int, max_sim: int
) -> tuple[Population, float]:
    """Propose until n are within epsilon; return them and the share of simulations that were."""
    kept, n_kept, simulated, size = [], 0, 0, n
    factor = None if previous is None else kernel_factor(previous.theta, previous.weights)
    while n_kept < n:
        if forward.n_draws + size > max_sim:
            size = max_sim - forward.n_draws
        if size < 1:
            raise _spent(forward, epsilon, n_kept, n)
        theta = _propose(forward, previous, factor, size)
        forward.n_draws += size
        theta = theta[log_prior(forward.prior, theta) > -math.inf]
        if len(theta):
            s, d = forward(theta)
            simulated += len(theta)
            close = d <= epsilon
            kept.append((theta[close], s[close], d[close]))
            n_kept += len(kept[-1][0])
        rate = max(n_kept, 1) / max(simulated, 1)
        size = int(min(max(1.1 * (n - n_kept) / rate, n), BATCH))
    theta, s, d = (torch.cat(columns)[:n] for columns in zip(*kept, strict=True))
    log_weight = torch.zeros_like(theta[:, 0], dtype=torch.float64)
    if previous is not None:
        log_p, w = log_prior(forward.prior, theta), previous.weights
        log_weight = pmc_log_weight(theta, log_p, previous.theta, w, factor)
    return Population(theta, log_weight, s, d, epsilon), n_kept / simulated


def _spent(forward: Forward, epsilon: float, n_kept: int, n: int) -> BudgetExceeded:
    """Return the error that says how far the budget went."""
    if n_kept == 0:
        return NoAcceptedSamples(epsilon, forward.smallest, forward.n_sim)
    return BudgetExceeded(
        f"max_sim: {n_kept} of {n} particles are within {epsilon:g} after {forward.n_draws} draws "
        f"({forward.n_sim} simulations); the smallest distance is {forward.smallest:g}"
    )


def _propose(forward: Forward, previous: Population | None, factor, size: int) -> Tensor:
    """Draw from the prior, or a particle by weight and a Gaussian step from it: (size, D)."""
    if previous is None:
        return forward.from_prior(size)
    which = torch.multinomial(previous.weights, size, replacement=True, generator=forward.hand)
    kind = {"generator": forward.hand, "device": forward.device, "dtype": factor.dtype}
    step = torch.randn(size, factor.shape[0], **kind) @ factor.mT
    return (previous.theta[which].double() + step).to(previous.theta.dtype)


def kernel_factor(theta: Tensor, weights: Tensor) -> Tensor:
    """Return the lower-triangular root of twice the weighted covariance of theta (P, D): (D, D).

    Raises:
        BudgetExceeded: if it is singular: too few particles carry the weight.
    """
    centred = theta.double() - weights @ theta.double()
    factor, failed = torch.linalg.cholesky_ex(2 * (weights * centred.mT) @ centred)
    if failed:
        n_eff = float(1 / weights.square().sum())
        raise BudgetExceeded(
            f"n_particles: the covariance of {len(theta)} particles is singular, n_eff = "
            f"{n_eff:.1f}; more of them are needed"
        )
    return factor


def pmc_log_weight(
    theta: Tensor, log_p: Tensor, centres: Tensor, weights: Tensor, factor: Tensor
) -> Tensor:
    r"""Return the log-weights of a population up to a constant, (P,) in float64.

    :math:`\log p(\theta) - \log \sum_j W_j N(\theta; \theta_j, L L^T)`. Source: arXiv:0805.2256.

    Args:
        theta: new particles, (P, D).
        log_p: log-prior there, (P,).
        centres: the particles before, (Q, D).
        weights: their weights W, (Q,).
        factor: L, (D, D).
    """
    white, middle = (
        torch.linalg.solve_triangular(factor, v.double().mT, upper=False).mT
        for v in (theta, centres)
    )
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    log_q = [
        torch.logsumexp(weights.log() - 0.5 * torch.cdist(rows, middle, **exact).square(), 1)
        for rows in white.split(ROWS)
    ]
    return log_p.double() - torch.cat(log_q)
