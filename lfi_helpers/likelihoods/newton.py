"""Many small minimisations at once: damped Newton steps inside a box. Knows no likelihood."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_STEPS = 300
CLOSE_ENOUGH = 1e-12  # the next step would lower the objective by less: parameters to 1e-6 sigma
LONGEST = 10.0  # step in units of errors: a small curvature would ask for any length


class FitFailed(RuntimeError):
    """A minimisation did not converge; the message says how far it came."""


def minimise(
    objective: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    free: list[int],
) -> Tensor:
    """Minimise B smooth functions of the free parameters between their bounds, all at once.

    Newton steps with the exact Hessian, whose negative curvatures count as positive. A step that
    does not lower the objective is taken back and the damping raised. Parameters that press
    against a bound wait there. Rows that have converged drop out.

    Args:
        objective: maps parameters (n, P) and the numbers of their rows (n,) to values (n,).
        start: where to begin, inside the box, (B, P).
        lower, upper: the box, (P,).
        free: which parameters move.

    Returns:
        The parameters at the minimum, (B, P).

    Raises:
        ValueError: if the objective is not finite at the start.
        FitFailed: if a row has not converged after 300 steps.
    """
    x = start.clone()
    todo = torch.arange(len(x), device=x.device)
    damping = torch.full((len(x),), 1e-3, dtype=x.dtype, device=x.device)
    value, gradient, hessian = derivatives(objective, x, todo, free)
    _demand_finite(value)
    if not free:
        return x
    low, high = lower[free], upper[free]
    for _ in range(MAX_STEPS):
        here = x[todo][:, free]
        step = _step(here, gradient, hessian, damping, low, high)
        there = (here + step).clamp(low, high)
        step = there - here
        slope = (gradient * step).sum(1)
        expected = -slope - (step[:, None] @ hessian @ step[:, :, None])[:, 0, 0] / 2
        moved = x[todo]
        moved[:, free] = there
        new = derivatives(objective, moved, todo, free)
        lower_now = new[0] <= value + 1e-11 * (1 + value.abs())  # rounding; NaN is false
        accept = lower_now & new[2].isfinite().flatten(1).all(1)
        done = accept & (-slope < CLOSE_ENOUGH) & (damping < 1e-2)
        x[todo[accept]] = moved[accept]
        damping = damping * torch.where(accept, _relax(value - new[0], expected), 10)
        damping = damping.clamp(1e-9, 1e9)
        old = value, gradient, hessian
        stay = ~done
        value, gradient, hessian = (
            torch.where(accept.view(-1, *[1] * (n.ndim - 1)), n, o)[stay]
            for n, o in zip(new, old, strict=True)
        )
        todo, damping = todo[stay], damping[stay]
        if len(todo) == 0:
            return x
    raise FitFailed(
        f"fit: {len(todo)} of {len(x)} did not converge in {MAX_STEPS} steps; largest gradient "
        f"{gradient.abs().max():.2g}, parameters {x[todo[0]].tolist()}"
    )


def _demand_finite(value: Tensor) -> None:
    """Raise unless the objective is finite at the start of every row."""
    bad = int((~value.isfinite()).sum())
    if bad:
        raise ValueError(
            f"data: expected a positive density at the initial parameters, got {bad} of "
            f"{len(value)} rows without: is there data in a bin where nothing is expected?"
        )


def _relax(gained: Tensor, expected: Tensor) -> Tensor:
    """Return the factor of the damping after a good step: less of it if the parabola is true."""
    share = gained / expected
    factor = torch.where(share > 0.75, 0.1, torch.where(share > 0.25, 1.0, 4.0))
    return torch.where(expected < 1e-9, 0.1, factor)  # rounding decides the share


def derivatives(objective, x: Tensor, rows: Tensor, free: list[int]):
    """Return values (n,), gradients (n, F) and Hessians (n, F, F) in the free parameters."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(x, rows)
        (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        if not free:
            return value.detach(), slope[:, :0], slope.new_zeros(len(x), 0, 0)
        basis = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[free]
        basis = basis[:, None].expand(-1, len(x), -1)  # (F, n, P): all rows of H in one pass
        (hessian,) = torch.autograd.grad(slope, x, basis, is_grads_batched=True)
    hessian = hessian[:, :, free].permute(1, 0, 2)
    return value.detach(), slope.detach()[:, free], hessian


def _step(x, gradient, hessian, damping, low, high):
    """Solve (|H| + damping) step = -gradient in units of errors; what presses a bound stays."""
    moves = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))  # (n, F)
    scale = moves / (hessian.diagonal(dim1=1, dim2=2).abs() + 1e-10).sqrt()
    value, vector = torch.linalg.eigh(scale[:, :, None] * hessian * scale[:, None, :])
    slope = vector.mT @ (scale * gradient)[:, :, None]  # downhill also where H is not positive
    step = -vector @ (slope / (value.abs() + damping[:, None])[:, :, None])
    length = step.norm(dim=1, keepdim=True)
    return (step * (LONGEST / length).clamp(max=1))[:, :, 0] * scale
