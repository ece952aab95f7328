"""TARP: is the truth as far from a reference point as the posterior's draws are?

Takes pairs and a posterior; must never simulate.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite
from lfi_helpers.diagnostics.draws import chance, draw_each, ks_uniform, level, pairs, rank

FEWEST = 50  # pairs, if the reference is learned from a part of them
LEARN = 5  # one pair in so many
RIDGE = 1e-3  # weight of the penalty that keeps the least squares solvable


class Tarp(NamedTuple):
    """Share of draws closer to the reference than the truth, and its distance to U(0, 1).

    ``value`` (M,) holds one number per pair that was judged: U(0, 1), independently, if the
    posterior is exact. ``ks`` and ``p_value`` compare all M of them with it.
    """

    value: Tensor
    ks: float
    p_value: float


def tarp(
    posterior,
    theta: Tensor,
    x: Tensor,
    n: int = 99,
    *,
    reference: Tensor | Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
) -> Tarp:
    r"""Test accuracy with random points: :math:`f = P_q(|\theta' - r(x)| < |\theta - r(x)|)`.

    For every reference r(x) that knows nothing of theta but x, f is uniform if q is exact; if f
    is uniform for all of them, q is exact. A reference that does not depend on x cannot see that
    the prior was returned. Distances are Euclidean, each dimension in units of its standard
    deviation over truths and draws together, which makes f independent of the units of theta and
    keeps truth and draws exchangeable.

    Args:
        posterior: draws (n, N, D), a posterior or a callable (see ``draws.draw_each``).
        theta: the truths, (N, D), drawn from the prior.
        x: what they gave, (N, ...).
        n: draws per truth.
        reference: one point per pair, (N, D), or a function x (N, ...) -> (N, D). None takes the
            linear least-squares guess of theta from x: the first fifth of the pairs teaches it,
            the others are judged, so that no truth has a part in its own reference.
        seed: of the draws and their spread.

    Raises:
        ValueError: for unequal lengths, other shapes, numbers that are not finite, or fewer than
            50 pairs without a reference.

    Source: arXiv:2302.03026.
    """
    theta, x = pairs(theta, x, fewest=FEWEST if reference is None else 1)
    draws, dice = draw_each(posterior, x, n, seed), chance(seed)
    if draws.shape[2] != theta.shape[1]:
        raise ValueError(f"posterior: expected {theta.shape[1]} dimensions, got {draws.shape[2]}")
    theta = theta.to(draws)
    if reference is None:
        taught = len(theta) // LEARN
        points = _linear_guess(theta[:taught], x[:taught], x[taught:])
        theta, draws = theta[taught:], draws[:, taught:]
    else:
        points = reference(x) if callable(reference) else reference
        points = finite("reference", batch("reference", points, theta.shape[1])).to(draws)
        if len(points) != len(theta):
            raise ValueError(f"reference: expected {len(theta)} rows, got {len(points)}")
    value = level(_places(theta, draws, points, dice)[:, None], n, dice)
    ks, p_value = ks_uniform(value)
    return Tarp(value[:, 0], float(ks[0]), float(p_value[0]))


def _places(theta: Tensor, draws: Tensor, points: Tensor, dice: torch.Generator) -> Tensor:
    """Count the draws closer to the reference points than the truth is: (M,)."""
    unit = torch.cat([theta[None], draws]).flatten(0, 1).double().std(0).to(draws)  # (D,)
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))
    far = ((theta - points) / unit).square().sum(-1)  # (M,)
    return rank(far, ((draws - points) / unit).square().sum(-1), dice)


def _linear_guess(theta: Tensor, x: Tensor, x_new: Tensor) -> Tensor:
    """Return the least-squares guess of theta at x_new, learned from the pairs theta, x."""
    x, x_new = (part.flatten(1).double().to(theta.device) for part in (x, x_new))
    mean, deviation = x.mean(0), x.std(0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    x, x_new = (x - mean) / deviation, (x_new - mean) / deviation
    centre = theta.double().mean(0)
    penalty = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    slopes = torch.linalg.solve(x.mT @ x + penalty, x.mT @ (theta.double() - centre))
    return (centre + x_new @ slopes).to(theta)
