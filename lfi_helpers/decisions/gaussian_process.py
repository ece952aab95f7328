"""Gaussian-process regression in one readable class: Matern-5/2, one length scale per input.

Must never know what the function it learns is good for.
"""

import math

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

SQRT5 = math.sqrt(5.0)
LENGTH_BOUNDS = math.log(0.005), math.log(50.0)  # of log l, inputs in [0, 1]
NOISE_BOUNDS = math.log(1e-6), math.log(1.0)  # of the log noise variance, targets of variance 1
N_STARTS = 3


class GaussianProcess:
    r"""The posterior of a function f given y_i = f(x_i) + noise.

    The prior of f has the Matern-5/2 covariance

    .. math:: k(x, x') = (1 + \sqrt 5 r + 5 r^2 / 3) e^{-\sqrt 5 r},
        \quad r^2 = \sum_j (x_j - x'_j)^2 / l_j^2,

    in units where y has mean 0 and variance 1.

    Args:
        x: inputs (N, D).
        y: values (N,), standardised inside; predictions are in y's units.
        length_scale: l, (D,), in x's units.
        noise: variance of the noise in units of y's variance.

    Raises:
        ValueError: for shapes that do not fit, numbers that are not finite, or scales <= 0.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapter 2.
    """

    def __init__(self, x, y, length_scale, noise: float):
        self.x, self.y = _inputs("x", x), np.asarray(y, float)
        if self.y.shape != (len(self.x),):
            raise ValueError(f"y: expected shape ({len(self.x)},), got {self.y.shape}")
        if len(self.y) == 0 or not np.isfinite(self.y).all():
            raise ValueError(f"y: expected at least one value, all finite, got {self.y}")
        self.length_scale, self.noise = np.asarray(length_scale, float), float(noise)
        if self.length_scale.shape != (self.x.shape[1],) or not (self.length_scale > 0).all():
            wanted = f"({self.x.shape[1]},), all > 0"
            raise ValueError(f"length_scale: expected shape {wanted}, got {length_scale}")
        if not noise > 0:
            raise ValueError(f"noise: expected a variance > 0, got {noise}")
        self.mean = self.y.mean()
        self.scale = self.y.std() or 1.0
        self._target = (self.y - self.mean) / self.scale
        k = _matern(_distance(self.x, self.x, self.length_scale))
        self._factor = cho_factor(k + self.noise * np.eye(len(k)), lower=True)
        self._alpha = cho_solve(self._factor, self._target)

    @classmethod
    def fit(cls, x, y, seed: int = 0) -> "GaussianProcess":
        r"""Return the process whose length scales and noise are most probable given (x, y).

        Maximises log p(y | l, noise) + log p(l) + log p(noise) from three seeded starts, with
        l_j about sqrt(D) / 2 and the noise's deviation about .02, for inputs scaled to [0, 1]:
        the priors, log-normal with deviations 1 and 2 of the logarithm, keep a handful of points
        from any extreme. Source of a prior that grows with sqrt(D): arXiv:2402.02229.
        """
        x, rng = _inputs("x", x), np.random.default_rng([seed, len(y)])
        d = x.shape[1]
        center, width = _prior(d)
        starts = center + np.vstack([np.zeros(d + 1), rng.normal(size=(N_STARTS - 1, d + 1))])
        bounds = [LENGTH_BOUNDS] * d + [NOISE_BOUNDS]
        starts = np.clip(starts, *np.transpose(bounds))
        square = (x[:, None] - x[None]) ** 2
        target = cls(x, y, np.ones(d), 1.0)._target
        found = [
            minimize(_cost, s, (square, target, center, width), "L-BFGS-B", True, bounds=bounds)
            for s in starts
        ]
        best = np.exp(min(found, key=lambda run: run.fun).x)
        return cls(x, y, best[:-1], best[-1])

    def predict(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of f, without noise, at each row of x: (M,), (M,)."""
        k = _matern(_distance(_inputs("x", x, self.x.shape[1]), self.x, self.length_scale))
        variance = 1 - np.einsum("mn,nm->m", k, cho_solve(self._factor, k.T))
        return self.mean + self.scale * k @ self._alpha, self.scale * np.sqrt(_positive(variance))

    def gradient(self, x) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Return mean and deviation at one point x (D,), and their gradients in x, (D,) each."""
        shift = (np.asarray(x, float) - self.x) / self.length_scale
        r = np.sqrt((shift**2).sum(1))
        k = _matern(r)
        slope = -_decay(r)[:, None] * shift / self.length_scale  # (N, D): dk_i / dx_j
        solved = cho_solve(self._factor, k)
        deviation = math.sqrt(_positive(1 - k @ solved))
        mean = self.mean + self.scale * (k @ self._alpha)
        d_mean = self.scale * (slope.T @ self._alpha)
        return mean, self.scale * deviation, d_mean, -self.scale * (slope.T @ solved) / deviation

    def log_marginal_likelihood(self) -> float:
        """Return log p(y | x) of the standardised y."""
        log_det = 2 * np.log(np.diag(self._factor[0])).sum()
        n = len(self.y)
        return -0.5 * (self._target @ self._alpha + log_det + n * math.log(2 * math.pi))


def _inputs(name: str, x, width: int | None = None) -> np.ndarray:
    x = np.asarray(x, float)
    if x.ndim != 2 or width not in {None, x.shape[1]}:
        raise ValueError(f"{name}: expected shape (N, {width or 'D'}), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return x


def _positive(variance):
    """Keep rounding from making a variance zero or negative."""
    return np.maximum(variance, 1e-12)


def _distance(a: np.ndarray, b: np.ndarray, length_scale: np.ndarray) -> np.ndarray:
    """Return r between all rows of a and b: (M, N)."""
    return np.sqrt((((a[:, None] - b[None]) / length_scale) ** 2).sum(2))


def _matern(r: np.ndarray) -> np.ndarray:
    return (1 + SQRT5 * r + 5 / 3 * r**2) * np.exp(-SQRT5 * r)


def _decay(r: np.ndarray) -> np.ndarray:
    """Return -(dk/dr) / r = 5/3 (1 + sqrt5 r) exp(-sqrt5 r): finite at r = 0."""
    return 5 / 3 * (1 + SQRT5 * r) * np.exp(-SQRT5 * r)


def _prior(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of (log l_1 .. log l_d, log noise)."""
    return np.array([0.5 * math.log(d / 4)] * d + [-8.0]), np.array([1.0] * d + [2.0])


def _cost(hyper, square, target, center, width) -> tuple[float, np.ndarray]:
    """Return minus the log posterior of the hyperparameters and its gradient.

    With W = alpha alpha^T - K^-1, the gradient of log p(y) is tr(W dK / dh) / 2.
    """
    scaled = square * np.exp(-2 * hyper[:-1])  # (N, N, D): (x_j - x'_j)^2 / l_j^2
    r = np.sqrt(scaled.sum(2))
    noise = math.exp(hyper[-1])
    factor = cho_factor(_matern(r) + noise * np.eye(len(r)), lower=True)
    alpha = cho_solve(factor, target)
    fit = 0.5 * target @ alpha + np.log(np.diag(factor[0])).sum()
    pull = (hyper - center) / width
    weight = np.outer(alpha, alpha) - cho_solve(factor, np.eye(len(r)))
    d_length = np.einsum("mn,mnd->d", weight * _decay(r), scaled)
    slope = 0.5 * np.append(d_length, noise * np.trace(weight))
    return fit + 0.5 * pull @ pull, pull / width - slope
