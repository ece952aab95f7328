"""A signal of unknown fraction on two Gaussians: the mixture of the CARL paper, exact.

It must never know how its fraction is inferred.
"""

from math import log, pi

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import box_uniform

MEANS = (-2.0, 0.0, 1.0)
DEVIATIONS = (0.75, 2.0, 0.5)


class CarlMixture:
    r"""Events x on the line for theta = (gamma,), the fraction of the component c_2 = N(1, 0.5).

    p(x | gamma) = (1 - gamma)/2 c_0(x) + (1 - gamma)/2 c_1(x) + gamma c_2(x),
    with c_0 = N(-2, 0.75) and c_1 = N(0, 2) (means and standard deviations). Source:
    arXiv:1506.02169.
    """

    name = "carl_mixture"
    theta_dim = 1
    x_dim = 1

    def __init__(self):
        self.prior = box_uniform([0.0], [0.2])

    def weights(self, theta: Tensor) -> Tensor:
        """Return the three mixture weights of each gamma: (N, 1) -> (N, 3)."""
        gamma = finite("theta", batch("theta", theta, 1))
        if ((gamma < 0) | (gamma > 1)).any():
            raise ValueError("theta: expected a fraction 0 <= gamma <= 1, got a value outside")
        rest = (1 - gamma) / 2
        return torch.cat([rest, rest, gamma], dim=1)

    def component_log_prob(self, x: Tensor) -> Tensor:
        """Return log c_k(x) of the three components: (N, 1) -> (N, 3)."""
        x = finite("x", batch("x", x, 1))
        mean, deviation = _constants(x)
        return -0.5 * ((x - mean) / deviation).square() - deviation.log() - 0.5 * log(2 * pi)

    def draw_component(self, k: int, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n events of component k alone: (n, 1)."""
        if k not in (0, 1, 2):
            raise ValueError(f"k: expected component 0, 1 or 2, got {k!r}")
        device = "cpu" if generator is None else generator.device
        return MEANS[k] + DEVIATIONS[k] * torch.randn(n, 1, generator=generator, device=device)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each gamma: (N, 1) -> (N, 1)."""
        cumulative = self.weights(theta).cumsum(1)  # (N, 3)
        n, device, dtype = len(cumulative), cumulative.device, cumulative.dtype
        u = torch.rand(n, 1, generator=generator, device=device, dtype=dtype)
        k = (u >= cumulative[:, :2]).sum(1, keepdim=True)  # (N, 1)
        noise = torch.randn(n, 1, generator=generator, device=device, dtype=dtype)
        mean, deviation = _constants(noise)
        return mean[k] + deviation[k] * noise

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | gamma), (N,). Differentiable in theta, also at 0."""
        components, weights = self.component_log_prob(x), self.weights(theta)
        same_length(x=components, theta=weights)
        largest = components.amax(1, keepdim=True)  # far tails do not underflow
        return largest[:, 0] + ((components - largest).exp() * weights).sum(1).log()

    def log_ratio(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | gamma) / p(x | 0), with signal over without: (N,)."""
        return self.log_prob(x, theta) - self.log_prob(x, torch.zeros_like(theta))


def _constants(like: Tensor) -> list[Tensor]:
    """Return the means and the standard deviations on like's device and of its type, (3,) each."""
    return [torch.tensor(v, device=like.device, dtype=like.dtype) for v in (MEANS, DEVIATIONS)]
