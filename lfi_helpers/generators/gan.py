"""The adversarial game: a network that imitates a sample against one that tells it from data.

Must never see a density, nor the simulator of the sample.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Adam

from lfi_helpers.arguments import positive
from lfi_helpers.generators.adversary import BETAS, PENALTY, Adversary, sample_of
from lfi_helpers.generators.steps import Rows, Watch, demand
from lfi_helpers.networks import mlp
from lfi_helpers.run import generator, pick_device, spawn_seeds
from lfi_helpers.training import TrainingDiverged


@dataclass
class Gan:
    """A generator, the critic it was trained against, and how the game went.

    ``value`` has one entry per 50 steps, their mean: V of ``"gan"`` in nats, -log 4 where nobody
    can tell; the difference of the critic's means in ``"wgan_gp"``, in standard deviations of the
    data. ``loss`` is the generator's, in the same units.
    """

    generator: nn.Module  # z (N, latent_dim) -> (N, L), in the units of the critic
    critic: Adversary
    latent_dim: int
    step: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows, (n, L), on the generator's device."""
        positive("n", n)
        device = "cpu" if generator is None else generator.device
        z = torch.randn(n, self.latent_dim, generator=generator, device=device)
        made = self.generator(z.to(self.critic.centre))
        return self.critic.outward(made.mT[None]).to(device)


def fit_gan(
    data: Tensor,
    *,
    kind: str = "gan",
    penalty: float | None = None,
    latent_dim: int = 2,
    hidden: tuple[int, ...] = (64, 64, 64),
    critic_hidden: int = 128,
    max_steps: int = 3000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    critic_rate: float = 6e-3,
    average: float = 0.998,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Gan:
    r"""Train a generator G and a critic f against each other on a sample.

    .. math::
        \text{gan:} \quad \max_f\; V - \tfrac{\lambda}{2} E_p |\nabla f|^2, \qquad
        V = E_p[\log D] + E_q[\log(1 - D)], \qquad \min_G\, -E_q[\log D], \qquad
        D = \frac{1}{1 + e^{-f}},

        \text{wgan\_gp:} \quad \max_f\; E_p[f] - E_q[f] - \lambda\, E(|\nabla f| - 1)^2, \qquad
        \min_G\, -E_q[f],

    with p the data and q the law of G(z), z ~ N(0, 1); the last mean is over points on lines
    between a row of either. One step of the critic, one of the generator; both rates fall to zero
    along a cosine. The generator that is returned is the average of the last ones. Sources:
    arXiv:1406.2661, arXiv:1801.04406 (the penalty on data), arXiv:1704.00028 (that on lines).

    Args:
        data: the sample to imitate, (N, L); features in comparable units.
        kind: ``"gan"``, ``"wgan_gp"``, or ``"wgan_lp"``, where slopes below one pay nothing.
        penalty: lambda, for x in standard deviations; 0 leaves the critic free.
        latent_dim: of z.
        hidden: widths of the generator's hidden layers.
        critic_hidden: width of the critic's two.
        max_steps, batch_size: of the game; rows of each kind that a step sees.
        learning_rate, critic_rate: at the first step, of the generator and of the critic. The
            critic should be the faster one: the generator believes what it says.
        average: how much of its weights the returned generator keeps at each step; 0 returns the
            last one.
        seed: of the weights and of all draws.
        device, progress: ``"auto"`` or a torch device; show a bar.

    Raises:
        ValueError: for data that are not (N, L), finite and varied, or a number out of range.
        TrainingDiverged: when the value of the game is not finite, or beyond a thousand. The
            error's attribute ``gan`` has the last good generator.
    """
    positive("learning_rate", learning_rate)
    positive("latent_dim", latent_dim)
    if not 0 <= average < 1:
        raise ValueError(f"average: expected 0 <= average < 1, got {average!r}")
    data, seeds, device = sample_of("data", data), spawn_seeds(seed, 3), pick_device(device)
    critic = Adversary(data, kind, critic_hidden, seeds[0], device)
    penalty = PENALTY[kind] if penalty is None else penalty
    demand(max_steps, batch_size, critic_rate, penalty)
    hand = generator(seeds[2], 0, device)
    live = mlp(latent_dim, data.shape[1], hidden, seed=seeds[1], device=device)
    imitator = _Imitator(live, latent_dim, batch_size, average, hand)
    rows = Rows(critic.inward(data.to(device)), batch_size, hand)
    watch = Watch(nn.ModuleList([imitator.settled, critic]), max_steps, critic_rate, progress)
    gan = Gan(imitator.settled, critic, latent_dim, watch.step, watch.value, watch.loss)
    try:
        for step, fall in watch.steps():
            with torch.no_grad():
                made = imitator.make()
            value = critic.learn(rows(), made, penalty, critic_rate * fall, hand)
            watch.note(value, imitator.learn(critic, learning_rate * fall, step))
    except TrainingDiverged as error:
        error.gan = gan
        raise
    return gan


class _Imitator:
    """The generator that plays, and the average of its weights that is kept."""

    def __init__(self, live, latent_dim, batch_size, average, hand):
        self.live, self.settled = live, copy.deepcopy(live).requires_grad_(False)
        self.size, self.average, self.hand = (batch_size, latent_dim), average, hand
        self.adam = Adam(live.parameters(), lr=1.0, betas=BETAS, fused=True)

    def make(self) -> Tensor:
        """Return columns of fresh rows, (1, L, M)."""
        z = torch.randn(self.size, generator=self.hand, device=self.hand.device)
        return self.live(z).mT[None]

    def learn(self, critic: Adversary, rate: float, step: int) -> Tensor:
        """Take one step where the critic points; return the loss."""
        made = self.make()
        loss, pull = critic.teach(made.detach())
        self.adam.zero_grad(set_to_none=True)
        made.backward(pull)
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()
        with torch.no_grad():
            weights = [*self.settled.parameters()], [*self.live.parameters()]
            torch._foreach_lerp_(*weights, max(1 - self.average, 1 / (1 + step)))
        return loss


def fit_critic(
    data: Tensor,
    made: Tensor,
    *,
    kind: str = "gan",
    penalty: float | None = None,
    hidden: int = 128,
    max_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 5e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Adversary:
    r"""Train a critic as ``fit_gan`` does, but against a generator that stands still.

    For ``"gan"`` without penalty the best logit is :math:`f^* = \log p - \log q`. For
    Wasserstein's critics in one dimension, with P and Q the distribution functions and r the
    density of the points on lines, the best slope has the size
    :math:`1 + |P - Q| / (2 \lambda r)`: the difference of means is above the distance by
    :math:`\int (P - Q)^2 / (2 \lambda r)\,dx`, with x and lambda in standard deviations.
    ``"wgan_lp"`` finds it. ``"wgan_gp"`` may not: with lambda above :math:`|P - Q| / 2 r` a slope
    of the wrong sign stays, since on its way it would have to be zero.

    Args:
        data: one sample, (N, L).
        made: the other, (M, L).
        kind, penalty, hidden, max_steps, batch_size, learning_rate, seed, device, progress: as
            the critic's in ``fit_gan``.

    Raises:
        ValueError, TrainingDiverged: as in ``fit_gan``.
    """
    data, made, device = sample_of("data", data), sample_of("made", made), pick_device(device)
    if made.shape[1] != data.shape[1]:
        raise ValueError(f"made: expected {data.shape[1]} features, got {made.shape[1]}")
    seeds = spawn_seeds(seed, 2)
    critic = Adversary(data, kind, hidden, seeds[0], device)
    penalty = PENALTY[kind] if penalty is None else penalty
    demand(max_steps, batch_size, learning_rate, penalty)
    hand = generator(seeds[1], 0, device)
    rows, others = (
        Rows(critic.inward(sample.to(device)), batch_size, hand) for sample in (data, made)
    )
    watch = Watch(critic, max_steps, learning_rate, progress)
    for _, fall in watch.steps():
        value = critic.learn(rows(), others(), penalty, learning_rate * fall, hand)
        watch.note(value, value)
    return critic
