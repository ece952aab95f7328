"""A parametrised ratio, summed over the events of many data sets: log L as a function of theta.

It sums what was learned; must never learn, and never look for the maximum.
"""

from collections.abc import Callable
from copy import deepcopy
from math import log

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating
from lfi_helpers.classifiers.parametrised import ParametrisedRatio


def log_likelihood(
    ratio: ParametrisedRatio, x: Tensor, x_ref: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    r"""Return log L of T data sets of n events, :math:`\sum_i \log \hat r(x_i \mid \theta)`.

    A function of theta (M, D) and of the numbers of their data sets (M,), with values (M,) in
    float64: twice differentiable, to be maximised with the nuisances free or held. The bilinear
    network needs nothing of the events but the sum of its features: 12 numbers.

    With ``x_ref`` the ratio is normalised: it should average to one over draws of the denominator,

        log r(x | theta) - log mean_j r(x_j | theta),

    else p_1 r is no density. A network misses that by little for one event, and n times as much
    for n, at each theta by another amount: the maximum moves.

    Args:
        ratio: of ``fit_parametrised``.
        x: events, (T, n, L).
        x_ref: draws of the denominator, (J, L), not those trained on.

    Raises:
        ValueError: for x of another shape; the function, for theta outside the range trained on.
    """
    x = finite("x", floating("x", x)).double()
    if x.ndim != 3:
        raise ValueError(f"x: expected shape (T, n, L), got {tuple(x.shape)}")
    network = deepcopy(ratio.module).double().to(x.device).requires_grad_(False)
    total, n = _summed(network, x), x.shape[1]
    if x_ref is None:
        return lambda theta, rows: total(ratio.inside(theta).double(), rows)
    x_ref = finite("x_ref", batch("x_ref", x_ref, x.shape[2])).double()
    log_mean = _log_mean(network, x_ref)

    def normalised(theta: Tensor, rows: Tensor) -> Tensor:
        theta = ratio.inside(theta).double()
        return total(theta, rows) - n * log_mean(theta)

    return normalised


def _summed(network, x: Tensor):
    """Return the sum over each data set's events, x (T, n, L), as a function of theta and rows."""
    if network.kind == "bilinear":
        features = torch.stack([network.of_x(network.standard_x(v)).sum(0) for v in x])  # (T, R)

        def from_features(theta: Tensor, rows: Tensor) -> Tensor:
            b = network.of_theta(network.standard_theta(theta))
            return (features[rows] * b[:, :-1]).sum(1) + x.shape[1] * b[:, -1]

        return from_features
    return lambda theta, rows: _each(network, theta, x[rows]).sum(1)


def _log_mean(network, x_ref: Tensor):
    """Return log mean_j r(x_j | theta) over x_ref (J, L), as a function of theta (M, D)."""
    if network.kind == "bilinear":
        features = network.of_x(network.standard_x(x_ref))  # (J, R)

        def log_r(theta: Tensor) -> Tensor:
            b = network.of_theta(network.standard_theta(theta))
            return b[:, :-1] @ features.T + b[:, -1:]

    else:

        def log_r(theta: Tensor) -> Tensor:
            return _each(network, theta, x_ref.expand(len(theta), -1, -1))

    return lambda theta: torch.logsumexp(log_r(theta), 1) - log(len(x_ref))


def _each(network, theta: Tensor, x: Tensor) -> Tensor:
    """Return the log-ratio of every event: theta (M, D), x (M, n, L) -> (M, n)."""
    repeated = theta[:, None].expand(-1, x.shape[1], -1)
    return network(repeated.flatten(0, 1), x.flatten(0, 1)).view(x.shape[:2])
