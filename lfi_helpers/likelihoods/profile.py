"""Unbinned likelihoods of a signal strength, and their profiles over one nuisance, on grids.

Takes ratios of densities as tables; must never know where they come from.
"""

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from lfi_helpers.arguments import same_length


def extended_log_likelihood(
    log_ratio: Tensor, strength: Tensor, signal: float, background: float, weight=None
) -> Tensor:
    r"""Return :math:`\sum_i w_i \log(1 + \mu \frac{s}{b} r_i(\nu)) - \mu s`, (T, M, K).

    It is the extended log-likelihood of events i of T experiments over that without signal.

    Args:
        log_ratio: log p(x | signal, nu) / p(x | background), (T, E, K); NaN where an experiment
            has fewer than E events. With ``weight`` it may be one table of bins, (E, K).
        strength: signal strengths mu, (M,).
        signal: expected signal events s at mu = 1.
        background: expected background events b.
        weight: how many events each bin holds, (T, E).
    """
    ratio = log_ratio.exp().nan_to_num(0.0)
    sums = []
    for mu in strength.tolist():  # one table of the size of log_ratio at a time
        row = torch.log1p(mu * signal / background * ratio)
        sums.append(row.sum(1) if weight is None else weight.to(row.dtype) @ row)
    return torch.stack(sums, 1).double() - signal * strength.double()[:, None]


def profile(log_l: Tensor, strength: Tensor, nuisance: Tensor, fine: Tensor) -> Tensor:
    r"""Return :math:`-2 \log \lambda(\mu)`, the nuisance profiled, on fine points: (T, F).

    Cubic splines interpolate between the nodes of both, which must lie closer than the errors.

    Args:
        log_l: log-likelihood with its constraint, (T, M, K).
        strength: nodes of mu, ascending, (M,).
        nuisance: nodes of nu, ascending, (K,); with a single one nothing is profiled.
        fine: where the curves are wanted; their minimum is sought there, too, (F,).

    Raises:
        ValueError: if the nodes do not belong to the table.
    """
    same_length(strength=strength, log_l=log_l.transpose(0, 1))
    same_length(nuisance=nuisance, log_l=log_l.transpose(0, 2))
    values = log_l.double().numpy()
    if len(nuisance) > 1:
        low, high = nuisance[[0, -1]].tolist()
        between = np.linspace(low, high, 10 * len(nuisance) - 9)
        values = CubicSpline(nuisance.double().numpy(), values, axis=2)(between)
    spline = CubicSpline(strength.double().numpy(), values.max(2), axis=1)
    curve = torch.from_numpy(spline(fine.double().numpy()))
    return 2 * (curve.amax(1, keepdim=True) - curve)
