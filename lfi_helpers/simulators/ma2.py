"""A moving average of noise: a hundred dependent numbers with an exact Gaussian likelihood.

It must never know how theta is inferred.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lfi_helpers.arguments import batch, finite, same_length


class _InTriangle(constraints.Constraint):
    """theta_1 + theta_2 > -1, theta_1 - theta_2 < 1, theta_2 < 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        first, second = value.unbind(-1)
        return (first + second > -1) & (first - second < 1) & (second < 1)


class Triangle(Distribution):
    """The uniform density on the triangle with corners (-2, 1), (2, 1), (0, -1), of area 4.

    Different theta outside of it give the same series: inside, theta is identified.
    """

    arg_constraints = {}
    support = _InTriangle()

    def __init__(self):
        super().__init__(event_shape=torch.Size([2]), validate_args=False)

    def sample(self, sample_shape=()) -> Tensor:
        """Draw (*sample_shape, 2): a point of a parallelogram, its outer half folded back."""
        u = torch.rand(*sample_shape, 2, device="cpu")
        u = torch.where(u.sum(-1, keepdim=True) > 1, 1 - u, u)
        corner, sides = u.new_tensor([-2.0, 1.0]), u.new_tensor([[4.0, 0.0], [2.0, -2.0]])
        return corner + u @ sides

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -log 4 inside, -inf outside: (..., 2) -> (...)."""
        inside = self.support.check(value)
        return torch.full_like(value[..., 0], -math.log(4)).masked_fill(~inside, -math.inf)


class Ma2:
    r"""A series x_t = e_t + theta_1 e_(t-1) + theta_2 e_(t-2), t = 1 ... T, with e_t ~ N(0, 1).

    x is Gaussian with mean zero and the autocovariances

        1 + theta_1^2 + theta_2^2,   theta_1 (1 + theta_2),   theta_2,   then zero.

    The prior is uniform on a triangle in which theta is identified. Source: arXiv:1101.0955.

    Args:
        n_times: T, at least 3.
    """

    name = "ma2"
    theta_dim = 2

    def __init__(self, n_times: int = 100):
        if isinstance(n_times, bool) or not isinstance(n_times, int) or n_times < 3:
            raise ValueError(f"n_times: expected an integer >= 3, got {n_times!r}")
        self.x_dim = n_times
        self.prior = Triangle()

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one series for each theta: (N, 2) -> (N, T)."""
        theta = finite("theta", batch("theta", theta, 2))
        kind = {"generator": generator, "device": theta.device, "dtype": theta.dtype}
        e = torch.randn(len(theta), self.x_dim + 2, **kind)
        return e[:, 2:] + theta[:, :1] * e[:, 1:-1] + theta[:, 1:] * e[:, :-2]

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,). Differentiable in theta.

        The covariance has two side diagonals. Its Cholesky factor L has them too, and is built row
        by row along with z in L z = x: log p = -z^2 / 2 - log det L - T log(2 pi) / 2.
        """
        x = finite("x", batch("x", x, self.x_dim))
        theta = finite("theta", batch("theta", theta, 2))
        same_length(x=x, theta=theta)
        c0, c1, c2 = autocovariances(theta).unbind(1)
        nothing = torch.zeros_like(c0)
        one = torch.ones_like(c0)
        side, d, z = nothing, (one, one), (nothing, nothing)  # L[t-1, t-2]; of t-1 and t-2
        log_p = torch.full_like(c0, -0.5 * self.x_dim * math.log(2 * math.pi))
        for t in range(self.x_dim):
            far = c2 / d[1] if t > 1 else nothing  # L[t, t-2]
            side = (c1 - far * side) / d[0] if t > 0 else nothing  # L[t, t-1]
            d = (c0 - side.square() - far.square()).sqrt(), d[0]
            z = (x[:, t] - side * z[0] - far * z[1]) / d[0], z[0]
            log_p = log_p - 0.5 * z[0].square() - d[0].log()
        return log_p


def autocovariances(theta: Tensor) -> Tensor:
    """Return the expected x_t^2, x_t x_(t+1) and x_t x_(t+2): (N, 2) -> (N, 3)."""
    first, second = theta.unbind(1)
    return torch.stack([1 + first.square() + second.square(), first * (1 + second), second], 1)
