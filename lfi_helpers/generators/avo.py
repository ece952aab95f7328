"""Adversarial variational optimisation: tune a simulator's parameters until a critic is silent.

Takes a ``sample`` callable and data; must never know a density of the data.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from lfi_helpers.arguments import batch, finite, floating, positive
from lfi_helpers.generators.critic import Critics
from lfi_helpers.run import generator, pick_device, spawn_seeds
from lfi_helpers.training import TrainingDiverged


class AvoHistory(NamedTuple):
    """What every epoch of every run left behind."""

    mean: Tensor  # (epochs, K, D) of the proposal, after the epoch's step
    sd: Tensor  # (epochs, K, D)
    gap: Tensor  # (epochs, K): <d(x_obs)> - <d(x_sim)>, 0 if the critic sees no difference


class Proposal(nn.Module):
    r"""K Gaussians :math:`q(\theta|\psi_k) = N(\mu_k, \mathrm{diag}\,\sigma_k^2)`, one per run.

    Args:
        mean: where they start, (K, D).
        sd: their standard deviations, (K, D), > 0.
    """

    def __init__(self, mean: Tensor, sd: Tensor):
        super().__init__()
        mean, sd = (finite(n, batch(n, v)) for n, v in (("mean", mean), ("sd", sd)))
        if mean.shape != sd.shape or not (sd > 0).all():
            got = f"{tuple(mean.shape)} and {tuple(sd.shape)}"
            raise ValueError(f"mean and sd: expected one shape (K, D), sd > 0, got {got}")
        self.mean = nn.Parameter(mean.detach().clone())
        self.log_sd = nn.Parameter(sd.detach().log())

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n parameters from each Gaussian: (K, n, D)."""
        k, d = self.mean.shape
        like = {"device": self.mean.device, "dtype": self.mean.dtype}
        noise = torch.randn(k, n, d, generator=generator, **like)
        return self.mean[:, None] + self.log_sd.exp()[:, None] * noise

    def entropy(self) -> Tensor:
        r"""Return the entropy up to a constant, :math:`\sum_j \log\sigma_j`, (K,)."""
        return self.log_sd.sum(1)


def score_gradient(
    theta: Tensor, loss: Tensor, mean: Tensor, log_sd: Tensor, baseline: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Estimate the gradient of E_q[loss] in the mean and in log sd of q from draws of theta.

    .. math:: \nabla_\psi E_q[l] = E_q[l\,\nabla_\psi\log q] \approx
        \frac1M \sum_m (l_m - b_m)\,\nabla_\psi\log q(\theta_m), \qquad
        b_m = \frac{1}{M-1}\sum_{n\ne m} l_n

    The baseline b_m does not contain draw m, so it leaves the expectation as it is; without it, a
    constant in the loss is noise. Source: arXiv:1707.07113 for the game, arXiv:1906.10652 for
    score-function gradients and their control variates.

    Args:
        theta: draws of q, (K, M, D), M >= 2.
        loss: l of each, (K, M).
        mean, log_sd: of q, (K, D).
        baseline: 1.0 for runs with it, 0.0 for those without, (K,).

    Returns:
        The gradients in the mean and in log sd, (K, D) each.
    """
    m = loss.shape[1]
    others = (loss.sum(1, keepdim=True) - loss) / (m - 1)
    weight = ((loss - baseline[:, None] * others) / m)[:, :, None]
    pull = (theta - mean[:, None]) / log_sd.exp()[:, None]
    in_mean = (weight * pull).sum(1) / log_sd.exp()
    return in_mean, (weight * (pull.square() - 1)).sum(1)


def fit_avo(
    proposal: Proposal,
    sample,
    x_obs: Tensor,
    *,
    entropy: tuple[float, ...] | float,
    baseline: tuple[bool, ...] | bool = True,
    penalty: float = 0.025,
    n_epochs: int = 300,
    n_critic: int = 100,
    warm_up: int = 100,
    batch_size: int = 64,
    hidden: int = 10,
    learning_rate: float = 0.01,
    betas: tuple[float, float] = (0.5, 0.5),
    seed: int = 0,
    device: str | torch.device = "auto",
) -> AvoHistory:
    r"""Move K proposals, in place, each towards parameters whose events pass for the data.

    .. math:: \max_d\; \langle d(x_{obs})\rangle - E_q E_{p(x|\theta)}[d(x)] - \text{penalty},
        \qquad \min_\psi\; -E_q E_{p(x|\theta)}[d(x)] + \gamma\,H(q)

    Nothing is differentiated through the simulator. Every epoch trains each run's critic for
    ``n_critic`` steps, with Adam's moments forgotten, then takes one step of its proposal. The K
    runs know nothing of each other; they share the calls. Source: arXiv:1707.07113.

    Args:
        proposal: K Gaussians over theta.
        sample: ``sample(theta, generator)`` draws one event for each row, (N, D) -> (N, L).
        x_obs: the data, (n, L).
        entropy: gamma, for all or each of the runs: how much a wide proposal costs.
        baseline: leave-one-out baseline, for all or each of the runs.
        penalty: weight of the critics' gradient penalty.
        n_epochs, n_critic, warm_up: steps of the proposals, of the critics before each of them,
            and of the critics before the first.
        batch_size: simulated, observed and in-between events of each step.
        hidden: width of the critics' hidden layers.
        learning_rate, betas: of both players' Adam.
        seed: of all randomness.
        device: ``"auto"`` or a torch device.

    Raises:
        ValueError: for wrong shapes, or a simulator that returns NaN or infinity.
        TrainingDiverged: when a critic or a proposal is not finite any more; every proposal is
            put back to where its critic saw the smallest difference. The step is the epoch.
    """
    device = pick_device(device)
    positive("learning_rate", learning_rate)
    if batch_size < 2:
        raise ValueError(f"batch_size: expected at least 2, got {batch_size}")
    x_obs = finite("x_obs", batch("x_obs", x_obs)).float().to(device)
    proposal.to(device)
    runs = len(proposal.mean)
    gamma, kept = (
        _per_run(name, value, runs, device)
        for name, value in (("entropy", entropy), ("baseline", baseline))
    )
    seeds = spawn_seeds(seed, 2)
    critics = Critics(runs, x_obs.shape[1], hidden, seed=seeds[0], device=device)
    game = _Game(proposal, critics, sample, x_obs, batch_size, generator(seeds[1], 0, device))
    adam = Adam(proposal.parameters(), lr=learning_rate, betas=betas, fused=True)
    for epoch in range(n_epochs):
        steps = n_critic + (warm_up if epoch == 0 else 0)
        game.train_critics(steps, penalty, learning_rate, betas)
        game.judge(epoch, learning_rate, gamma, kept)
        adam.step()
        game.note(epoch, learning_rate)
    return AvoHistory(*(torch.stack(values).cpu() for values in game.history))


def _per_run(name: str, value, runs: int, device: torch.device) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float32, device=device)
    if value.ndim > 1 or (value.ndim and len(value) != runs):
        raise ValueError(f"{name}: expected {runs} numbers, got shape {tuple(value.shape)}")
    return finite(name, value.expand(runs))


class _Game:
    """The two players of every run, and the best proposals so far."""

    def __init__(self, proposal, critics, sample, x_obs, batch_size, hand):
        self.proposal, self.critics, self.simulate = proposal, critics, sample
        self.x_obs, self.size, self.hand = x_obs, batch_size, hand
        self.history = ([], [], [])
        self.best = (torch.full_like(x_obs[0, 0], torch.inf), self._state())

    def _state(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.proposal.parameters()]

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return theta (K, n, D), its events (K, n, L) and as many rows of data."""
        theta = self.proposal.sample(n, self.hand)
        x = floating("sample(theta)", self.simulate(theta.flatten(0, 1), self.hand))
        if x.shape != (theta.shape[0] * n, self.x_obs.shape[1]):
            wanted = (theta.shape[0] * n, self.x_obs.shape[1])
            raise ValueError(f"sample(theta): expected shape {wanted}, got {tuple(x.shape)}")
        size = theta.shape[:2]
        row = torch.randint(
            len(self.x_obs), size, generator=self.hand, device=theta.device, dtype=torch.int64
        )
        x = finite("sample(theta)", x).to(self.x_obs).unflatten(0, size)
        return theta, x, self.x_obs[row]

    def train_critics(self, steps, penalty, learning_rate, betas) -> None:
        """Take so many steps with every critic, against proposals that stand still."""
        _, x_sim, x_obs = self.draw(steps * self.size)
        u = torch.rand(*x_sim.shape[:2], 1, generator=self.hand, device=x_sim.device)
        x = torch.stack([x_sim, x_obs, x_obs + u * (x_sim - x_obs)], 1)  # (K, 3, n, L)
        x = x.unflatten(2, (steps, self.size)).permute(2, 0, 4, 1, 3).flatten(3)
        adam = Adam([self.critics.flat], lr=learning_rate, betas=betas, fused=True)
        for columns in x.contiguous():  # (K, L, 3 M)
            self.critics.set_gradient(columns, penalty)
            adam.step()

    @torch.no_grad()
    def judge(self, epoch, learning_rate, gamma, baseline) -> None:
        """Let the critics judge fresh events; set the gradient of every proposal."""
        theta, x_sim, x_obs = self.draw(self.size)
        seen = self.critics(x_sim)
        gap = self.critics(x_obs).mean(1) - seen.mean(1)  # (K,)
        self._demand_finite(gap, epoch, learning_rate)
        self.history[2].append(gap)
        smaller = gap.abs() < self.best[0]
        new = zip(self.proposal.parameters(), self.best[1], strict=True)
        state = [torch.where(smaller[:, None], now, old) for now, old in new]
        self.best = (torch.where(smaller, gap.abs(), self.best[0]), state)
        mean, log_sd = self.proposal.mean, self.proposal.log_sd
        mean.grad, slope = score_gradient(theta, -seen, mean, log_sd, baseline)
        log_sd.grad = slope + gamma[:, None]  # entropy() grows by one per unit of each log sd

    def note(self, epoch, learning_rate) -> None:
        """Write down where the proposals are now."""
        mean, log_sd = self._state()
        self._demand_finite((mean + log_sd.exp()).sum(1), epoch, learning_rate)
        self.history[0].append(mean)
        self.history[1].append(log_sd.exp())

    def _demand_finite(self, value: Tensor, epoch: int, learning_rate: float) -> None:
        bad = (~torch.isfinite(value)).nonzero()
        if not len(bad):
            return
        with torch.no_grad():
            for now, best in zip(self.proposal.parameters(), self.best[1], strict=True):
                now.copy_(best)
        gaps = [gap[bad[0, 0]].item() for gap in self.history[2][-1:]]
        raise TrainingDiverged(epoch, learning_rate, gaps[0] if gaps else float("nan"))
