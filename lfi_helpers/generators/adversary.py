"""One critic of two samples, and what it gains in each of the games.

Knows rows of data and rows made; must never know who made them.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from lfi_helpers.arguments import batch, finite, one_of
from lfi_helpers.generators.critic import Critics
from lfi_helpers.run import generator

BETAS = (0.5, 0.9)  # of Adam: little momentum, since the opponent moves
PENALTY = {"gan": 0.02, "wgan_gp": 0.5, "wgan_lp": 0.5}
KINKS = 1.0  # the first layer's biases: its kinks lie at most so far from the centre of the data


class Adversary(nn.Module):
    r"""A function f of rows x (N, L), (N,), that learns to be large on data and small on others.

    In the game ``"gan"`` f is a logit, :math:`D = 1/(1 + e^{-f})` the probability to be data. In
    ``"wgan_gp"`` and ``"wgan_lp"`` f is in the units of x, and the difference of its means
    estimates Wasserstein's distance. Inside, x is centred and divided by one number, the standard
    deviation of the data over all features: the features should have comparable units.

    Args:
        data: rows that set centre and scale, (N, L).
        kind: ``"gan"``, ``"wgan_gp"`` or ``"wgan_lp"``.
        hidden: width of the two hidden layers.
        seed: of the first weights.
        device: where it lives.
    """

    def __init__(self, data: Tensor, kind: str, hidden: int, seed: int, device: torch.device):
        super().__init__()
        self.kind = one_of("kind", kind, GAMES)
        self.register_buffer("centre", data.mean(0).to(device))
        self.register_buffer("scale", data.var(0).mean().sqrt().to(device))
        if not self.scale > 0:
            raise ValueError("data: expected rows that differ, got equal ones")
        self.critics = Critics(1, data.shape[1], hidden, seed=seed, device=device)
        hand = generator(seed, 1)
        spread = torch.rand(1, hidden, generator=hand, device="cpu") * 2 - 1
        self.critics.weights[1].copy_(KINKS * spread)
        self.adam = Adam([self.critics.flat], lr=1.0, betas=BETAS, fused=True)

    def inward(self, x: Tensor) -> Tensor:
        """Return rows (N, L) as the columns that the critic sees, (1, L, N)."""
        return ((x - self.centre) / self.scale).mT[None]

    def outward(self, columns: Tensor) -> Tensor:
        """Return such columns as rows again."""
        return columns[0].mT * self.scale + self.centre

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return f of each row, on the rows' device: (N, L) -> (N,)."""
        x = batch("x", x, len(self.centre))
        f, _ = self.critics.judge(self.inward(x.to(self.centre)))
        return (f[0] * self._unit()).to(x.device)

    @torch.no_grad()
    def slope(self, x: Tensor) -> Tensor:
        """Return the gradient of f in each row, on the rows' device: (N, L) -> (N, L)."""
        x = batch("x", x, len(self.centre))
        _, slope = self.critics.judge(self.inward(x.to(self.centre)))
        return (slope[0].mT * (self._unit() / self.scale)).to(x.device)

    def _unit(self) -> Tensor | float:
        return 1.0 if self.kind == "gan" else self.scale

    def learn(self, data: Tensor, made: Tensor, penalty: float, rate: float, hand) -> Tensor:
        """Take one step against columns (1, L, M) of data and of rows made; return the value."""
        rows, pulls = GAMES[self.kind](data, made, penalty, hand)
        value = self.critics.set_gradient_of(rows, pulls)
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()
        return value

    def teach(self, made: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's loss on columns made, and its gradient in them, (1, L, M)."""
        f, slope = self.critics.judge(made)
        if self.kind != "gan":
            return -f.mean(), -slope / made.shape[2]
        return softplus(-f).mean(), -torch.sigmoid(-f)[:, None] * slope / made.shape[2]


def _gan(data: Tensor, made: Tensor, penalty: float, hand):
    """Return the columns to judge, and the pulls of -V + penalty / 2 E_p |slope|^2."""
    m = data.shape[2]

    def pulls(f, g):
        on_data, on_made = f[:, :m], f[:, m:]
        value = -softplus(-on_data).mean() - softplus(on_made).mean()
        on_f = torch.cat([-torch.sigmoid(-on_data), torch.sigmoid(on_made)], 1) / m
        on_g = torch.cat([g[:, :, :m] * (penalty / m), torch.zeros_like(made)], 2)
        return value, on_f, on_g

    return torch.cat([data, made], 2), pulls


def _wgan(data: Tensor, made: Tensor, penalty: float, hand, shallowest: float):
    """Return the columns, and the pulls of E_q f - E_p f + penalty E (|slope| - 1)^2.

    Slopes below ``shallowest`` pay nothing: 0 punishes both sides of 1, and 1 one of them.
    """
    m = data.shape[2]
    share = torch.rand(1, 1, m, generator=hand, device=data.device)

    def pulls(f, g):
        value = f[:, :m].mean() - f[:, m : 2 * m].mean()
        on_f = torch.zeros_like(f)
        on_f[:, :m], on_f[:, m : 2 * m] = -1 / m, 1 / m
        between = g[:, :, 2 * m :]
        norm = torch.linalg.vector_norm(between, dim=1, keepdim=True)
        norm = norm.clamp(min=max(shallowest, 1e-12))
        on_g = torch.zeros_like(g)
        on_g[:, :, 2 * m :] = between * ((1 - 1 / norm) * (2 * penalty / m))
        return value, on_f, on_g

    return torch.cat([data, made, made + share * (data - made)], 2), pulls


GAMES = {
    "gan": _gan,
    "wgan_gp": partial(_wgan, shallowest=0.0),
    "wgan_lp": partial(_wgan, shallowest=1.0),
}


def sample_of(name: str, rows: Tensor) -> Tensor:
    """Return rows as a finite float32 sample, (N, L), of at least two rows."""
    rows = finite(name, batch(name, rows)).float()
    if len(rows) < 2:
        raise ValueError(f"{name}: expected at least 2 rows, got {len(rows)}")
    return rows
