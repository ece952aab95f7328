"""Approximate Bayesian computation: simulate, compare with the observation, accept or reject.

Imports the floor and its siblings; must never know which simulator it calls.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import one_of, positive
from lfi_helpers.inference.errors import NoAcceptedSamples
from lfi_helpers.inference.forward import Distance, Forward, euclidean, tolerance
from lfi_helpers.inference.pairs import count, log_prior

CHUNK = 100_000  # simulations that are in memory at a time


@dataclass(frozen=True)
class Generation:
    """One population of ``smc_abc``: its tolerance, its cost, and what its weights are worth."""

    epsilon: float
    n_sim: int
    accept_rate: float
    n_eff: float


@dataclass(frozen=True)
class ABCResult:
    """Accepted draws: ``theta`` (n, D), ``weights`` (n,) that sum to one, ``distance`` (n,).

    ``n_sim`` counts all simulations, ``accept_rate`` is the share of them that was accepted (of
    ``mcmc_abc``: the share of steps), ``epsilon`` the tolerance, and ``generations`` the
    populations of ``smc_abc``.
    """

    theta: Tensor
    weights: Tensor
    distance: Tensor
    n_sim: int
    accept_rate: float
    epsilon: float
    generations: tuple[Generation, ...] = ()

    @property
    def n_eff(self) -> float:
        """Return Kish's effective number of draws, 1 / sum w^2: blind to what is missing."""
        return float(1 / self.weights.square().sum())


def rejection_abc(
    sample: Callable,
    prior: Distribution,
    x_obs: Tensor,
    *,
    n_sim: int,
    quantile: float | None = None,
    epsilon: float | None = None,
    distance: Distance = euclidean,
    summary: Callable[[Tensor], Tensor] | None = None,
    adjust: str | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_seconds: float = 600.0,
) -> ABCResult:
    r"""Draw theta from the prior and keep it if its simulation is close to the observation.

    What is kept follows :math:`p(\theta \mid d(s(x), s(x_o)) \le \epsilon)`: the posterior as
    epsilon goes to zero (if the summary s is sufficient), the prior as it grows.

    Args:
        sample: theta (N, D), generator -> x (N, ...).
        prior: event shape (D,).
        x_obs: one observation, (L,) or (1, ...).
        n_sim: how many simulations.
        quantile: the share of the simulations that is kept, the closest; or
        epsilon: the largest distance that is kept; 0 demands equality.
        distance: summaries (N, S) and the observed one (S,) -> (N,).
        summary: x (N, ...) -> (N, S); None takes x itself.
        adjust: ``"linear"`` moves each draw along the regression of theta on the summaries to
            where the observation is, and weights it by 1 - (d / epsilon)^2. Adjusted draws may
            leave the prior's support. Source: doi:10.1093/genetics/162.4.2025.
        seed: of all randomness.
        device: where theta lives when ``sample`` is called.
        max_seconds: the budget.

    Raises:
        NoAcceptedSamples: if nothing comes within epsilon.
        BudgetExceeded: when the seconds are spent.
    """
    keep = _how_many(count("n_sim", n_sim), quantile, epsilon)
    one_of("adjust", adjust, [None, "linear"])
    forward = Forward(sample, prior, x_obs, summary, distance, seed, device, max_seconds)
    kept = None
    for first in range(0, n_sim, CHUNK):
        theta = forward.from_prior(min(CHUNK, n_sim - first))
        new = theta, *forward(theta)
        if epsilon is not None:
            close = new[2] <= epsilon
            new = tuple(column[close] for column in new)
        kept = new if kept is None else tuple(map(torch.cat, zip(kept, new, strict=True)))
        if len(kept[0]) > keep:
            nearest = kept[2].topk(keep, largest=False).indices
            kept = tuple(column[nearest] for column in kept)
    theta, s, d = kept
    if len(theta) == 0:
        raise NoAcceptedSamples(epsilon, forward.smallest, n_sim)
    epsilon = d.max().item() if epsilon is None else float(epsilon)
    weights = torch.full_like(d, 1 / len(d), dtype=torch.float64)
    if adjust is not None:
        theta, weights = linear_adjustment(theta, s, forward.s_obs, weights, d, epsilon)
    return ABCResult(theta, weights, d, n_sim, len(d) / n_sim, epsilon)


def _how_many(n_sim: int, quantile: float | None, epsilon: float | None) -> int:
    """Return how many draws are kept at most."""
    if (quantile is None) == (epsilon is None):
        raise ValueError(f"quantile and epsilon: expected one, got {quantile} and {epsilon}")
    if epsilon is not None:
        tolerance("epsilon", epsilon)
        return n_sim
    if not 0 < positive("quantile", quantile) <= 1:
        raise ValueError(f"quantile: expected a share in (0, 1], got {quantile}")
    return max(1, round(quantile * n_sim))


def linear_adjustment(
    theta: Tensor, s: Tensor, s_obs: Tensor, weights: Tensor, distance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\theta - (s - s_o) \hat B` and the weights, both of the local regression.

    B is the weighted least-squares slope of theta (n, D) on s (n, S); each draw counts with its
    weight times 1 - (d / epsilon)^2. Source: doi:10.1093/genetics/162.4.2025.

    Raises:
        ValueError: if no more draws have a weight than there are coefficients.
    """
    if epsilon > 0 and bool((distance < epsilon).any()):
        weights = weights * (1 - (distance.double() / epsilon).square()).clamp(min=0)
    weights = weights / weights.sum()
    n, needed = int((weights > 0).sum()), s.shape[1] + 2
    if n < needed:
        raise ValueError(f"adjust: expected at least {needed} accepted draws, got {n}")
    root = weights.sqrt()[:, None]
    centred_s, centred_theta = (v.double() - weights @ v.double() for v in (s, theta))
    scale = (weights @ centred_s.square()).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    slope = torch.linalg.pinv(root * centred_s / scale) @ (root * centred_theta)  # (S, D)
    moved = theta.double() - (s.double() - s_obs.double()) / scale @ slope
    return moved.to(theta.dtype), weights


def mcmc_abc(
    sample: Callable,
    prior: Distribution,
    x_obs: Tensor,
    *,
    epsilon: float,
    step: float,
    n_steps: int,
    n_chains: int = 100,
    warmup: int = 200,
    distance: Distance = euclidean,
    summary: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_seconds: float = 600.0,
) -> ABCResult:
    r"""Walk through theta, and go only where the simulation is close to the observation.

    A proposal :math:`\theta' \sim N(\theta, \mathrm{step}^2)` is accepted if
    :math:`u < p(\theta') / p(\theta)` and then :math:`d(s(x'), s(x_o)) \le \epsilon`: the same
    target as ``rejection_abc``, without a likelihood. The simulator is called only where the
    prior accepts. All chains are one batch. They start at draws from the prior; in the warm-up
    each may go wherever it is no further away than before, and those that do not arrive within
    epsilon go on from where others have. Source: doi:10.1073/pnas.0306899100.

    Args:
        sample, prior, x_obs, epsilon, distance, summary, seed, device, max_seconds: as of
            ``rejection_abc``.
        step: deviation of the proposal.
        n_steps: states of each chain that are returned: theta is (n_steps * n_chains, D), all
            chains of the first step first.
        n_chains: how many chains walk side by side.
        warmup: steps before the first state.

    Raises:
        NoAcceptedSamples: if no chain comes within epsilon in the warm-up.
        BudgetExceeded: when the seconds are spent.
    """
    epsilon, step = tolerance("epsilon", epsilon), positive("step", step)
    sizes = {"n_steps": n_steps, "n_chains": n_chains, "warmup": warmup}
    n_steps, n_chains, warmup = (count(name, value) for name, value in sizes.items())
    forward = Forward(sample, prior, x_obs, summary, distance, seed, device, max_seconds)
    theta = forward.from_prior(n_chains)
    d = forward(theta)[1]
    for _ in range(warmup):
        theta, d = _walk(forward, theta, d, step, d.clamp(min=epsilon))[:2]
    arrived = (d <= epsilon).nonzero()[:, 0]
    if len(arrived) == 0:
        raise NoAcceptedSamples(epsilon, forward.smallest, forward.n_sim)
    pick = torch.randint(len(arrived), d.shape, generator=forward.hand, device=forward.device)
    where = torch.where(d <= epsilon, torch.arange(n_chains, device=d.device), arrived[pick])
    theta, d, kept, moves = theta[where], d[where], [], 0
    for _ in range(n_steps):
        theta, d, moved = _walk(forward, theta, d, step, torch.full_like(d, epsilon))
        kept.append((theta, d))
        moves += int(moved.sum())
    theta, d = (torch.cat(columns) for columns in zip(*kept, strict=True))
    weights = torch.full_like(d, 1 / len(d), dtype=torch.float64)
    return ABCResult(theta, weights, d, forward.n_sim, moves / len(d), epsilon)


def _walk(forward: Forward, theta: Tensor, d: Tensor, step: float, threshold: Tensor):
    """Take one Metropolis step with every chain: the states, their distances, who moved."""
    kind = {"generator": forward.hand, "device": theta.device, "dtype": theta.dtype}
    proposal = theta + step * torch.randn(theta.shape, **kind)
    log_u = torch.rand(len(theta), **kind).log()
    moved = log_u < log_prior(forward.prior, proposal) - log_prior(forward.prior, theta)
    d_new = torch.full_like(d, math.inf)
    if moved.any():
        d_new[moved] = forward(proposal[moved])[1].to(d.dtype)
    moved = moved & (d_new <= threshold)
    return torch.where(moved[:, None], proposal, theta), torch.where(moved, d_new, d), moved
