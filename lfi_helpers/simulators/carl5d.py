"""Two means hidden in five mixed features: the parametrised example of the CARL paper, exact.

It must never know how its parameters are inferred.
"""

from math import log, pi

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

MIXING = (
    (1.31229955, 0.10499961, 0.48310515, -0.3249938, -0.26387927),
    (0.10499961, 1.15833058, -0.55865473, 0.25275522, -0.39790775),
    (0.48310515, -0.55865473, 2.25874579, -0.52087938, -0.39271231),
    (-0.3249938, 0.25275522, -0.52087938, 1.4034925, -0.63521059),
    (-0.26387927, -0.39790775, -0.39271231, -0.63521059, 1.0),
)
DEVIATIONS = (1.0, 3.0)  # of z_0 and z_1, whose means are theta
MODES, WIDTHS = (-2.0, 2.0), (1.0, 0.5)  # of the two halves of z_2
RATES = (3.0, 0.5)  # of z_3 and z_4


class Carl5d:
    r"""Five features x = R z for theta = (alpha, beta), the means of two of the hidden z.

    z_0 ~ N(alpha, 1), z_1 ~ N(beta, 3), z_2 ~ N(-2, 1) / 2 + N(2, 0.5) / 2, z_3 ~ Exp(3),
    z_4 ~ Exp(0.5): standard deviations and rates. R is a fixed symmetric, positive definite
    matrix. As R can be undone, everything is exact: the maximum-likelihood estimate is the mean
    of (z_0, z_1), its errors are 1 / sqrt(n) and 3 / sqrt(n). The same generator state gives the
    same noise at every theta. The prior is uniform on [-3, 3]^2.

    Source: arXiv:1506.02169 and the public code of its example. A copy of the matrix in
    another public code has +0.3249938 in one of the two corners R_03 and R_30: not symmetric.
    """

    name = "carl5d"
    theta_dim = 2
    x_dim = 5

    def __init__(self):
        self.prior = box_uniform([-3.0, -3.0], [3.0, 3.0])

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each theta: (N, 2) -> (N, 5)."""
        theta = _means("theta", theta)
        shape = {"device": theta.device, "dtype": theta.dtype}
        normal = torch.randn(len(theta), 3, generator=generator, **shape)
        second = torch.randint(0, 2, (len(theta),), generator=generator, device=theta.device)
        waits = -torch.log1p(-torch.rand(len(theta), 2, generator=generator, **shape))
        means = theta + normal[:, :2] * _constant(DEVIATIONS, theta)
        bimodal = _constant(MODES, theta)[second] + normal[:, 2] * _constant(WIDTHS, theta)[second]
        z = torch.cat([means, bimodal[:, None], waits / _constant(RATES, theta)], 1)
        return z @ _constant(MIXING, z).T

    def latent(self, x: Tensor) -> Tensor:
        """Undo the mixing, z = R^-1 x, in float64: (N, 5) -> (N, 5)."""
        x = finite("x", batch("x", x, 5)).double()
        return torch.linalg.solve(_constant(MIXING, x), x.T).T

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,); -inf where z_3 or z_4 is negative.

        Negative by no more than x was rounded counts as zero.
        """
        theta, z = _means("theta", theta), self.latent(x)
        same_length(x=x, theta=theta)
        pulls = (z[:, :2] - theta) / _constant(DEVIATIONS, z)
        log_prob = -pulls.square().sum(1) / 2 - log(2 * pi) - log(DEVIATIONS[0] * DEVIATIONS[1])
        widths = _constant(WIDTHS, z)
        pulls = (z[:, 2:3] - _constant(MODES, z)) / widths
        log_prob = log_prob - log(2) - log(2 * pi) / 2
        log_prob = log_prob + torch.logsumexp(-pulls.square() / 2 - widths.log(), 1)
        waits, rates = z[:, 3:], _constant(RATES, z)
        log_prob = log_prob + (rates.log() - rates * waits.clamp(min=0)).sum(1)
        mixing = _constant(MIXING, z)
        rounding = 4 * torch.finfo(x.dtype).eps * x.double().abs() @ mixing.inverse().abs().T
        outside = (waits < -rounding[:, 3:]).any(1)
        log_prob = log_prob - torch.linalg.slogdet(mixing).logabsdet
        return log_prob.masked_fill(outside, -torch.inf).to(theta.dtype)

    def log_ratio(self, x: Tensor, theta: Tensor, theta_ref: Tensor) -> Tensor:
        r"""Return the exact log p(x | theta) / p(x | theta_ref), (N,).

        It is ((z_0 - alpha')^2 - (z_0 - alpha)^2) / 2 + ((z_1 - beta')^2 - (z_1 - beta)^2) / 18.
        """
        theta, theta_ref = _means("theta", theta), _means("theta_ref", theta_ref)
        same_length(x=x, theta=theta, theta_ref=theta_ref)
        z = self.latent(x)[:, :2]
        squares = (z - theta_ref).square() - (z - theta).square()
        return (squares / (2 * _constant(DEVIATIONS, z).square())).sum(1).to(theta.dtype)

    def maximum_likelihood(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exact estimate from n events, (2,), and its standard errors, (2,)."""
        z = self.latent(x)
        return z[:, :2].mean(0), _constant(DEVIATIONS, z) / len(z) ** 0.5


def _means(name: str, theta: Tensor) -> Tensor:
    return finite(name, batch(name, theta, 2))


def _constant(values, like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)
