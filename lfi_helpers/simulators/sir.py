"""A small epidemic of chance: how many of a village fall ill, with the exact probability of each.

It must never know how theta is inferred.
"""

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

LOW, HIGH = 0.2, 4.0  # of the prior


class Sir:
    r"""How many of n susceptible people one ill person infects in the end, for theta = (R,).

    In a village of n + 1, with s susceptible and i ill people, the next event is

        an infection (s - 1, i + 1) with probability R s / (R s + n + 1), else a recovery (i - 1),

    until nobody is ill; x = (n - s,) is then the final size. R, the basic reproduction number, is
    how many one ill person would infect among people who are all susceptible. The prior is uniform
    on [0.2, 4].

    Who is infected by whom does not matter, nor when: ``sample`` jumps from one infection to the
    next. While s are susceptible every event has the same probability, so that the number of
    recoveries before the next infection is geometric: floor(log u / log(1 - p)) of a uniform u,
    where -log(1 - p) = log(1 + R s / (n + 1)).

    Args:
        n_people: n, how many are susceptible at first.
    """

    name = "sir"
    theta_dim = x_dim = 1

    def __init__(self, n_people: int = 50):
        if isinstance(n_people, bool) or not isinstance(n_people, int) or n_people < 1:
            raise ValueError(f"n_people: expected an integer >= 1, got {n_people!r}")
        self.n_people = n_people
        self.prior = box_uniform([LOW], [HIGH])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one final size for each theta: (N, 1) -> (N, 1)."""
        rate = _rate(theta)
        kind = {"dtype": rate.dtype, "device": rate.device}
        final = torch.zeros_like(rate)
        who = torch.arange(len(rate), device=rate.device)  # those of the batch that still run
        pressure, recovered = rate / (self.n_people + 1), torch.zeros_like(rate)
        x = torch.zeros_like(who, dtype=torch.int32)
        runs = torch.ones_like(who, dtype=torch.bool)
        for k in range(self.n_people):  # k have been infected: 1 + k - recovered are ill
            log_u = torch.rand(len(who), generator=generator, **kind).log_()
            recovered -= log_u.div_((pressure * (self.n_people - k)).log1p_()).ceil_()
            runs &= recovered <= k
            x += runs
            if k.bit_count() < 2:  # 0, 1, 2, 4, 8 ...: go on with those that are not over
                final[who] = x.to(rate.dtype)
                on = runs.nonzero()[:, 0]
                state = who, pressure, recovered, x, runs
                who, pressure, recovered, x, runs = (v.index_select(0, on) for v in state)
        final[who] = x.to(rate.dtype)
        return final[:, None]

    def pmf(self, theta: Tensor) -> Tensor:
        r"""Return the exact P(x | theta) of every x = 0 ... n: (N, 1) -> (N, n + 1).

        After t events, k of them infections, 1 + 2 k - t people are ill: a recursion over t
        carries the probability of every k, and sets aside what has 1 + 2 k = t: there it ends.
        """
        p = self._recursion(_rate(theta))
        return p.to(theta.dtype) if theta.is_floating_point() else p.float()

    def _recursion(self, rate: Tensor) -> Tensor:
        """Return the probabilities in float64: (N,) -> (N, n + 1)."""
        rate = rate.double()
        k = torch.arange(self.n_people + 1, device=rate.device)
        pressure = rate[:, None] * (self.n_people - k)
        infects = pressure / (pressure + self.n_people + 1)  # (N, n + 1)
        p = (k == 0).double().expand(len(rate), -1)
        final = torch.zeros_like(p)
        for t in range(2 * self.n_people + 2):
            over = 1 + 2 * k == t
            final = torch.where(over, p, final)
            p = torch.where(over, 0.0, p)
            p = p * (1 - infects) + torch.nn.functional.pad((p * infects)[:, :-1], (1, 0))
        return final

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log P(x | theta), (N,); -inf unless x is one of 0, 1, ..., n.

        Differentiable in theta.
        """
        x = finite("x", batch("x", x, 1))[:, 0]
        rate = _rate(theta)
        same_length(x=x, theta=rate)
        possible = (x >= 0) & (x <= self.n_people) & (x == x.floor())
        index = torch.where(possible, x, 0.0).long()
        p = self._recursion(rate).gather(1, index[:, None])[:, 0]
        return torch.where(possible, p.log(), -torch.inf).to(rate.dtype)


def _rate(theta: Tensor) -> Tensor:
    """Return R of each row, or raise if one is not above zero."""
    rate = finite("theta", batch("theta", theta, 1))[:, 0]
    if not (rate > 0).all():
        raise ValueError(f"theta: expected numbers > 0, got {rate.min().item():g}")
    return rate
