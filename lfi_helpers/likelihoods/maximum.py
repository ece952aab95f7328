"""Maximum-likelihood fits of many data sets at once, on a grid and by gradient, nuisances or not.

Takes log-likelihoods as callables, learned or exact; must never know where they come from.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite
from lfi_helpers.likelihoods.newton import derivatives, minimise

LogLikelihood = Callable[[Tensor, Tensor], Tensor]


class Maximum(NamedTuple):
    """Where T data sets have their largest likelihood: theta (T, D), log L there (T,)."""

    theta: Tensor
    log_l: Tensor


def grid_maximum(log_likelihood: LogLikelihood, axes: list[Tensor], n_sets: int) -> Maximum:
    """Return the best point of a grid for each of T data sets.

    An axis with one value holds that coordinate: fit with all of them free, and once more with
    theta_1 held; the difference of the two log L is the profile likelihood ratio of theta_1.

    Args:
        log_likelihood: maps theta (n, D) and the numbers of their data sets (n,) to log L, (n,).
        axes: the values of each coordinate, D tensors.
        n_sets: T.

    Raises:
        ValueError: if log L is not finite at any point of the grid.
    """
    rows = torch.arange(n_sets, device=axes[0].device)
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes)).double()  # (G, D)
    with torch.no_grad():
        table = torch.stack([log_likelihood(p.expand(n_sets, -1), rows) for p in points])
    best = table.nan_to_num(-torch.inf).max(0)
    finite("log_likelihood at its best points", best.values)
    return Maximum(points[best.indices], best.values)


def gradient_maximum(
    log_likelihood: LogLikelihood,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    held: tuple[int, ...] = (),
) -> Maximum:
    """Climb from ``start`` to the nearest maximum between ``low`` and ``high``, for T data sets.

    Newton steps with the exact Hessian, in float64. The coordinates ``held`` stay where ``start``
    has them: with the parameters of interest held at a value, the nuisances are profiled there;
    with the nuisances held, they are ignored.

    Args:
        log_likelihood: as in ``grid_maximum``; twice differentiable in theta.
        start: where to begin, (T, D).
        low, high: the box, (D,) each.
        held: numbers of the coordinates that do not move.

    Raises:
        ValueError: for a start outside the box, another width, or a coordinate that is not there.
        FitFailed: if a data set has not converged.
    """
    start = finite("start", batch("start", start, len(low))).double()
    low, high = low.to(start), high.to(start)
    free = _free(held, len(low))
    outside = ((start < low) | (start > high)).any(1)
    if outside.any():
        wanted = f"between {low.tolist()} and {high.tolist()}"
        raise ValueError(f"start: expected values {wanted}, got {start[outside][0].tolist()}")
    theta = minimise(lambda t, rows: -log_likelihood(t, rows), start, low, high, free)
    with torch.no_grad():
        rows = torch.arange(len(theta), device=theta.device)
        return Maximum(theta, log_likelihood(theta, rows))


class ProfileFit(NamedTuple):
    """Fits of T data sets, (T, D), their errors, and the test of the parameters of interest."""

    theta: Tensor  # (T, D), where all that is not held is free
    error: Tensor  # (T, D), from the curvature: the nuisances profiled; 0 if held
    statistic: Tensor  # (T,), -2 log lambda of the parameters of interest at their start


def profile_fit(
    log_likelihood: LogLikelihood,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    interest: tuple[int, ...] = (0,),
    held: tuple[int, ...] = (),
) -> ProfileFit:
    r"""Fit T data sets twice: all free, and the parameters of interest where ``start`` has them.

    :math:`-2 \log \lambda = 2 [\max_{\psi, \nu} \log L - \max_\nu \log L(\psi_0, \nu)]`,
    chi2-distributed for many events if psi_0 is the truth. The nuisances nu are all other
    coordinates. They are profiled unless ``held``: a fixed fit ignores that they are not known.
    The errors are the square roots of the diagonal of :math:`(-\partial^2 \log L)^{-1}`, NaN
    where log L is not curved downwards in all free coordinates, as may be at the box's edge.

    Args:
        log_likelihood, start, low, high, held: as in ``gradient_maximum``.
        interest: numbers of the coordinates that are tested.
    """
    best = gradient_maximum(log_likelihood, start, low, high, held)
    fixed = gradient_maximum(log_likelihood, start, low, high, (*interest, *held))
    error = _errors(log_likelihood, best.theta, _free(held, start.shape[1]))
    return ProfileFit(best.theta, error, 2 * (best.log_l - fixed.log_l))


def over_events(log_prob: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> LogLikelihood:
    """Sum log p(x | theta) over the events of T data sets, x (T, n, L): a log L to be maximised.

    Args:
        log_prob: maps x (N, L) and theta (N, D) to (N,).
        x: events; float64 keeps the sums exact enough for ``gradient_maximum``.
    """
    if x.ndim != 3:
        raise ValueError(f"x: expected shape (T, n, L), got {tuple(x.shape)}")

    def log_likelihood(theta: Tensor, rows: Tensor) -> Tensor:
        events = x[rows]  # (M, n, L)
        repeated = theta[:, None].expand(-1, x.shape[1], -1)
        value = log_prob(events.flatten(0, 1), repeated.flatten(0, 1))
        return value.view(events.shape[:2]).sum(1)

    return log_likelihood


def _errors(log_likelihood: LogLikelihood, theta: Tensor, free: list[int]) -> Tensor:
    """Return the standard errors of the free coordinates, (T, D); 0 for the others."""
    rows = torch.arange(len(theta), device=theta.device)
    _, _, hessian = derivatives(lambda t, r: -log_likelihood(t, r), theta, rows, free)
    factor, failed = torch.linalg.cholesky_ex(hessian)
    variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    error = torch.zeros_like(theta)
    error[:, free] = torch.where(failed[:, None] == 0, variance, torch.nan).sqrt()
    return error


def _free(held: tuple[int, ...], width: int) -> list[int]:
    wrong = [i for i in held if i not in range(width)]
    if wrong:
        raise ValueError(f"held: expected coordinates 0 ... {width - 1}, got {wrong}")
    return [i for i in range(width) if i not in held]
