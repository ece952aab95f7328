"""Two searches one can write down: a count over an uncertain background, a bump on a slope.

Takes numbers and histograms; must never know how events were selected.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

STEPS = 50  # of Fisher scoring, at most
CLOSE = 1e-9  # relative change of the parameters at which it has converged
FLOOR = 1e-6  # events in a bin, at least


def counting_significance(s, b, sigma):
    r"""Return the expected significance, in standard deviations, of s events over b +- sigma.

    The likelihood is :math:`Pois(n | \mu s + b')\, N(b | b', \sigma)` with n = s + b; the
    background that fits best without signal is
    :math:`b_0 = (b - \sigma^2 + \sqrt{(b - \sigma^2)^2 + 4 (s + b) \sigma^2}) / 2`, and

    .. math:: Z^2 = 2 \Big[(s + b) \ln\frac{s + b}{b_0} - s - b + b_0\Big]
        + \frac{(b - b_0)^2}{\sigma^2} .

    sigma = 0 gives the limit, :math:`2 [(s + b) \ln(1 + s / b) - s]`. Source: arXiv:1611.01046.

    Args:
        s, b, sigma: numbers or arrays that broadcast; s, sigma >= 0 and b > 0.
    """
    s, b, sigma = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (s, b, sigma)))
    if not ((s >= 0) & (b > 0) & (sigma >= 0)).all():
        raise ValueError("s, b, sigma: expected s >= 0, b > 0 and sigma >= 0, got others")
    v = sigma**2
    root = np.sqrt((b - v) ** 2 + 4 * (s + b) * v)
    b0 = np.where(b > v, (b - v + root) / 2, 2 * (s + b) * v / np.maximum(root - b + v, 1e-300))
    pull = np.divide(b - b0, sigma, out=np.zeros_like(b), where=sigma > 0)
    z2 = 2 * ((s + b) * np.log((s + b) / b0) - s - b + b0) + pull**2
    return np.sqrt(np.maximum(z2, 0))


class Bump(NamedTuple):
    """What ``bump_fit`` found: events in the bump, their error, and the counts fitted."""

    signal: float
    error: float
    background: float
    slope: float  # of the exponential, in units of the edges
    expected: np.ndarray  # counts of signal and background together, (B,)


def bump_fit(counts, edges, mean: float, width: float) -> Bump:
    r"""Fit S Gaussian(mean, width) + B exponential(slope) to counts, by maximum likelihood.

    :math:`n_i \sim Pois(S g_i + B f_i(\tau))` with g the share of the Gaussian and f the share of
    the exponential in each bin, f normalised over the window. S may be negative. The error of S is
    that of the Fisher information at the maximum. Fractional counts are welcome (Asimov).

    Args:
        counts: events per bin, (B,).
        edges: of the bins, (B + 1,).
        mean, width: of the Gaussian.

    Raises:
        ValueError: if counts are negative or the lengths do not match.
        RuntimeError: if the fit does not converge.
    """
    counts, edges = np.asarray(counts, dtype=float), np.asarray(edges, dtype=float)
    if counts.ndim != 1 or len(edges) != len(counts) + 1 or (counts < 0).any():
        got = f"shapes {counts.shape} and {edges.shape}"
        raise ValueError(f"counts and edges: expected (B,) >= 0 and (B + 1,), got {got}")
    peak = np.diff(norm.cdf(edges, mean, width))
    middle = (edges[1:] + edges[:-1]) / 2
    found = np.array([0.0, counts.sum(), max((counts @ middle) / counts.sum() - edges[0], 1e-3)])
    for _ in range(STEPS):
        s, b, slope = found
        share, gradient = _falling(edges, slope)
        expected = np.maximum(s * peak + b * share, FLOOR)
        jacobian = np.stack([peak, share, b * gradient], 1)
        inverse = np.linalg.inv(jacobian.T @ (jacobian / expected[:, None]))
        step = inverse @ (jacobian.T @ (counts / expected - 1))
        step[2] = np.clip(step[2], -slope / 3, slope / 3)
        found = found + step
        if (abs(step) < CLOSE * (abs(found) + 1)).all():
            return Bump(found[0], inverse[0, 0] ** 0.5, found[1], found[2], expected)
    raise RuntimeError(f"bump_fit: no maximum after {STEPS} steps, parameters {found.tolist()}")


def _falling(edges, slope: float):
    """Return the share of the exponential in each bin, and its derivative in the slope."""
    t = (edges - edges[0]) / slope
    tail, d_tail = np.exp(-t), t * np.exp(-t) / slope
    total, d_total = 1 - tail[-1], -d_tail[-1]
    share = -np.diff(tail) / total
    return share, (-np.diff(d_tail) - share * d_total) / total
