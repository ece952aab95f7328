"""Which experiment next? How much an experiment of a given design is expected to tell.

It sees callables of theta, data and design; must never know the simulator behind them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating
from lfi_helpers.decisions.bayesopt import check_bounds
from lfi_helpers.run import generator


@dataclass(frozen=True)
class InformationGain:
    """What one design promises, in nats.

    ``mean`` is the average information gain of the simulated experiments, ``error`` its standard
    error. ``log_score`` estimates the same number in another way: see
    ``expected_information_gain``.
    """

    mean: float
    error: float
    log_score: float


def expected_information_gain(
    design: Sequence[float],
    simulate: Callable[[Tensor, tuple[float, ...], torch.Generator], Tensor],
    log_likelihood: Callable[[Tensor, Tensor, tuple[float, ...]], Tensor],
    theta: Tensor,
    weight: Tensor | None = None,
    *,
    bounds=None,
    n_experiments: int = 64,
    seed: int = 0,
) -> InformationGain:
    r"""Simulate experiments of one design; by how much do they lower the entropy of theta?

    The prior is a set of points theta_g of weights w_g: a grid with a density, or draws. With
    p(g | x) = w_g L_g(x) / sum_h w_h L_h(x), the likelihoods taken at this design d,

    .. math:: EIG(d) = H(w) - E_{g \sim w}\, E_{x \sim p(x | \theta_g, d)} H(p(\cdot | x)),
        \quad H(w) = -\sum_h w_h \log w_h .

    It is the information on *which point*, at most the entropy of the weights: take so many
    points that this is no limit. If the likelihood is the simulator's, the average over the same
    experiments of log p(g | x) / w_g for the point g that made x, ``log_score``, has the same
    expectation. So has the divergence of posterior from prior, which is noisier: the entropy
    hardly depends on where the posterior lies. A learned likelihood that is too sure of itself
    has a ``log_score`` far below the ``mean``: that needs no truth to be seen.

    The points that make the experiments are spread evenly over the prior, and all designs share
    them and the random numbers of the simulator (common random numbers). So the estimate is a
    smooth function of the design, and designs are compared with less noise than each has.

    Args:
        design: K numbers; handed on as a tuple of floats.
        simulate: ``(theta (J, D), design, generator) -> x (J, ...)``, one experiment per row,
            all the data it would take.
        log_likelihood: ``(x (J, ...), theta (G, D), design) -> (J, G)``, exact or learned, up to
            a constant for each experiment: log-ratios to any reference will do. -inf is allowed.
        theta: the points, (G, D).
        weight: their weights, (G,), normalised here; all equal if None.
        bounds: (low, high) of each number of the design, for callables that are valid only there.
        n_experiments: J.
        seed: of theta and of ``simulate``'s generator.

    Raises:
        ValueError: for a design outside ``bounds``, weights that are no weights, a wrong number
            of experiments, or log-likelihoods of another shape, NaN, or -inf at every theta.

    Source: Lindley, Ann. Math. Statist. 27 (1956) 986; nested estimators: arXiv:1903.05480.
    """
    design = check_design(design, bounds)
    theta = finite("theta", batch("theta", theta))
    log_w = _log_weight(weight, theta)
    if isinstance(n_experiments, bool) or not isinstance(n_experiments, int) or n_experiments < 2:
        raise ValueError(f"n_experiments: expected an integer >= 2, got {n_experiments!r}")
    made_by = _spread(log_w.exp(), n_experiments, generator(seed, 0))  # (J,)
    x = simulate(theta[made_by], design, generator(seed, 1, theta.device))
    if len(x) != n_experiments:
        raise ValueError(f"simulate: expected {n_experiments} experiments, got {len(x)}")
    log_l = _table(log_likelihood(x, theta, design), n_experiments, log_w)
    log_p = torch.log_softmax(log_w + log_l, dim=1)  # (J, G)
    gain = _entropy(log_w) - _entropy(log_p)  # (J,)
    scores = log_p.gather(1, made_by[:, None])[:, 0] - log_w[made_by]
    error = gain.std() / n_experiments**0.5
    return InformationGain(gain.mean().item(), error.item(), scores.mean().item())


def check_design(design: Sequence[float], bounds=None) -> tuple[float, ...]:
    """Return a design as a tuple of floats, or raise: K finite numbers, inside the bounds.

    Raises:
        ValueError: for another shape, NaN or infinity, or a number outside its (low, high).
    """
    numbers = np.asarray(design, float)
    if numbers.ndim != 1 or len(numbers) == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"design: expected K finite numbers, got {numbers.tolist()}")
    if bounds is not None:
        low, high = check_bounds(bounds)
        if numbers.shape != low.shape:
            raise ValueError(f"design: expected {len(low)} numbers, got {numbers.tolist()}")
        if not ((numbers >= low) & (numbers <= high)).all():
            box = f"{low.tolist()} to {high.tolist()}"
            raise ValueError(f"design: expected a point in the box {box}, got {numbers.tolist()}")
    return tuple(numbers.tolist())


def _log_weight(weight: Tensor | None, theta: Tensor) -> Tensor:
    """Return the logarithms of the normalised weights in double precision, (G,)."""
    if len(theta) == 0:
        raise ValueError("theta: expected at least one point, got none")
    if weight is None:
        weight = torch.ones(len(theta), device=theta.device)
    weight = finite("weight", floating("weight", weight)).to(theta.device).double()
    if weight.shape != (len(theta),):
        raise ValueError(f"weight: expected shape ({len(theta)},), got {tuple(weight.shape)}")
    if (weight < 0).any() or not weight.sum() > 0:
        raise ValueError("weight: expected numbers >= 0, not all 0")
    return (weight / weight.sum()).log()


def _entropy(log_p: Tensor) -> Tensor:
    """Return -sum p log p along the last axis; 0 log 0 is 0."""
    return -(log_p.exp() * torch.where(log_p > -torch.inf, log_p, 0.0)).sum(-1)


def _spread(weight: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return n indices, systematically drawn: index g appears n w_g times, rounded up or down."""
    first = torch.rand(1, generator=generator, device="cpu", dtype=weight.dtype)
    steps = (torch.arange(n, device="cpu", dtype=weight.dtype) + first) / n
    edges = weight.cumsum(0)
    last = int(weight.nonzero()[-1])  # rounding of the sum must not lead to a weight of 0
    return torch.searchsorted(edges, steps.to(edges) * edges[-1], right=True).clamp(max=last)


def _table(log_l: Tensor, n: int, log_w: Tensor) -> Tensor:
    """Return the log-likelihoods in double precision if each experiment has a posterior."""
    wanted = (n, len(log_w))
    if tuple(log_l.shape) != wanted:
        raise ValueError(f"log_likelihood: expected shape {wanted}, got {tuple(log_l.shape)}")
    if log_l.isnan().any() or (log_l == torch.inf).any():
        raise ValueError("log_likelihood: expected numbers or -inf, got NaN or +inf")
    log_l = log_l.to(log_w)
    impossible = int((log_w + log_l == -torch.inf).all(1).sum())
    if impossible:
        raise ValueError(
            "log_likelihood: expected experiments that some theta makes, "
            f"got {impossible} of {n} that none does"
        )
    return log_l
