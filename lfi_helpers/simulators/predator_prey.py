"""The equations that a hunt and an epidemic share, solved for many rates at once.

Knows no noise, no prior and no observation.
"""

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite


def solve(
    rates: Tensor, start: tuple[float, float], interval: float, n_intervals: int, steps: int
) -> tuple[Tensor, Tensor]:
    r"""Follow u = log(prey) and v = log(predators) of N worlds by Runge and Kutta's fourth order.

    :math:`\dot u = \alpha - \beta e^v,\ \dot v = \delta e^u - \gamma`, which conserves
    :math:`\delta e^u - \gamma u + \beta e^v - \alpha v`. Logarithms keep both populations above
    zero, make growth by many orders of magnitude a straight line, and halve the slopes' cost.

    Args:
        rates: (alpha, beta, gamma, delta), (4, N).
        start: u and v at time 0.
        interval: time between two records.
        n_intervals: how many records follow the one at time 0.
        steps: Runge-Kutta steps in one interval; each is interval / steps long.

    Returns:
        u and v at the records, each (N, n_intervals + 1).
    """
    alpha, beta, gamma, delta = rates
    loss, death = -beta, -gamma
    h = interval / steps
    u, v = (torch.full_like(alpha, value) for value in start)
    record = [(u, v)]

    def slopes(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return torch.addcmul(alpha, loss, v.exp()), torch.addcmul(death, delta, u.exp())

    for _ in range(n_intervals):
        for _ in range(steps):
            du1, dv1 = slopes(u, v)
            du2, dv2 = slopes(u.add(du1, alpha=h / 2), v.add(dv1, alpha=h / 2))
            du3, dv3 = slopes(u.add(du2, alpha=h / 2), v.add(dv2, alpha=h / 2))
            du4, dv4 = slopes(u.add(du3, alpha=h), v.add(dv3, alpha=h))
            u = u.add(du1 + 2 * (du2 + du3) + du4, alpha=h / 6)
            v = v.add(dv1 + 2 * (dv2 + dv3) + dv4, alpha=h / 6)
        record.append((u, v))
    prey, predators = zip(*record, strict=True)
    return torch.stack(prey, 1), torch.stack(predators, 1)


def positive_rates(theta: Tensor, width: int) -> Tensor:
    """Return theta as finite rates (N, width) above zero, or raise."""
    theta = finite("theta", batch("theta", theta, width))
    if not (theta > 0).all():
        raise ValueError(f"theta: expected rates > 0, got {theta.min().item():.4g}")
    return theta
