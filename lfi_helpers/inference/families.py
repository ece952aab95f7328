"""One-dimensional densities that a traced program may draw from, each with its quantile function.

Pure functions of numbers; must never draw or know where a draw was made.

Every family maps u in (0, 1) to a value by ``quantile`` and back by ``span``, the interval of u
that gives this value: a point for a continuous family, as long as its probability for a discrete
one. A proposal for u therefore serves every family.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

STANDARD = NormalDist()
TINY = 2.0**-54  # a draw of u = 0 becomes this
LOG_ROOT_2PI = math.log(2 * math.pi) / 2


class Uniform(NamedTuple):
    """Uniform on [low, high)."""

    low: float
    high: float

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return self.low < self.high

    def quantile(self, u: float) -> float:
        """Return the value at probability u."""
        return self.low + (self.high - self.low) * u

    def span(self, value: float) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        u = (value - self.low) / (self.high - self.low)
        return u, u

    def log_prob(self, value: float) -> float:
        """Return the log density, or the log probability, of a value."""
        inside = self.low <= value <= self.high
        return -math.log(self.high - self.low) if inside else -math.inf


class Normal(NamedTuple):
    """Normal with mean loc and standard deviation scale."""

    loc: float
    scale: float

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return self.scale > 0

    def quantile(self, u: float) -> float:
        """Return the value at probability u."""
        return self.loc + self.scale * STANDARD.inv_cdf(max(u, TINY))

    def span(self, value: float) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        u = STANDARD.cdf((value - self.loc) / self.scale)
        return u, u

    def log_prob(self, value: float) -> float:
        """Return the log density, or the log probability, of a value."""
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - math.log(self.scale) - LOG_ROOT_2PI


class Exponential(NamedTuple):
    """Exponential with mean scale."""

    scale: float

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return self.scale > 0

    def quantile(self, u: float) -> float:
        """Return the value at probability u."""
        return -self.scale * math.log1p(-u)

    def span(self, value: float) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        u = -math.expm1(-value / self.scale)
        return u, u

    def log_prob(self, value: float) -> float:
        """Return the log density, or the log probability, of a value."""
        return -value / self.scale - math.log(self.scale) if value >= 0 else -math.inf


class Poisson(NamedTuple):
    """Counts with mean rate."""

    rate: float

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return 0 < self.rate < 500  # sums term by term, from exp(-rate)

    def quantile(self, u: float) -> int:
        """Return the value at probability u."""
        k, term = 0, math.exp(-self.rate)
        total = term
        while total <= u and (term > 0 or k < self.rate):
            k += 1
            term *= self.rate / k
            total += term
        return k

    def span(self, value: int) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        low, term = 0.0, math.exp(-self.rate)
        for k in range(1, int(value) + 1):
            low += term
            term *= self.rate / k
        return min(low, 1.0), min(low + term, 1.0)

    def log_prob(self, value: int) -> float:
        """Return the log density, or the log probability, of a value."""
        if value < 0 or value != int(value):
            return -math.inf
        return value * math.log(self.rate) - self.rate - math.lgamma(value + 1)


class Integers(NamedTuple):
    """Whole numbers low, ..., high - 1, all equally probable."""

    low: int
    high: int

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return self.low < self.high

    def quantile(self, u: float) -> int:
        """Return the value at probability u."""
        return min(self.low + int((self.high - self.low) * u), self.high - 1)

    def span(self, value: int) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        n = self.high - self.low
        return (value - self.low) / n, (value - self.low + 1) / n

    def log_prob(self, value: int) -> float:
        """Return the log density, or the log probability, of a value."""
        inside = self.low <= value < self.high and value == int(value)
        return -math.log(self.high - self.low) if inside else -math.inf


class Categorical(NamedTuple):
    """Index 0, ..., len(p) - 1 with probabilities p, a tuple."""

    p: tuple[float, ...]

    def valid(self) -> bool:
        """Return whether the parameters are possible."""
        return min(self.p) >= 0 and abs(sum(self.p) - 1) < 1e-6

    def quantile(self, u: float) -> int:
        """Return the value at probability u."""
        total = 0.0
        for k, p in enumerate(self.p):
            total += p
            if u < total:
                return k
        return max(k for k, p in enumerate(self.p) if p > 0)  # rounding: the sum ended below u

    def span(self, value: int) -> tuple[float, float]:
        """Return the interval of u that gives this value."""
        low = sum(self.p[:value])
        return low, low + self.p[value]

    def log_prob(self, value: int) -> float:
        """Return the log density, or the log probability, of a value."""
        inside = 0 <= value < len(self.p) and self.p[value] > 0
        return math.log(self.p[value]) if inside else -math.inf


Family = Uniform | Normal | Exponential | Poisson | Integers | Categorical
