"""Covariances that physics dictates for a counted mass spectrum, as kernels of scikit-learn.

They add and multiply with the library's own and with each other, and it fits them. Inputs are
masses, (N, 1). Must never see counts.
"""

from collections.abc import Callable

import numpy as np
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel, NormalizedKernelMixin

BOUNDS = (1e-5, 1e5)  # scikit-learn's own default, of every hyperparameter


class _PhysicsKernel(Kernel):
    """What all share: masses in, no stationarity, gradients by log hyperparameter."""

    def is_stationary(self) -> bool:
        """Return False: where a mass lies matters, not only how far it is from another."""
        return False

    def __repr__(self) -> str:
        parts = (f"{name}={_short(value)}" for name, value in self.get_params().items())
        return (
            f"{type(self).__name__}({', '.join(part for part in parts if 'bounds' not in part)})"
        )

    def __call__(self, X, Y=None, eval_gradient=False):
        """Return k(X, Y), (N, M); with ``eval_gradient``, also dk / d log theta, (N, N, P)."""
        if Y is not None and eval_gradient:
            raise ValueError("Y: expected None where the gradient is asked for, got an array")
        x = _masses("X", X)
        k, slopes = self._covariance(x, x if Y is None else _masses("Y", Y), Y is None)
        if not eval_gradient:
            return k
        free = [slopes[h.name] for h in self.hyperparameters if not h.fixed]
        return k, np.stack(free, axis=-1) if free else np.empty((*k.shape, 0))


class PoissonNoise(_PhysicsKernel):
    r"""The variance of counts: :math:`k(x, x') = \nu(x)\,\delta_{x x'}`.

    Two different predictions at the same mass do not share their noise: k(X, Y) is zero even
    where Y repeats X, like ``WhiteKernel``, whose variance is the same everywhere.

    Args:
        rate: expected events :math:`\nu` in the bins at masses (N,), (N,).

    Raises:
        ValueError: when evaluated, if a rate is negative or not finite.

    >>> PoissonNoise(lambda x: 100 / x)([[1.0], [4.0]])
    array([[100.,   0.],
           [  0.,  25.]])
    """

    def __init__(self, rate: Callable[[np.ndarray], np.ndarray]):
        self.rate = rate

    def _covariance(self, x, y, same):
        return (np.diag(self._rate(x)) if same else np.zeros((len(x), len(y)))), {}

    def _rate(self, x):
        rate = _values("rate", self.rate, x)
        if (rate < 0).any():
            raise ValueError(f"rate: expected numbers >= 0, got {rate.min()}")
        return rate

    def diag(self, X) -> np.ndarray:
        """Return the rates, (N,)."""
        return self._rate(_masses("X", X))


class Profile(_PhysicsKernel):
    r"""A shape known but for its size: :math:`k(x, x') = g(x)\,g(x')`.

    Alone, or times a constant, it is one number, normal with mean 0, that multiplies g: with g
    the change of the spectrum per change of an energy scale, a calibration error. Times another
    kernel it turns relative deviations into events.

    Args:
        shape: g at masses (N,), (N,); of either sign.

    Raises:
        ValueError: when evaluated, if a value is not finite.
    """

    def __init__(self, shape: Callable[[np.ndarray], np.ndarray]):
        self.shape = shape

    def _covariance(self, x, y, same):
        return np.outer(_values("shape", self.shape, x), _values("shape", self.shape, y)), {}

    def diag(self, X) -> np.ndarray:
        """Return g(x)^2, (N,)."""
        return _values("shape", self.shape, _masses("X", X)) ** 2


class Gibbs(NormalizedKernelMixin, _PhysicsKernel):
    r"""Smooth deviations whose length grows with the mass: variance one, not stationary.

    .. math:: k(x, x') = \sqrt{\frac{2\,l\,l'}{l^2 + l'^2}}
        \exp\left(-\frac{(x - x')^2}{l^2 + l'^2}\right), \quad l = b\,x + c.

    Args:
        slope: b > 0, without unit.
        offset: c > 0, in x's unit.
        slope_bounds, offset_bounds: where a fit searches, or ``"fixed"``.

    Raises:
        ValueError: if slope or offset is not positive; when evaluated, for masses below 0.

    Source: M. N. Gibbs (1997); for dijet spectra arXiv:1709.05681.
    """

    def __init__(self, slope=1.0, offset=1.0, slope_bounds=BOUNDS, offset_bounds=BOUNDS):
        self.slope, self.offset = _positive("slope", slope), _positive("offset", offset)
        self.slope_bounds, self.offset_bounds = slope_bounds, offset_bounds

    @property
    def hyperparameter_slope(self):
        """Say to the library that the slope may be fitted."""
        return Hyperparameter("slope", "numeric", self.slope_bounds)

    @property
    def hyperparameter_offset(self):
        """Say to the library that the offset may be fitted."""
        return Hyperparameter("offset", "numeric", self.offset_bounds)

    def _covariance(self, x, y, same):
        if min(x.min(), y.min()) < 0:
            raise ValueError(f"masses: expected >= 0, got {min(x.min(), y.min())}")
        x, y = x[:, None], y[None]
        a, b = self.slope * x + self.offset, self.slope * y + self.offset
        total, square = a**2 + b**2, (x - y) ** 2
        k = np.sqrt(2 * a * b / total) * np.exp(-square / total)
        by_a = k * (0.5 / a - a / total + 2 * a * square / total**2)
        by_b = k * (0.5 / b - b / total + 2 * b * square / total**2)
        return k, {
            "slope": self.slope * (by_a * x + by_b * y),
            "offset": self.offset * (by_a + by_b),
        }


class Localised(_PhysicsKernel):
    r"""Something near one mass, of a shape not known beforehand: a generic signal.

    .. math:: k(x, x') = \exp\left(-\frac{(x - M)^2 + (x' - M)^2}{2 t^2}\right)
        \exp\left(-\frac{(x - x')^2}{2 l^2}\right).

    With l far above t it is one Gaussian peak of width t and unknown height; with l below t it
    has structure inside.

    Args:
        mass: M > 0.
        width: t > 0, how far from M.
        length: l > 0, how smooth.
        mass_bounds, width_bounds, length_bounds: where a fit searches, or ``"fixed"``.

    Raises:
        ValueError: if mass, width or length is not positive.

    Source: arXiv:1709.05681.
    """

    def __init__(
        self,
        mass=1.0,
        width=1.0,
        length=1.0,
        mass_bounds=BOUNDS,
        width_bounds=BOUNDS,
        length_bounds=BOUNDS,
    ):
        self.mass, self.width = _positive("mass", mass), _positive("width", width)
        self.length = _positive("length", length)
        self.mass_bounds, self.width_bounds = mass_bounds, width_bounds
        self.length_bounds = length_bounds

    @property
    def hyperparameter_mass(self):
        """Say to the library that the mass may be fitted."""
        return Hyperparameter("mass", "numeric", self.mass_bounds)

    @property
    def hyperparameter_width(self):
        """Say to the library that the width may be fitted."""
        return Hyperparameter("width", "numeric", self.width_bounds)

    @property
    def hyperparameter_length(self):
        """Say to the library that the length may be fitted."""
        return Hyperparameter("length", "numeric", self.length_bounds)

    def _covariance(self, x, y, same):
        from_a, from_b = x[:, None] - self.mass, y[None] - self.mass
        away = (from_a**2 + from_b**2) / self.width**2
        apart = (from_a - from_b) ** 2 / self.length**2
        k = np.exp(-0.5 * (away + apart))
        return k, {
            "mass": k * self.mass * (from_a + from_b) / self.width**2,
            "width": k * away,
            "length": k * apart,
        }

    def diag(self, X) -> np.ndarray:
        """Return exp(-(x - M)^2 / t^2), (N,)."""
        return np.exp(-(((_masses("X", X) - self.mass) / self.width) ** 2))


def _masses(name: str, x) -> np.ndarray:
    """Return the masses as (N,), or raise unless they are one finite column."""
    x = np.asarray(x, float)
    if x.ndim != 2 or x.shape[1] != 1:
        raise ValueError(f"{name}: expected masses of shape (N, 1), got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: expected finite masses, got NaN or infinity")
    return x[:, 0]


def _values(name: str, function: Callable, x: np.ndarray) -> np.ndarray:
    """Return a known function's values at masses (N,), or raise unless they are N finite ones."""
    values = np.asarray(function(x), float)
    if values.shape != x.shape or not np.isfinite(values).all():
        wanted = f"{len(x)} finite values"
        raise ValueError(f"{name}: expected {wanted}, got {values.tolist()} of {values.shape}")
    return values


def _positive(name: str, value):
    """Return value itself (the library's clone asks for it), or raise unless it is > 0."""
    if not value > 0:
        raise ValueError(f"{name}: expected a number > 0, got {value}")
    return value


def _short(value) -> str:
    return getattr(value, "__name__", None) or f"{value}"
