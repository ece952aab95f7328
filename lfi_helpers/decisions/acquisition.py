"""What a candidate point promises, from the surrogate's mean and standard deviation there.

All are for maximisation; arrays in, arrays out. Must never evaluate the objective.
"""

import math

import numpy as np
from scipy.special import erfcx, ndtr

FAR = -1e3  # below it, log h is its series


def upper_confidence_bound(mean, sd, kappa: float = 2.0) -> np.ndarray:
    """Return mean + kappa sd."""
    return np.asarray(mean) + kappa * np.asarray(sd)


def probability_of_improvement(mean, sd, best: float) -> np.ndarray:
    """Return P(f > best) for f ~ N(mean, sd^2)."""
    return ndtr((np.asarray(mean) - best) / sd)


def expected_improvement(mean, sd, best: float) -> np.ndarray:
    r"""Return E[max(0, f - best)] for f ~ N(mean, sd^2).

    With z = (mean - best) / sd it is :math:`sd\,h(z), h(z) = \phi(z) + z\,\Phi(z)`. Without the
    max it would be mean - best, which no uncertainty enters.
    """
    return np.exp(log_expected_improvement(mean, sd, best))


def log_expected_improvement(mean, sd, best: float) -> np.ndarray:
    r"""Return the logarithm of the expected improvement, finite where that is 1e-1000.

    For z < -1, :math:`\log h = \log \phi(z) + \log(1 + z \Phi(z) / \phi(z))` with the ratio from
    the scaled complementary error function. Source: arXiv:2310.20708.
    """
    sd = np.asarray(sd, float)
    z = np.asarray((np.asarray(mean) - best) / sd)
    near, tail = np.maximum(z, -1.0), np.clip(z, FAR, -1.0)
    log_near = np.log(np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi) + near * ndtr(near))
    mills = math.sqrt(math.pi / 2) * erfcx(-tail / math.sqrt(2))
    far = -2 * np.log(-np.minimum(z, FAR))
    log_tail = np.where(z < FAR, far, np.log1p(tail * mills))
    log_tail = log_tail - 0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    return np.log(sd) + np.where(z > -1, log_near, log_tail)


def log_improvement_slope(z: float) -> float:
    r"""Return d log h / dz = Phi(z) / h(z)."""
    if z > -1:
        return ndtr(z) / (math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * ndtr(z))
    if z < FAR:
        return -z
    mills = math.sqrt(math.pi / 2) * erfcx(-z / math.sqrt(2))
    return mills / (1 + z * mills)
