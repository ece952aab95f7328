"""Programs that several tests trace: a normal number by a rejection loop, read twice."""

import math


def marsaglia(rng):
    """Return one standard normal number by the polar method: a loop of random length."""
    while True:
        u, v = rng.uniform(-1, 1), rng.uniform(-1, 1)
        s = u * u + v * v
        if s < 1:
            return u * math.sqrt(-2 * math.log(s) / s)


def detector(rng, mu):
    """Read a number twice, with variance 2."""
    return rng.normal(mu, math.sqrt(2), size=2)


def gaussian(rng):
    """Draw mu ~ N(1, 5) with the loop, and read it."""
    mu = 1 + math.sqrt(5) * marsaglia(rng)
    detector(rng, mu)
    return mu
