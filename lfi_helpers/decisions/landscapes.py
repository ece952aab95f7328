"""Two classical landscapes with known tops, to measure a search on; must never search."""

import numpy as np

BRANIN_BOX = ((-5.0, 10.0), (0.0, 15.0))
BRANIN_TOP = -5 / (4 * np.pi)  # at (-pi, 12.275), (pi, 2.275) and (3 pi, 2.475)
HARTMANN_BOX = ((0.0, 1.0),) * 6
HARTMANN_TOP = 3.322368011  # in the basin of (.202, .150, .477, .275, .312, .657)

_HEIGHT = np.array([1.0, 1.2, 3.0, 3.2])
_STEEPNESS = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_CENTRE = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def branin(x) -> np.ndarray:
    r"""Return Branin's function of (..., 2) points, turned upside down: (...).

    With a, b = x it is :math:`-(b - 5.1 a^2 / 4 \pi^2 + 5 a / \pi - 6)^2
    - 10 (1 - 1 / 8 \pi) \cos a - 10`: three tops of equal height, where the square vanishes and
    cos a = -1.
    """
    a, b = np.moveaxis(np.asarray(x, float), -1, 0)
    valley = b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6
    return -(valley**2) - 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) - 10


def hartmann(x) -> np.ndarray:
    r"""Return Hartmann's function of (..., 6) points: four hills of heights c, summed: (...).

    :math:`\sum_i c_i \exp(-\sum_j A_{ij} (x_j - P_{ij})^2)`. The highest top has a rival, a broad
    hill only .12 lower.
    """
    x = np.asarray(x, float)[..., None, :]
    return np.exp(-(_STEEPNESS * (x - _CENTRE) ** 2).sum(-1)) @ _HEIGHT


LANDSCAPES = {  # name -> function, box, height of the top
    "Branin": (branin, BRANIN_BOX, BRANIN_TOP),
    "Hartmann-6": (hartmann, HARTMANN_BOX, HARTMANN_TOP),
}
