"""How much does a score tell of a nuisance? A fresh adversary, and the distance correlation.

Knows scores and nuisances only; must never train a classifier.
"""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lfi_helpers.arguments import finite, same_length
from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import generator, spawn_seeds
from lfi_helpers.training import fit


class MixtureDensity(nn.Module):
    r"""p(z | s) as a mixture of Gaussians whose parameters are functions of the score s.

    .. math:: p(z | s) = \sum_k w_k(s)\, N(z; \mu_k(s), \sigma_k(s)^2)

    z is standardised inside; the densities are those of z itself, so that E[-log p] is in nats and
    can be compared with the entropy of z.
    """

    def __init__(
        self,
        z: Tensor,
        *,
        components: int = 5,
        hidden: tuple[int, ...] = (32, 32),
        activation: str = "silu",
        seed: int = 0,
    ):
        super().__init__()
        self.standard = Standardise(z[:, None])
        self.network = mlp(1, 3 * components, hidden, activation=activation, seed=seed)

    def log_prob(self, z: Tensor, s: Tensor) -> Tensor:
        """Return log p(z | s) of each row: (N,), (N,) -> (N,)."""
        same_length(z=z, s=s)
        pull = self.standard(z[:, None])  # (N, 1)
        weight, mean, log_sd = self.network(s[:, None]).chunk(3, 1)  # (N, K) each
        log_sd = 5 * torch.tanh(log_sd / 5)  # bounded: no spike on one row
        parts = -((pull - mean) * (-log_sd).exp()).square() / 2 - log_sd - log(2 * pi) / 2
        return torch.logsumexp(parts + weight.log_softmax(1), 1) - self.standard.deviation.log()


class Reading(NamedTuple):
    """-log r(z | s) of each row held out, (M,), and which rows these are, (M,).

    Where p(z) is known, the mean of ``nll`` + log p(z[held]) estimates minus the information with
    a much smaller error than ``nll`` alone estimates its mean.
    """

    nll: Tensor
    held: Tensor


def fresh_adversary(
    s: Tensor, z: Tensor, *, seed: int = 0, max_steps: int = 600, progress: bool = False
) -> Reading:
    """Return the held-out NLL, in nats, of an adversary trained from scratch to read z off s.

    Half of the rows train it, the other half judge: its mean is H(z) for independence, less if s
    tells z. s enters by its ranks, turned into normal numbers: no monotone squeeze of the score
    hides anything. Never believe the adversary that a classifier was trained against: it has only
    to be fooled, not to be uninformed.

    Args:
        s: scores of events that were not trained on, (N,).
        z: their nuisances, (N,).
        seed: of the split, the weights and the rows.
        max_steps: of its training.
        progress: show a bar.

    Raises:
        ValueError: if the shapes are not one (N,), or N < 100.
    """
    s, z = finite("s", s), finite("z", z)
    if s.shape != z.shape or s.ndim != 1 or len(s) < 100:
        got = f"{tuple(s.shape)} and {tuple(z.shape)}"
        raise ValueError(f"s and z: expected one shape (N,), N >= 100, got {got}")
    seeds = spawn_seeds(seed, 3)
    s, z = _normal_ranks(s.detach()).float(), z.float()
    order = torch.randperm(len(s), generator=generator(seeds[0]), device="cpu").to(s.device)
    train, held = order[: len(s) // 2], order[len(s) // 2 :]
    adversary = MixtureDensity(z[train], seed=seeds[1])
    settings = {"batch_size": min(1024, len(train) // 2), "learning_rate": 1e-2}
    settings |= {"max_steps": max_steps, "seed": seeds[2], "progress": progress}
    fit(
        adversary,
        lambda module, rows: -module.log_prob(*rows).mean(),
        (z[train], s[train]),
        device=s.device,
        **settings,
    )
    with torch.no_grad():
        return Reading(-adversary.log_prob(z[held], s[held]), held)


def _normal_ranks(s: Tensor) -> Tensor:
    """Return normal numbers in the order of s; equal scores get one number."""
    _, place, count = torch.unique(s, return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - count / 2  # mean rank of each value
    return torch.special.ndtri((middle / len(s)).double())[place]


def moving_cut(s: Tensor, z: Tensor, keep: float, slices: int = 100) -> Callable[[Tensor], Tensor]:
    """Return the level above which the share ``keep`` of s lies, as a function of z.

    Quantiles of s in slices of z that hold equally many rows, and straight lines between their
    middles: s - level(z) > 0 passes the same share at every z. Source: arXiv:1603.00027.

    Args:
        s, z: scores and nuisances of the rows among which z must not matter, (N,).
        keep: share to pass, in (0, 1).
        slices: how many.
    """
    if s.shape != z.shape or s.ndim != 1 or len(s) < 10 * slices or not 0 < keep < 1:
        got = f"{tuple(s.shape)}, {tuple(z.shape)} and {keep}"
        raise ValueError(f"s, z, keep: expected (N,), N >= 10 a slice, 0 < keep < 1, got {got}")
    parts = z.argsort().tensor_split(slices)
    middle = np.array([z[part].double().mean().item() for part in parts])
    level = np.array([np.quantile(s[part].double().cpu().numpy(), 1 - keep) for part in parts])
    return lambda at: torch.from_numpy(np.interp(at.double().cpu().numpy(), middle, level)).to(at)


def distance_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the squared distance correlation of two samples, in [0, 1]: (N,), (N,) -> scalar.

    .. math:: \mathrm{dCor}^2 = \frac{\langle A, B\rangle}{\sqrt{\langle A, A\rangle
        \langle B, B\rangle}}

    with A, B the matrices |a_i - a_j|, |b_i - b_j| minus their row and column means plus their
    mean. Its population value is 0 if and only if a and b are independent; differentiable, and of
    N^2 memory. Source: arXiv:2001.05310.

    Raises:
        ValueError: if the shapes are not one (N,), N < 2, or a sample is constant.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        got = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"a and b: expected one shape (N,), N >= 2, got {got}")
    first, second = (_centred(v) for v in (a, b))
    norm = first.square().mean() * second.square().mean()
    if not norm > 0:
        raise ValueError("a and b: expected samples that vary, got a constant one")
    return (first * second).mean() / norm.sqrt()


def _centred(v: Tensor) -> Tensor:
    d = (v[:, None] - v[None, :]).abs()
    return d - d.mean(0) - d.mean(1, keepdim=True) + d.mean()
