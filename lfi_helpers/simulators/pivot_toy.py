"""Two classes in the plane, one of them moved by a nuisance: exact densities, exact best pivot.

It must never know who tells the classes apart, nor who looks for the nuisance.
"""

from math import log, pi

import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.special import ndtr

from lfi_helpers.arguments import batch, finite, same_length

RHO = -0.5  # correlation of the two features of class 0


class PivotToy:
    r"""Events x in the plane for theta = (z,), a nuisance that moves class 1 only.

    .. math::
        x | y = 0 \sim N(0, \Sigma),\ \Sigma = \begin{pmatrix}1&-.5\\-.5&1\end{pmatrix}, \qquad
        x | y = 1 \sim N((1, 1 + z), I), \qquad z \sim N(0, 1),

    both classes equally often. The toy of arXiv:1611.01046.
    """

    name = "pivot_toy"
    theta_dim = 1
    x_dim = 2

    def __init__(self):
        zero = torch.zeros(1, device="cpu")
        self.prior = Independent(Normal(zero, zero + 1, validate_args=False), 1)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event of either class for each nuisance: (N, 1) -> (N, 2)."""
        return self.labelled(theta, generator)[0]

    def labelled(
        self, theta: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw one event for each nuisance, and tell its class: x (N, 2), y (N,) of 0 and 1."""
        z = _nuisance(theta)
        like = {"generator": generator, "device": z.device, "dtype": z.dtype}
        y = torch.rand(len(z), **like) < 0.5
        g = torch.randn(len(z), 2, **like)
        class_0 = torch.stack([g[:, 0], RHO * g[:, 0] + (1 - RHO**2) ** 0.5 * g[:, 1]], 1)
        class_1 = torch.stack([1 + g[:, 0], 1 + z + g[:, 1]], 1)
        return torch.where(y[:, None], class_1, class_0), y.to(z.dtype)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | z), both classes together: (N, 2), (N, 1) -> (N,)."""
        z, x = _nuisance(theta), _events(x)
        same_length(x=x, theta=z)
        return torch.logaddexp(_class_0(x), _class_1(x, 1 + z.to(x), 1.0)) - log(2)

    def log_ratio(self, x: Tensor) -> Tensor:
        """Return the exact log p(x | 1) / p(x | 0), z integrated over its prior: (N, 2) -> (N,).

        No classifier that does not know z has a smaller cross-entropy than sigmoid of this.
        """
        x = _events(x)
        return _class_1(x, 1.0, 2.0) - _class_0(x)

    def nuisance_log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        r"""Return the exact log p(z | x), both classes together: (N, 1), (N, 2) -> (N,).

        Under class 1, z | x is :math:`N((x_2 - 1)/2, 1/2)`; under class 0 it is the prior.
        """
        z, x = _nuisance(theta).to(x), _events(x)
        same_length(theta=z, x=x)
        log_r = self.log_ratio(x)
        moved = _log_normal(z, (x[:, 1] - 1) / 2, 0.5) + torch.nn.functional.logsigmoid(log_r)
        prior = _log_normal(z, 0.0, 1.0) + torch.nn.functional.logsigmoid(-log_r)
        return torch.logaddexp(moved, prior)

    def best_pivot(self, x: Tensor) -> Tensor:
        r"""Return u(x), (N,): 1 for events most like class 1; its law does not depend on z.

        A pivot must have the same law under class 1 whatever z, hence, the family in z being
        complete, at (almost) every x_2. So order events by p(x | 1) / p(x | 0) *among those with
        the same x_2*. As a function of x_1 that ratio is a parabola with its minimum at
        :math:`v = -3 - 2 x_2`; with :math:`d = |x_1 - v|`, the share of class 1 below x is

        .. math:: u = \Phi(v + d - 1) - \Phi(v - d - 1),

        uniform on [0, 1] for every z. By Neyman and Pearson no pivot rejects more of class 0 at
        any efficiency for class 1.
        """
        x = _events(x)
        v = -3 - 2 * x[:, 1]
        d = (x[:, 0] - v).abs()
        return ndtr(v + d - 1) - ndtr(v - d - 1)


def _class_0(x: Tensor) -> Tensor:
    given = _log_normal(x[:, 0], RHO * x[:, 1], 1 - RHO**2)
    return given + _log_normal(x[:, 1], 0.0, 1.0)


def _class_1(x: Tensor, mean: Tensor | float, variance: float) -> Tensor:
    return _log_normal(x[:, 0], 1.0, 1.0) + _log_normal(x[:, 1], mean, variance)


def _log_normal(x: Tensor, mean: Tensor | float, variance: float) -> Tensor:
    return -((x - mean) ** 2) / (2 * variance) - log(2 * pi * variance) / 2


def _events(x: Tensor) -> Tensor:
    return finite("x", batch("x", x, 2))


def _nuisance(theta: Tensor) -> Tensor:
    return finite("theta", batch("theta", theta, 1))[:, 0]
