"""Bayesian optimisation: where to evaluate an expensive function next, step by step or in a loop.

Must never know what the function computes.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import qmc

from lfi_helpers.arguments import one_of
from lfi_helpers.decisions.acquisition import (
    log_expected_improvement,
    log_improvement_slope,
    probability_of_improvement,
    upper_confidence_bound,
)
from lfi_helpers.decisions.gaussian_process import GaussianProcess
from lfi_helpers.run import check_seed

N_INITIAL, KAPPA = 10, 2.0
SPREAD, NEAR, CLIMBS = 512, 64, 5  # candidates everywhere, near the best point; of these, climbed
APART = 1e-6  # in units of the box: closer points count as one


@dataclass(frozen=True)
class BayesOptResult:
    """All evaluations in their order: x (N, D), y (N,), NaN or infinite where they failed."""

    x: np.ndarray
    y: np.ndarray
    best_x: np.ndarray
    best_y: float


class BayesOpt:
    """Ask for a point, evaluate it, tell the value; everything follows from seed and values.

    The record (x, y) is the whole state: told again to a new ``BayesOpt`` of the same arguments,
    an interrupted search goes on with the same points.

    Args:
        bounds: (low, high) of each input, D pairs.
        acquisition: ``"ei"``, ``"ucb"`` (mean + 2 sd) or ``"pi"``; always for maximisation.
        n_initial: so many first points cover the box evenly (scrambled Sobol).
        seed: of everything.

    Raises:
        ValueError: for bounds that are empty, reversed or not finite.
    """

    def __init__(self, bounds, *, acquisition: str = "ei", n_initial: int = N_INITIAL, seed=0):
        self.low, self.high = check_bounds(bounds)
        self.acquisition = one_of("acquisition", acquisition, ("ei", "ucb", "pi"))
        if isinstance(n_initial, bool) or not isinstance(n_initial, int) or n_initial < 1:
            raise ValueError(f"n_initial: expected an integer >= 1, got {n_initial!r}")
        self.n_initial, self.seed = n_initial, check_seed(seed)
        self.x, self.y = np.empty((0, len(self.low))), np.empty(0)

    def tell(self, x, y: float) -> None:
        """Record that the objective at x (D,) is y; NaN or infinity says that it failed."""
        x = np.asarray(x, float)
        if x.shape != self.low.shape or not ((x >= self.low) & (x <= self.high)).all():
            box = f"{self.low.tolist()} to {self.high.tolist()}"
            raise ValueError(f"x: expected a point in the box {box}, got {x.tolist()}")
        self.x, self.y = np.vstack([self.x, x]), np.append(self.y, float(y))

    def ask(self) -> np.ndarray:
        """Return the next point, (D,)."""
        d, n = len(self.low), len(self.y)
        if n < self.n_initial or not np.isfinite(self.y).any():
            unit = _sobol(d, n + 1, self.seed)[n]
        else:
            unit = self._climb(np.random.default_rng([self.seed, n]))
            if (np.abs(self._unit(self.x) - unit).max(1) < APART).any():
                unit = np.random.default_rng([self.seed, n, 1]).random(d)
        return self.low + unit * (self.high - self.low)

    def surrogate(self) -> GaussianProcess:
        """Return the process given all values, its inputs scaled to [0, 1]; failures are worst."""
        good = np.isfinite(self.y)
        if not good.any():
            raise ValueError("surrogate: expected at least one finite value, got none")
        y = np.where(good, self.y, self.y[good].min())
        return GaussianProcess.fit(self._unit(self.x), y, self.seed)

    def predict(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return the surrogate's mean and standard deviation at each row of x (M, D)."""
        return self.surrogate().predict(self._unit(x))

    def score(self, surrogate: GaussianProcess, x) -> np.ndarray:
        """Return the acquisition at each row of x (M, D); of EI and PI the logarithm."""
        return self._score(*surrogate.predict(self._unit(x)), self._best(surrogate))

    def _unit(self, x) -> np.ndarray:
        return (np.asarray(x, float) - self.low) / (self.high - self.low)

    def _best(self, surrogate: GaussianProcess) -> float:
        """Return the best mean at a point already evaluated: unlike the best y, not luck."""
        return surrogate.predict(surrogate.x)[0].max()

    def _score(self, mean, sd, best):
        if self.acquisition == "ucb":
            return upper_confidence_bound(mean, sd, KAPPA)
        if self.acquisition == "pi":
            return np.log(np.maximum(probability_of_improvement(mean, sd, best), 1e-300))
        return log_expected_improvement(mean, sd, best)

    def _slope(self, mean, sd, best) -> tuple[float, float]:
        """Return the derivatives of the score by mean and sd."""
        if self.acquisition == "ucb":
            return 1.0, KAPPA
        z = (mean - best) / sd
        if self.acquisition == "ei":
            by_z = log_improvement_slope(z)
            return by_z / sd, (1 - z * by_z) / sd
        density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        by_z = density / max(probability_of_improvement(mean, sd, best), 1e-300)
        return by_z / sd, -z * by_z / sd

    def _climb(self, rng: np.random.Generator) -> np.ndarray:
        """Return the point of the largest acquisition found, in [0, 1]^D."""
        surrogate, d = self.surrogate(), len(self.low)
        best = self._best(surrogate)

        def cost(unit):
            mean, sd, d_mean, d_sd = surrogate.gradient(unit)
            by_mean, by_sd = self._slope(mean, sd, best)
            return -self._score(mean, sd, best), -(by_mean * d_mean + by_sd * d_sd)

        top = surrogate.x[np.argsort(surrogate.y)[-3:]]
        near = top[rng.integers(len(top), size=NEAR)] + rng.normal(0, 0.05, (NEAR, d))
        starts = np.vstack([_sobol(d, SPREAD, int(rng.integers(2**31))), np.clip(near, 0, 1)])
        scores = self._score(*surrogate.predict(starts), best)
        starts = starts[np.argsort(-scores)[:CLIMBS]]
        climbed = [
            minimize(cost, s, method="L-BFGS-B", jac=True, bounds=[(0, 1)] * d) for s in starts
        ]
        return np.clip(min(climbed, key=lambda run: run.fun).x, 0, 1)


def maximise(
    objective: Callable[[np.ndarray], float],
    bounds,
    *,
    n_calls: int,
    acquisition: str = "ei",
    n_initial: int = N_INITIAL,
    seed: int = 0,
) -> BayesOptResult:
    """Evaluate ``objective(x)``, x (D,), at ``n_calls`` points chosen to find its maximum.

    A value that is NaN or infinite is kept in the result, taken for the worst seen when the next
    point is chosen, and counted in a warning at the end.

    Args:
        objective: what is to be maximised; noise is allowed.
        bounds: (low, high) of each input.
        n_calls: how many evaluations, the first ``n_initial`` among them.
        acquisition, n_initial, seed: of ``BayesOpt``.

    Raises:
        ValueError: for wrong bounds or counts, or if no value at all was finite.
    """
    if isinstance(n_calls, bool) or not isinstance(n_calls, int) or n_calls < 1:
        raise ValueError(f"n_calls: expected an integer >= 1, got {n_calls!r}")
    search = BayesOpt(bounds, acquisition=acquisition, n_initial=n_initial, seed=seed)
    for _ in range(n_calls):
        x = search.ask()
        search.tell(x, objective(x))
    good = np.isfinite(search.y)
    if not good.any():
        raise ValueError(f"objective: expected finite values, got none in {n_calls} calls")
    if not good.all():
        bad = n_calls - good.sum()
        warnings.warn(f"objective: {bad} of {n_calls} values were not finite", stacklevel=2)
    best = np.where(good, search.y, -np.inf).argmax()
    return BayesOptResult(search.x, search.y, search.x[best], float(search.y[best]))


def check_bounds(bounds) -> tuple[np.ndarray, np.ndarray]:
    """Return the lows and the highs of a box, (D,) each, or raise if it is none."""
    box = np.asarray(bounds, float)
    if box.ndim != 2 or box.shape[1] != 2 or len(box) == 0:
        raise ValueError(f"bounds: expected (low, high) of each input, got shape {box.shape}")
    if not np.isfinite(box).all() or not (box[:, 0] < box[:, 1]).all():
        raise ValueError(f"bounds: expected finite low < high, got {box.tolist()}")
    return box[:, 0], box[:, 1]


def _sobol(d: int, n: int, seed: int) -> np.ndarray:
    """Return the first n points of a scrambled Sobol sequence, (n, D)."""
    whole = qmc.Sobol(d, rng=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(n)))
    return whole[:n]
