"""Balls on a board of pushing nails: sampler, exact likelihood and score, mined gold.

Knows no method.
"""

from collections.abc import Iterator
from math import ceil, pi, sin

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import Gold, box_uniform

STEEPNESS = 10.0  # of the sigmoid in the relative nail position -1 ... 1
FACTORS = 4  # rows whose ratios are multiplied before a logarithm is taken
CHUNK = 2_000  # distinct theta per pass of the dynamic programme
BLOCK = 2**16  # balls that fall together: what they need stays in the cache


class Galton:
    r"""Final position x of a ball on a generalised Galton board, for theta = (nail parameter,).

    In row l = 0 ... R-1 the ball meets nail n and goes left with probability

        P(left | l, n, theta) = (1 - f_l)/2 + f_l sigmoid(10 theta (2 n / (N - 1) - 1)),
        f_l = sin(pi l / (R - 1)).

    Even rows have the N nails 0 ... N-1: left keeps n, right makes it n + 1. Odd rows sit half a
    nail to the left and have the N + 1 nails 0 ... N: left makes it n - 1, right keeps n, and the
    outermost nails push the ball back onto the board with certainty. After R rows (an even
    number) x is one of the N positions 0 ... N-1. The path z of the ball is latent.

    The prior is uniform on [-1.2, -0.2]: from one hump that is hardly wider than a plain board's
    to two separate ones, centred between the hypotheses -0.8 (two humps) and -0.6 (one) that the
    course compares. ``sample``, ``mine`` and the exact functions take every finite theta.

    Source: arXiv:1805.12244 and the public code of its example. The text beside that code gives
    sigmoid(5 theta (z - 1/2)) with z = n / (N - 1), but the code, and this class, have
    sigmoid(10 theta (2 z - 1)) = sigmoid(20 theta (z - 1/2)): four times as steep.

    Args:
        n_rows: R, even, at least 2.
        n_nails: N, at least 2.
        start: the nail of the first row on which the ball is dropped.
    """

    name = "galton"
    theta_dim = 1
    x_dim = 1

    def __init__(self, n_rows: int = 20, n_nails: int = 31, start: int = 15):
        self.n_rows = _integer("n_rows", n_rows, 2)
        if n_rows % 2:
            raise ValueError(f"n_rows: expected an even number, got {n_rows}")
        self.n_nails = _integer("n_nails", n_nails, 2)
        self.start = _integer("start", start, 0)
        if start >= n_nails:
            raise ValueError(f"start: expected a nail 0 ... {n_nails - 1}, got {start}")
        self.prior = box_uniform([-1.2], [-0.2])

    @property
    def support(self) -> Tensor:
        """Final positions that a ball can reach, (K, 1): at most R / 2 away from the start."""
        low, high = self.start - self.n_rows // 2, self.start + self.n_rows // 2
        reach = torch.arange(
            max(low, 0), min(high, self.n_nails - 1) + 1, device="cpu", dtype=torch.float32
        )
        return reach[:, None]

    def left_probability(
        self, theta: Tensor, row: int, nail: Tensor, slope: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Return P(left | row, nail, theta) and, if asked for, its derivative in theta.

        theta and nail broadcast.
        """
        f = sin(pi * row / (self.n_rows - 1))
        push = (nail - (self.n_nails - 1) / 2).mul_(2 * STEEPNESS / (self.n_nails - 1))
        s = (theta * push).sigmoid_()  # in place here and below: new memory is what costs time
        left = (s * f).add_((1 - f) / 2)
        change = torch.addcmul(s, s, s, value=-1).mul_(push).mul_(f) if slope else None
        if row % 2 and nail.numel() and (nail.min() <= 0 or nail.max() >= self.n_nails):
            outside_left, outside_right = nail == 0, nail == self.n_nails
            left = left.masked_fill(outside_left, 0.0).masked_fill(outside_right, 1.0)
            if slope:
                change = change.masked_fill(outside_left | outside_right, 0.0)
        return left, change

    def _walk(
        self, theta: Tensor, generator: torch.Generator | None, slope: bool = False
    ) -> Iterator[tuple[int, Tensor, Tensor, Tensor | None, Tensor]]:
        """Drop one ball per theta (N,), row by row.

        Yields row, nail, P(left), its derivative if asked for, whether the ball went right (1 or
        0); last the row R and the final positions. The next step overwrites nail and the last.
        """
        nail, goes_right = torch.full_like(theta, self.start), torch.empty_like(theta)
        dice = torch.empty_like(theta, dtype=torch.int64)  # two numbers each: they cost most
        halves = dice.view(torch.int32).view(2, -1)
        centre = torch.tensor(0.5, dtype=theta.dtype, device=theta.device)
        for row in range(self.n_rows):
            left, change = self.left_probability(theta, row, nail, slope)
            if row % 2 == 0:
                dice.random_(-(2**63), None, generator=generator)
                halves.bitwise_right_shift_(8)  # -2^23 ... 2^23 - 1 are exact in float32
            torch.add(centre, halves[row % 2], alpha=2.0**-24, out=goes_right).ge_(left)
            yield row, nail, left, change, goes_right
            nail.add_(goes_right).sub_(row % 2)
        yield self.n_rows, nail, left, change, goes_right

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Drop one ball for each theta: (N, 1) -> final positions (N, 1)."""

        def drop(theta):
            for step in self._walk(theta, generator):
                nail = step[1]
            return nail[:, None]

        return torch.cat([drop(part) for part in _blocks(_parameter("theta", theta))])

    def paths(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Drop one ball for each theta: the nail it met in each row, then x: (N, R + 1).

        The same generator state gives the same balls as ``sample`` and ``mine``.
        """

        def drop(theta):
            return torch.stack([step[1].clone() for step in self._walk(theta, generator)], 1)

        return torch.cat([drop(part) for part in _blocks(_parameter("theta", theta))])

    def mine(
        self, theta: Tensor, theta_ref: Tensor, generator: torch.Generator | None = None
    ) -> Gold:
        r"""Drop one ball at each theta; sum log p and its derivative over the nails of its path z.

        log r(x, z) = sum_l log P(step_l | theta) - log P(step_l | theta_ref),
        t(x, z) = sum_l d/dtheta log P(step_l | theta).

        Args:
            theta: parameters at which balls are dropped, (N, 1); numerator of r, place of t.
            theta_ref: parameters of the denominator, (N, 1).
        """
        theta, theta_ref = _parameter("theta", theta), _parameter("theta_ref", theta_ref)
        same_length(theta=theta, theta_ref=theta_ref)
        pairs = zip(_blocks(theta), _blocks(theta_ref), strict=True)
        parts = [self._mine_block(*pair, generator) for pair in pairs]
        x, log_ratio, score = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return Gold(x[:, None], log_ratio, score[:, None])

    def _mine_block(
        self, theta: Tensor, theta_ref: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, log r(x, z) and t(x, z) of one ball per theta, each (N,)."""
        log_ratio, score = torch.zeros_like(theta), torch.zeros_like(theta)
        ratio = torch.ones_like(theta)  # of the rows since the last logarithm
        for row, nail, left, slope, goes_right in self._walk(theta, generator, slope=True):
            if row % FACTORS == 0 or row == self.n_rows:
                log_ratio += ratio.log_()
                ratio.fill_(1)
            if row == self.n_rows:
                break
            reference, _ = self.left_probability(theta_ref, row, nail, slope=False)
            step = left - goes_right  # P(left), or minus P(right), whose derivative is -slope
            ratio.mul_(step).div_(reference.sub_(goes_right))
            score.addcdiv_(slope, step)
        return nail, log_ratio, score

    def _dynamic_programme(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over all paths, row by row: p(x | theta) and dp/dtheta in float64, each (U, N)."""
        nail = torch.arange(self.n_nails + 1, device=theta.device, dtype=torch.float64)
        p = (nail == self.start).to(torch.float64).expand(len(theta), -1)
        dp = torch.zeros_like(p)
        for row in range(self.n_rows):
            left, slope = self.left_probability(theta.double()[:, None], row, nail)
            to_left, d_left = p * left, dp * left + p * slope
            to_right, d_right = p * (1 - left), dp * (1 - left) - p * slope
            p, dp = _move(to_left, to_right, row), _move(d_left, d_right, row)
        return p[:, :-1], dp[:, :-1]

    def _exact(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return p and dp of the U distinct theta, (U, N), and for each theta its row in them."""
        if theta.requires_grad:
            distinct, which = theta, torch.arange(len(theta), device=theta.device)
        else:
            distinct, which = torch.unique(theta, return_inverse=True)
        parts = [self._dynamic_programme(part) for part in distinct.split(CHUNK)]
        p, dp = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return p, dp, which

    def pmf(self, theta: Tensor) -> Tensor:
        """Return the exact p(x | theta) of every x = 0 ... n_nails - 1: (N, 1) -> (N, n_nails)."""
        theta = _parameter("theta", theta)
        p, _, which = self._exact(theta)
        return p[which].to(theta.dtype)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,); -inf where no ball can end.

        Differentiable in theta.
        """
        theta = _parameter("theta", theta)
        x = finite("x", batch("x", x, 1))[:, 0]
        same_length(x=x, theta=theta)
        on_board = (x >= 0) & (x < self.n_nails) & (x == x.floor())
        p, _, which = self._exact(theta)
        p = p[which, torch.where(on_board, x, 0.0).long()]
        return torch.where(on_board, p.log(), -torch.inf).to(theta.dtype)

    def score(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact d/dtheta log p(x | theta), (N, 1).

        Raises:
            ValueError: if some x has probability zero: it has no score.
        """
        theta = _parameter("theta", theta)
        x = finite("x", batch("x", x, 1))[:, 0]
        same_length(x=x, theta=theta)
        low, high = self.support[0, 0].item(), self.support[-1, 0].item()
        if ((x < low) | (x > high) | (x != x.floor())).any():
            raise ValueError(
                f"x: expected positions {low:.0f} ... {high:.0f} that a ball can reach"
            )
        p, dp, which = self._exact(theta)
        cell = which, x.long()
        return (dp[cell] / p[cell]).to(theta.dtype)[:, None]


def _move(left: Tensor, right: Tensor, row: int) -> Tensor:
    """Add up what arrives at each nail of the next row from its two neighbours, (U, N + 1)."""
    nothing = torch.zeros_like(left[:, :1])
    if row % 2:  # left: n -> n - 1; nothing leaves nail 0 to the left
        return torch.cat([left[:, 1:], nothing], 1) + right
    return left + torch.cat([nothing, right[:, :-1]], 1)  # right: n -> n + 1


def _blocks(theta: Tensor) -> tuple[Tensor, ...]:
    return theta.detach().tensor_split(max(1, ceil(len(theta) / BLOCK)))


def _parameter(name: str, theta: Tensor) -> Tensor:
    return finite(name, batch(name, theta, 1))[:, 0]


def _integer(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")
    return value
