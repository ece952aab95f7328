"""Local classifier two-sample test: at which observation is a posterior wrong?

Takes pairs and a posterior; must never simulate.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import finite, floating
from lfi_helpers.diagnostics.draws import chance, draw_each, pairs
from lfi_helpers.diagnostics.ensemble import Ensemble, train
from lfi_helpers.run import spawn_seeds

FEWEST = 50  # pairs
HELD_OUT = 10  # one pair in so many decides which weights are kept
EPOCHS = 20
WIDEST = 64  # hidden units, however many features


class LC2ST(NamedTuple):
    """One entry per observation asked about, (M,), and the null distribution, (M, permutations).

    ``statistic`` is the mean of (d - 1/2)^2 over draws of the posterior, where d is the
    classifier's probability that a draw is a truth; ``p_value`` is its place in ``null``, at
    least 1 / (1 + permutations).
    """

    statistic: Tensor
    p_value: Tensor
    null: Tensor


def lc2st(
    posterior,
    theta: Tensor,
    x: Tensor,
    x_obs: Tensor,
    n: int = 1000,
    *,
    permutations: int = 100,
    seed: int = 0,
) -> LC2ST:
    r"""Test a posterior at each observation x_obs, with pairs from the whole simulator.

    A classifier learns to tell pairs (theta, x) from (draw of the posterior at x, x). Where it
    can, the posterior is wrong. For the null distribution, classifiers of the same kind learn the
    same pairs after truth and draw were swapped in a random half of them, which changes nothing if
    the posterior is exact. All classifiers are trained at once.

    Args:
        posterior: a posterior or a callable (see ``draws.draw_each``).
        theta: the truths, (N, D), drawn from the prior.
        x: what they gave, (N, L).
        x_obs: the observations in question, (M, L).
        n: draws of the posterior at each of them.
        permutations: classifiers that make the null distribution.
        seed: of draws, swaps and classifiers.

    Raises:
        ValueError: for unequal lengths, other shapes, fewer than 50 pairs, or numbers that are
            not finite.

    Source: arXiv:2306.03580.
    """
    theta, x = pairs(theta, x, fewest=FEWEST)
    x_obs = finite("x_obs", floating("x_obs", x_obs))
    if x_obs.shape[1:] != x.shape[1:]:
        wanted = ("M", *x.shape[1:])
        raise ValueError(f"x_obs: expected shape {wanted}, got {tuple(x_obs.shape)}")
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 1:
        raise ValueError(f"permutations: expected an integer >= 1, got {permutations!r}")
    at_x, at_obs = spawn_seeds(seed, 4)[2:]
    drawn, asked = draw_each(posterior, x, 1, at_x)[0], draw_each(posterior, x_obs, n, at_obs)
    both = torch.cat([_joined(theta.to(drawn), x), _joined(drawn, x)])
    mean, deviation = both.double().mean(0), both.double().std(0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    def standardised(rows: Tensor) -> Tensor:
        return ((rows.double() - mean) / deviation).float()

    networks = _classifiers(standardised(both), 1 + permutations, chance(seed))
    statistic = torch.stack(
        [
            _distance(networks, standardised(_joined(draws, one.expand(n, *one.shape))))
            for draws, one in zip(asked.unbind(1), x_obs, strict=True)
        ]
    )
    null = statistic[:, 1:]
    p_value = (1 + (null >= statistic[:, :1]).sum(1)) / (1 + permutations)
    return LC2ST(statistic[:, 0].cpu(), p_value.cpu(), null.cpu())


def _joined(theta: Tensor, x: Tensor) -> Tensor:
    return torch.cat([theta, x.to(theta).flatten(1)], 1)


def _classifiers(inputs: Tensor, members: int, draws: torch.Generator) -> Ensemble:
    """Train networks on truths (first half of inputs) against draws; all but the first swapped."""
    n, device = len(inputs) // 2, inputs.device
    swapped = torch.randint(2, (members, n), generator=draws, device="cpu")
    swapped[0] = 0
    labels = torch.cat([1 - swapped, swapped], 1).float().to(device)
    order = torch.rand(members, n, generator=draws, device="cpu").argsort(1)
    order = torch.stack([order, order + n], 2).flatten(1).to(device)  # both halves of a pair
    n_held = 2 * (n // HELD_OUT)
    return train(
        inputs,
        labels,
        order[:, n_held:],
        order[:, :n_held],
        hidden=min(10 * inputs.shape[1], WIDEST),
        generator=draws,
        max_epochs=EPOCHS,
        patience=None,
    )


@torch.no_grad()
def _distance(networks: Ensemble, rows: Tensor) -> Tensor:
    """Return each network's mean squared distance from 1/2 on rows: (K,)."""
    members = len(networks.flat)
    d = networks(rows.expand(members, *rows.shape)).sigmoid()
    return (d - 0.5).square().mean(1)
