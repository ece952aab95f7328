"""How a simulator draws from a posterior whose density it knows: references, not methods.

Rejection, and a guide for it by annealing. Must never know which simulator draws.

All of it computes in float64; ``as_float32`` is the last step.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lfi_helpers.arguments import finite, floating

CHUNK = 100_000  # most draws proposed at a time
FRUITLESS = 300_000  # proposals after which at least one draw must have been kept
MAX_SECONDS = 120.0
DEGREES = 5  # of freedom of a guide's Student kernels: heavier tails than any Gaussian
BROAD = 0.3  # share of a guide's draws that come at full width
PARTICLES = 500  # of annealing, and kernels of the guide that follows
LEVELS, MOVES = 200, 2  # of annealing: most temperatures, Metropolis steps at each
EFFECTIVE = 0.3  # effective share of the sample that a step of annealing leaves

LogDensity = Callable[[Tensor], Tensor]


class ReferenceFailed(RuntimeError):
    """A reference posterior needs more than its budget; the message says what it reached."""


def observation(x_obs: Tensor, width: int) -> Tensor:
    """Return one observation, given as (width,) or (1, width), as finite float64 (width,)."""
    x = finite("x_obs", floating("x_obs", x_obs))
    if x.shape not in {(width,), (1, width)}:
        raise ValueError(
            f"x_obs: expected one observation ({width},) or (1, {width}), got {tuple(x.shape)}"
        )
    return x.reshape(width).double()


def count(n: int) -> int:
    """Return n if it is an integer of at least one; else raise."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n: expected an integer, got {n!r}")
    if n < 1:
        raise ValueError(f"n: expected at least one draw, got {n}")
    return n


def as_float32(theta: Tensor, low: float = -math.inf, high: float = math.inf) -> Tensor:
    """Round draws to float32, and those that rounding moved out of [low, high) back into it."""
    low, high = torch.tensor([low, high], device=theta.device)
    return torch.clamp(theta.float(), low, torch.nextafter(high, low))


def thin(
    propose: Callable[[int], tuple[Tensor, Tensor]],
    n: int,
    generator: torch.Generator | None = None,
    max_draws: int = 50_000_000,
) -> Tensor:
    r"""Keep each proposed draw with probability w / max w until n are kept: (n, D).

    ``propose(m)`` gives m independent draws (m, D) of any density q and log w = log p / q + const
    (m,), -inf where p is zero; what is kept follows p. The maximum is the largest w of all that
    were proposed: when a larger one comes, all before are judged again. If w has a known largest
    value that is often met, as where it is 0 or 1, the draws are exact; else a set of probability
    of order 1 / (number proposed) under p is too rare among them.

    Raises:
        ReferenceFailed: after ``max_draws`` proposals or ``MAX_SECONDS``, or if none of the first
            ``FRUITLESS`` is kept.
    """
    kept, margin, log_bound = None, None, -math.inf
    drawn, start = 0, time.monotonic()
    while True:
        n_kept = 0 if kept is None else len(kept)
        if n_kept >= n:
            return kept[:n]
        limit = max_draws if n_kept else min(max_draws, FRUITLESS)
        if drawn >= limit or time.monotonic() - start > MAX_SECONDS:
            raise ReferenceFailed(
                f"posterior: expected {n} draws within {limit} proposals and "
                f"{MAX_SECONDS:.0f} s, got {n_kept} of {drawn}; x_obs is too improbable or its "
                f"posterior too narrow for this reference"
            )
        wanted = n if n_kept == 0 else (n - n_kept) * drawn / n_kept
        theta, log_w = propose(min(max(int(1.2 * wanted), 1000), CHUNK))
        drawn += len(theta)
        u = torch.rand(len(theta), generator=generator, device=theta.device, dtype=theta.dtype)
        log_bound = max(log_bound, log_w.max().item())
        new = log_w - u.log()
        kept = theta if kept is None else torch.cat([kept, theta])
        margin = new if margin is None else torch.cat([margin, new])
        kept, margin = kept[margin > log_bound], margin[margin > log_bound]


class Guide:
    """A mixture of equal Student kernels at K centres: the density that a reference proposes.

    Each kernel has a core, and a share of ``BROAD`` at full width: with it, no draw from a tail
    has a weight far above the others.

    Args:
        centres: (K, D), float64.
        factor: (D, D) lower-triangular; the scale matrix of full width is factor factor^T.
        core: scale of the cores, as a fraction of full width.
    """

    def __init__(self, centres: Tensor, factor: Tensor, core: float = 1.0):
        self.centres, self.factor, self.core = centres, factor, core
        self._white = self._whiten(centres)

    @classmethod
    def around(cls, draws: Tensor) -> "Guide":
        """Place a kernel on every draw (K, D): at full width it is twice as wide as they spread.

        Cores have 1.3 times the width of Silverman's rule.
        """
        k, d = draws.shape
        silverman = (4 / (k * (d + 2))) ** (1 / (d + 4))
        return cls(draws, 2 * _spread(draws), 1.3 * silverman / 2)

    def _whiten(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor, z.mT, upper=False).mT

    def sample(self, m: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (m, D)."""
        k, d = self.centres.shape
        kind = {"generator": generator, "device": self.centres.device}
        exact = {**kind, "dtype": self.centres.dtype}
        centres = self.centres[torch.randint(k, (m,), **kind)]
        chi2 = torch.randn(m, DEGREES, **exact).square().sum(1)
        broad = torch.rand(m, **exact) < BROAD
        scale = torch.full_like(chi2, self.core).masked_fill(broad, 1.0) * (DEGREES / chi2).sqrt()
        return centres + scale[:, None] * (torch.randn(m, d, **exact) @ self.factor.mT)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of (N, D), up to a constant: (N,)."""
        power = -(DEGREES + z.shape[1]) / 2
        core_share = (1 - BROAD) / self.core ** z.shape[1]
        parts = []
        for part in self._whiten(z).split(4096):
            square = torch.cdist(part, self._white).square() / DEGREES
            core = (1 + square / self.core**2).pow(power)
            parts.append((core_share * core + BROAD * (1 + square).pow(power)).mean(1).log())
        return torch.cat(parts)


def draw_posterior(
    log_likelihood: LogDensity,
    d: int,
    n: int,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draw z from N(z; 0, I) exp(log_likelihood(z)): anneal a guide, thin its draws: (n, d)."""

    def log_l(z: Tensor) -> Tensor:
        value = log_likelihood(z)
        return torch.where(value.isnan(), -math.inf, value)  # where no number comes, no draw is

    z = torch.randn(PARTICLES, d, generator=generator, device=device, dtype=torch.float64)
    guide = Guide.around(anneal(z, log_l, generator))
    return draw_guided(lambda z: log_l(z) - 0.5 * z.square().sum(1), guide, n, generator)


def draw_guided(
    log_density: LogDensity, guide: Guide, n: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw n from exp(log_density), known up to a constant, by thinning a guide's draws."""

    def propose(m: int) -> tuple[Tensor, Tensor]:
        z = guide.sample(min(m, 20_000), generator)
        return z, log_density(z) - guide.log_prob(z)

    return thin(propose, n, generator, max_draws=5_000_000)


def anneal(
    z: Tensor, log_likelihood: LogDensity, generator: torch.Generator | None = None
) -> Tensor:
    """Carry K draws of N(0, I), (K, D), to about the posterior, good enough for a ``Guide``.

    The likelihood's power rises from 0 to 1 so that each step leaves a share ``EFFECTIVE`` of the
    sample; after each, K are drawn by weight and make Metropolis steps as wide as they spread.

    Raises:
        ReferenceFailed: if the power is not 1 after ``LEVELS`` steps or ``MAX_SECONDS``.
    """
    k, d = z.shape
    power, log_l, start = 0.0, log_likelihood(z), time.monotonic()
    if not torch.isfinite(log_l).any():
        raise ReferenceFailed(f"posterior: x_obs has no likelihood at any of {k} prior draws")
    like = {"generator": generator, "device": z.device, "dtype": z.dtype}
    for _ in range(LEVELS):
        step = _power_step(log_l, 1 - power)
        power = min(1.0, power + step)
        chosen = torch.multinomial(torch.softmax(step * log_l, 0), k, True, generator=generator)
        z, log_l = z[chosen], log_l[chosen]
        spread = _spread(z) * 2.38 / math.sqrt(d)
        for _ in range(MOVES):
            new = z + torch.randn(k, d, **like) @ spread.mT
            new_l = log_likelihood(new)
            gain = 0.5 * (z.square() - new.square()).sum(1) + power * (new_l - log_l)
            move = torch.rand(k, **like).log() < gain
            z, log_l = torch.where(move[:, None], new, z), torch.where(move, new_l, log_l)
        if power == 1:
            return z
        if time.monotonic() - start > MAX_SECONDS:
            break
    raise ReferenceFailed(
        f"posterior: expected the likelihood's full power within {LEVELS} steps and "
        f"{MAX_SECONDS:.0f} s, got power {power:.3g}"
    )


def _spread(z: Tensor) -> Tensor:
    """Return the Cholesky factor of the covariance of (K, D)."""
    k, d = z.shape
    factor, failed = torch.linalg.cholesky_ex(torch.cov(z.mT).reshape(d, d))
    if failed:
        raise ReferenceFailed(f"posterior: {k} draws lie in fewer than {d} directions")
    return factor


def _power_step(log_l: Tensor, most: float) -> float:
    """Return the step of power, at most ``most``, that leaves the effective share."""

    def effective(step: float) -> float:
        w = torch.softmax(step * log_l, 0)
        return 1 / (w.square().sum().item() * len(w))

    if effective(most) >= EFFECTIVE:
        return most
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= EFFECTIVE else (low, middle)
    return high
