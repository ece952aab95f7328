"""Flow matching posterior estimation: a velocity that carries normal noise to the posterior.

Must never know the simulator that made the pairs.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lfi_helpers.flows.coordinates import Probit
from lfi_helpers.inference.learn import learn
from lfi_helpers.inference.npe import coordinates_of, is_unbounded
from lfi_helpers.inference.pairs import Seen, training_pairs
from lfi_helpers.inference.posterior import DensityPosterior
from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import check_seed

STEPS = 30  # of the Runge-Kutta integration from noise (t = 0) to theta (t = 1)


class Velocity(nn.Module):
    """v(z, t, x) in coordinates where the prior is about normal; ``velocity(x)`` is a density."""

    def __init__(self, coordinates: nn.Module, x: Tensor, dim: int, hidden, seed: int):
        super().__init__()
        self.coordinates, self.embedding, self.dim = coordinates, Standardise(x), dim
        self.network = mlp(dim + 3 + x.shape[1], dim, hidden, seed=seed)

    def to_normal(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (N, D) and log |det dz/dtheta|, (N,)."""
        z, log_det = self.coordinates(theta.mT)
        if self.coordinates.cube:
            z, change = Probit()(z, None)
            log_det = log_det + change
        return z.mT, log_det

    def from_normal(self, z: Tensor) -> Tensor:
        """Return theta (N, D)."""
        z = z.mT.contiguous()
        if self.coordinates.cube:
            z, _ = Probit().inverse(z, None)
        return self.coordinates.inverse(z)[0].mT

    def at(self, z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Return the velocity, (N, D), at z (N, D), t (N, 1) and the embedded context c (N, L)."""
        waves = torch.cat([t, torch.cos(math.pi * t), torch.sin(math.pi * t)], 1)
        return self.network(torch.cat([z, waves, c], 1))

    def forward(self, x: Tensor) -> "VelocityDistribution":
        """Return the density of theta given each row of x."""
        return VelocityDistribution(self, x)


class VelocityDistribution(Distribution):
    """The density of theta whose draws are normal noise moved along the velocity."""

    arg_constraints = {}

    def __init__(self, velocity: Velocity, x: Tensor):
        self.velocity, self.x = velocity, x
        super().__init__(x.shape[:-1], torch.Size([velocity.dim]), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw theta: sample_shape + batch shape + (D,)."""
        shape = torch.Size(sample_shape) + self.batch_shape
        z = torch.randn(shape.numel(), self.velocity.dim, device=self.x.device)
        z, _ = self._integrate(z, self._context(shape), 0.0, 1.0)
        return self.velocity.from_normal(z).reshape(*shape, self.velocity.dim)

    def log_prob(self, theta: Tensor) -> Tensor:
        r"""Return log q(theta | x): that of the noise it came from, minus what flowed apart.

        :math:`\log q = \log N(z_0; 0, 1) - \int_0^1 \nabla \cdot v \, dt + \log |dz/d\theta|`; the
        divergence is exact, from D backward passes.
        """
        shape = torch.broadcast_shapes(theta.shape[:-1], self.batch_shape)
        theta = theta.expand(*shape, theta.shape[-1]).reshape(-1, theta.shape[-1])
        z, log_det = self.velocity.to_normal(theta)
        z, spread = self._integrate(z, self._context(shape), 1.0, 0.0, divergence=True)
        log_q = -0.5 * (z * z + math.log(2 * math.pi)).sum(1) + spread + log_det
        outside = self.velocity.coordinates.outside(theta.mT)
        if outside is not None:
            log_q = torch.where(outside, -math.inf, log_q)
        return log_q.detach().view(shape)

    def _context(self, shape) -> Tensor:
        x = self.velocity.embedding(self.x)
        return x.expand(*shape, x.shape[-1]).reshape(-1, x.shape[-1])

    def _integrate(self, z, c, start, end, divergence=False) -> tuple[Tensor, Tensor]:
        """Move z from time start to end by Runge-Kutta's rule; add up the divergence."""
        h, total = (end - start) / STEPS, torch.zeros_like(z[:, 0])
        rate = self._rate_and_divergence if divergence else self._rate
        for k in range(STEPS):
            t = start + k * h
            v1, d1 = rate(z, t, c)
            v2, d2 = rate(z + h / 2 * v1, t + h / 2, c)
            v3, d3 = rate(z + h / 2 * v2, t + h / 2, c)
            v4, d4 = rate(z + h * v3, t + h, c)
            z = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            total = total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        return z, total

    def _rate(self, z, t, c):
        return self.velocity.at(z, torch.full_like(z[:, :1], t), c), 0.0

    def _rate_and_divergence(self, z, t, c):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            v = self._rate(z, t, c)[0]
            rows = [
                torch.autograd.grad(v[:, i].sum(), z, retain_graph=True)[0][:, i]
                for i in range(v.shape[1])
            ]
        return v.detach(), sum(rows)


def flow_matching_loss(velocity: Velocity, pair: tuple[Tensor, Tensor]) -> Tensor:
    r"""Return the mean of :math:`|v(z_t, t, x) - (z_1 - z_0)|^2`, :math:`z_t = (1-t) z_0 + t z_1`.

    z_1 is theta in the velocity's coordinates, z_0 normal noise, t uniform; its randomness is
    that of ``fit``. Source: arXiv:2305.17161.
    """
    theta, x = pair
    z1, _ = velocity.to_normal(theta)
    z0, t = torch.randn_like(z1), torch.rand_like(z1[:, :1])
    v = velocity.at((1 - t) * z0 + t * z1, t, velocity.embedding(x))
    return ((v - (z1 - z0)) ** 2).sum(1).mean()


def fmpe(
    theta: Tensor,
    x: Tensor,
    prior: Distribution,
    *,
    seed: int = 0,
    hidden: tuple[int, ...] = (128, 128, 128),
    max_epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    on_invalid: str = "raise",
    device: str | torch.device = "auto",
    progress: bool = True,
) -> DensityPosterior:
    r"""Learn the posterior of every x at once as a velocity field, without a bijection.

    Draws integrate dz/dt = v(z, t, x) from noise in 30 Runge-Kutta steps; ``log_prob`` integrates
    backwards with the exact divergence, which costs D backward passes a stage. Within a bounded
    prior's coordinates nothing leaks. Source: arXiv:2305.17161.

    Args: as for ``npe``; ``hidden`` are the widths of the velocity's network.

    Raises: as for ``npe``.
    """
    check_seed(seed)
    theta, x = training_pairs(theta, x, prior, on_invalid)
    coordinates = coordinates_of(prior, theta)
    velocity, history = learn(
        lambda hidden: Velocity(coordinates, x, theta.shape[1], hidden, seed),
        [(hidden,)],
        flow_matching_loss,
        (theta, x),
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        progress=progress,
    )
    bounded = coordinates.cube or is_unbounded(prior)
    return DensityPosterior(velocity, prior, Seen.of(x), history, bounded)
