"""Two letters of a small bitmap font, somewhere on a noisy picture: every reading can be counted.

Knows no method.
"""

from math import log, pi

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import batch, finite, positive, same_length

ROWS, COLUMNS = 9, 14  # of the picture
HEIGHT, WIDTH = 7, 5  # of a letter
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIZES = 3, 3, 26, 4, 3, 26  # how many values x1, y1, c1, x2, y2, c2 have
GAP = 4  # the second letter starts at x1 + 4 + x2: with x2 = 0 the letters share a column
FONT = """
.###. ####. .#### ####. ##### ##### .#### #...# ##### ..### #...# #.... #...#
#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #..#. #.... ##.##
#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.#
##### ####. #.... #...# ####. ####. #..## ##### ..#.. ...#. ##... #.... #.#.#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...#
#...# ####. .#### ####. ##### #.... .#### #...# ##### .##.. #...# ##### #...#

#...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
#.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
#..## #...# #.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#. ..#.. .#...
#..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
#...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
"""


def glyphs() -> Tensor:
    """Return the letters as pictures of 0 and 1, (26, 7, 5)."""
    blocks = [
        [line.split() for line in block.splitlines()] for block in FONT.strip().split("\n\n")
    ]
    letters = [column for block in blocks for column in zip(*block, strict=True)]
    ink = [[[float(dot == "#") for dot in row] for row in letter] for letter in letters]
    return torch.tensor(ink, device="cpu")


class EqualChoices(Distribution):
    """Independent whole numbers 0 ... size - 1, equally probable: event shape (len(sizes),)."""

    arg_constraints = {}

    def __init__(self, sizes: tuple[int, ...]):
        self.sizes = torch.tensor(sizes, device="cpu", dtype=torch.float32)
        super().__init__(event_shape=self.sizes.shape, validate_args=False)

    def sample(self, sample_shape: torch.Size | tuple = ()) -> Tensor:
        """Draw choices as floats: (*sample_shape, K)."""
        u = torch.rand(*sample_shape, len(self.sizes), device="cpu")
        return (u * self.sizes).floor().minimum(self.sizes - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the log of how many rows there are, -inf elsewhere: (..., K) -> (...)."""
        sizes = self.sizes.to(value)
        possible = ((value >= 0) & (value < sizes) & (value == value.floor())).all(-1)
        return torch.where(possible, -sizes.log().sum(), -torch.inf)


class Captcha:
    r"""A picture x of 9 x 14 pixels, (N, 126), with two letters: theta = (x1, y1, c1, x2, y2, c2).

    The first letter's corner is column x1 < 3 and row y1 < 3, the second's column x1 + 4 + x2,
    x2 < 4, and row y2 < 3; c < 26 are the letters. Where one of the letters has ink the pixel is
    1, else 0, and every pixel has Gaussian noise:

    .. math:: p(x | \theta) = \prod_i N(x_i;\, m_i(\theta), \sigma^2).

    All of the 3 * 3 * 26 * 4 * 3 * 26 = 73 008 readings are equally probable a priori, so the
    posterior is a sum over all of them.

    Args:
        sigma: of the noise.
    """

    name = "captcha"
    theta_dim = len(SIZES)
    x_dim = ROWS * COLUMNS

    def __init__(self, sigma: float = 0.5):
        self.sigma = float(positive("sigma", sigma))
        self.prior = EqualChoices(SIZES)

    def picture(self, theta: Tensor) -> Tensor:
        """Return the pictures without noise, (N, 126) of 0 and 1."""
        x1, y1, c1, x2, y2, c2 = _choices(theta).T
        first, second = _canvas(x1, y1, c1), _canvas(x1 + GAP + x2, y2, c2)
        return torch.maximum(first, second, out=first).to(theta.dtype)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one noisy picture for each row of choices: (N, 6) -> (N, 126)."""
        mean = self.picture(batch("theta", theta, self.theta_dim))
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + self.sigma * noise

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log p(x | theta), (N,)."""
        x = finite("x", batch("x", x, self.x_dim))
        mean = self.picture(batch("theta", theta, self.theta_dim))
        same_length(x=x, theta=theta)
        distance = (x - mean).norm(dim=1) / self.sigma
        return -(distance**2) / 2 - self._log_volume()

    def _log_volume(self) -> float:
        return self.x_dim * log(self.sigma * (2 * pi) ** 0.5)

    def readings(self) -> Tensor:
        """Return all rows of choices, (73 008, 6), the last one changing fastest."""
        axes = [torch.arange(size, device="cpu", dtype=torch.float32) for size in SIZES]
        return torch.cartesian_prod(*axes)

    def log_joint(self, x: Tensor) -> Tensor:
        r"""Return log p(x, theta) of every reading, (N, 73 008): no approximation.

        m is 0 or 1, so that :math:`(x - m)^2 = x^2 - m (2x - 1)`: one matrix product.
        """
        x = finite("x", batch("x", x, self.x_dim))
        templates = self.picture(self.readings()).to(x)
        empty = -(x**2).sum(1) / (2 * self.sigma**2) - self._log_volume()
        gain = (2 * x - 1) / (2 * self.sigma**2)
        return empty[:, None] + gain @ templates.T - log(len(templates))

    def strings(self, weight: Tensor, theta: Tensor) -> Tensor:
        """Add the weights (..., M) of readings theta (..., M, 6) by their letters: (..., 676)."""
        pair = (26 * theta[..., 2] + theta[..., 5]).long().expand(weight.shape)
        total = weight.new_zeros(*weight.shape[:-1], 26 * 26)
        return total.scatter_add(-1, pair, weight)

    def glimpse(self, x: Tensor, before: Tensor) -> Tensor:
        """Cut out the 7 x 5 pixels where the next letter must be, given the choices before it.

        x (N, 126), before (N, k) -> (N, 35) if the next choice is a letter, else (N, 0).
        """
        k = before.shape[1]
        if k not in (2, 5):
            return x[:, :0]
        column = before[:, 0] if k == 2 else before[:, 0] + GAP + before[:, 3]
        index = _pixels(column.long(), before[:, k - 1].long())
        return x.gather(1, index)


def _choices(theta: Tensor) -> Tensor:
    """Return theta as whole numbers, (N, 6), if it is a possible row of choices."""
    sizes = torch.tensor(SIZES, device=theta.device)
    whole = finite("theta", batch("theta", theta, len(SIZES))).long()
    if bool(((whole != theta) | (whole < 0) | (whole >= sizes)).any()):
        raise ValueError(f"theta: expected whole numbers from 0, below {SIZES}")
    return whole


def _pixels(column: Tensor, row: Tensor) -> Tensor:
    """Return which of the 126 pixels a letter at that corner covers: (N,) -> (N, 35)."""
    down, right = (torch.arange(n, device=column.device) for n in (HEIGHT, WIDTH))
    rows, columns = row[:, None, None] + down[:, None], column[:, None, None] + right
    return (rows * COLUMNS + columns).flatten(1)


def _canvas(column: Tensor, row: Tensor, letter: Tensor) -> Tensor:
    """Put one letter on each empty picture: (N, 126)."""
    ink = glyphs().to(column.device).flatten(1)[letter]
    empty = ink.new_zeros(len(ink), ROWS * COLUMNS)
    return empty.scatter_(1, _pixels(column, row), ink)
