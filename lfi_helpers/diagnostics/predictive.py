"""Posterior predictive check: does the model, at draws of the posterior, give data like x_obs?

Takes simulated data; must never simulate.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import finite, floating


class Predictive(NamedTuple):
    """One entry per statistic: its value for x_obs (K,), for the replicas (n, K), the p-value.

    ``p_value`` (K,) is two-sided: twice the smaller share of replicas (with x_obs among them)
    that lie on one side.
    """

    observed: Tensor
    replicated: Tensor
    p_value: Tensor


def predictive_check(
    x_rep: Tensor, x_obs: Tensor, statistic: Callable[[Tensor], Tensor] | None = None
) -> Predictive:
    r"""Compare an observation with data simulated at draws of its posterior.

    A small p-value says that the model, or the posterior, cannot give x_obs. A large one says
    little, since x_obs was used to find the posterior: over the prior predictive,
    :math:`P(p \le a) \le 2 a` if the posterior is exact, often much less.

    Args:
        x_rep: one x simulated at each of n draws of the posterior, (n, ...).
        x_obs: the observation, (...).
        statistic: what is compared, (B, ...) -> (B,) or (B, K); None takes every number of x.

    Raises:
        ValueError: for other shapes, fewer than 20 replicas, or numbers that are not finite.

    Source: Gelman, Meng and Stern, Statistica Sinica 6 (1996) 733; the bound: Meng, Annals of
    Statistics 22 (1994) 1142.
    """
    x_rep, x_obs = finite("x_rep", floating("x_rep", x_rep)), floating("x_obs", x_obs)
    x_obs = finite("x_obs", x_obs)
    if x_rep.shape[1:] != x_obs.shape or x_rep.ndim < 2 or len(x_rep) < 20:
        wanted = tuple(["n >= 20", *x_obs.shape])
        raise ValueError(f"x_rep: expected shape {wanted}, got {tuple(x_rep.shape)}")
    replicated, observed = _values(statistic, x_rep), _values(statistic, x_obs[None])
    above = 1 + (replicated >= observed).sum(0)
    below = 1 + (replicated <= observed).sum(0)
    p_value = 2 * torch.minimum(above, below).double() / (1 + len(replicated))
    return Predictive(observed[0], replicated, p_value.clamp(max=1))


def _values(statistic, x: Tensor) -> Tensor:
    values = x if statistic is None else floating("statistic", statistic(x))
    if not len(values) == len(x):
        raise ValueError(f"statistic: expected {len(x)} rows, got {tuple(values.shape)}")
    return finite("statistic", values.reshape(len(x), -1))
