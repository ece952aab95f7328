"""A recurrent network that proposes the next draw of a program, given those before and the data.

Knows draws only as numbers u in (0, 1) and numbered places; must never run a program.
"""

import math

import torch
from torch import Tensor, nn

from lfi_helpers.networks import mlp
from lfi_helpers.run import seeded

PRIOR_SHARE = 0.1  # of every proposal, in training, too: it bounds the weights
COMPONENTS = 10  # truncated normals beside it
SMALLEST, LARGEST = 0.004, 1.0  # their widths
OCTAVES = 6  # sin and cos of pi 2^j u, j < 6, show the next layers a fine u
FEATURES = 1 + 2 * OCTAVES
MEMORY, WIDTH = 32, 64  # of the recurrent unit, of every other layer


class ProposalNet(nn.Module):
    r"""Give the density of the next u in (0, 1): 0.1 + 0.9 sum of truncated normals.

    .. math:: q(u) = \alpha + (1 - \alpha) \sum_k w_k
              \frac{N(u; m_k, s_k)}{\Phi((1 - m_k)/s_k) - \Phi(-m_k/s_k)}

    A gated recurrent unit reads place and value of every draw; the head sees its state, the
    embedded observation, the value just drawn and the place of the next one. u is the prior's own
    quantile, so that q = 1 is the prior, whatever family draws there.

    Args:
        n_places: how many places of the program draw.
        y_mean, y_scale: location and scale of the observation, (L,) each.
        seed: of the initial weights.
    """

    def __init__(self, n_places: int, y_mean: Tensor, y_scale: Tensor, seed: int = 0):
        super().__init__()
        self.n_places = n_places
        self.register_buffer("y_mean", y_mean)
        self.register_buffer("y_scale", y_scale)
        layers = {"activation": "relu", "device": "cpu"}
        self.embedding = mlp(len(y_mean), WIDTH, (WIDTH,), seed=seed, **layers)
        self.head = mlp(WIDTH, 3 * COMPONENTS, (WIDTH,), seed=seed + 1, **layers)
        with seeded(seed + 2):
            self.entry = nn.Linear(MEMORY + FEATURES + n_places, WIDTH, device="cpu")
            self.cell = nn.GRUCell(FEATURES + 2 * n_places, MEMORY, device="cpu")
        with torch.no_grad():  # start with components of many places and widths
            k = torch.arange(COMPONENTS, device="cpu")
            middle = (k + 0.5) / COMPONENTS
            self.head[-1].bias[COMPONENTS : 2 * COMPONENTS] = torch.logit(middle)
            self.head[-1].bias[2 * COMPONENTS :] = torch.tensor([-3.0, -1.0], device="cpu")[k % 2]

    def embed(self, y: Tensor) -> Tensor:
        """Embed observations: (N, L) -> (N, 64)."""
        return self.embedding((y - self.y_mean) / self.y_scale)

    def start(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the memory before the first draw of n traces: state, u and place drawn last."""
        like = self.y_mean
        return (
            like.new_zeros(n, MEMORY),
            like.new_zeros(n),
            torch.full((n,), -1, device=like.device, dtype=torch.int64),
        )

    def advance(self, memory, place: Tensor) -> tuple[Tensor, Tensor]:
        """Read what was drawn last and where the next draw is: new state, row for the head."""
        state, u, before = memory
        x, row = self._read(features(u, before), before, place)
        state = self.cell(x, state)
        return state, torch.cat([state, row], 1)

    def follow(self, seen: Tensor, before: Tensor, place: Tensor, sizes: list[int]) -> Tensor:
        """Advance through whole traces at once: rows for the head, (sum of sizes, ...).

        The draws come in the order in which all traces together make them: first ``sizes[0]``
        first draws, then ``sizes[1]`` second draws of the leading traces, and so on. The same as
        ``advance``, draw by draw; but what does not depend on the state is computed in one piece.
        """
        x, row = self._read(seen, before, place)
        cell, state, states = self.cell, x.new_zeros(sizes[0], MEMORY), []
        linear, widths = nn.functional.linear, (2 * MEMORY, MEMORY)
        gates, new = linear(x, cell.weight_ih, cell.bias_ih).split(widths, 1)
        for gate, fresh in zip(gates.split(sizes), new.split(sizes), strict=True):
            state = state[: len(gate)]
            old = linear(state, cell.weight_hh, cell.bias_hh).split(widths, 1)
            reset, keep = (gate + old[0]).sigmoid().chunk(2, 1)
            state = torch.addcmul(fresh, reset, old[1]).tanh().lerp(state, keep)
            states.append(state)
        return torch.cat([torch.cat(states), row], 1)

    def _read(self, seen: Tensor, before: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the recurrent unit reads, and the part of it that the head sees, too."""
        here = nn.functional.one_hot(place, self.n_places).to(seen.dtype)
        there = nn.functional.one_hot(before + 1, self.n_places + 1)[:, 1:].to(seen.dtype)
        row = torch.cat([seen, here], 1)
        return torch.cat([row, there], 1), row

    def mixture(self, row: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights, means and widths of the components, each (N, 10)."""
        raw = self.head((self.entry(row) + embedded).relu()).T  # (30, N): fast sums over k
        w, m, s = raw.split(COMPONENTS)
        return w.softmax(0).T, m.sigmoid().T, (SMALLEST + (LARGEST - SMALLEST) * s.sigmoid()).T


def features(u: Tensor, before: Tensor) -> Tensor:
    """Show u of the draw before: u, and sines and cosines of it; zero if there was none."""
    angle = math.pi * u[:, None] * 2.0 ** torch.arange(OCTAVES, device=u.device)
    shown = torch.cat([2 * u[:, None] - 1, angle.sin(), angle.cos()], 1)
    return shown * (before >= 0)[:, None]


def log_density(mixture, low: Tensor, high: Tensor) -> Tensor:
    """Return log q of u where low = high, the logarithm of q's integral over (low, high) else.

    The prior's share keeps q above 0.1: no logarithm of a part is needed.
    """
    w, m, s = mixture
    low, high = low[:, None], high[:, None]
    scale = math.sqrt(0.5) / s
    inside = ((1 - m) * scale).erf() + (m * scale).erf()  # twice the integral over (0, 1)
    part = (2 / math.sqrt(math.pi)) * scale * (-(((low - m) * scale) ** 2)).exp()
    point, prior = high == low, torch.ones_like(low)
    if not point.all():
        mass = ((high - m) * scale).erf() - ((low - m) * scale).erf()
        part, prior = torch.where(point, part, mass), torch.where(point, prior, high - low)
    learned = (w * part / inside).sum(1)
    return ((1 - PRIOR_SHARE) * learned + PRIOR_SHARE * prior[:, 0]).log()


def draw_u(mixture, generator: torch.Generator) -> Tensor:
    """Draw u from q: (N,), strictly inside (0, 1)."""
    w, m, s = mixture
    random = torch.rand(2, len(m), generator=generator, device="cpu", dtype=m.dtype)
    k = torch.multinomial(w, 1, generator=generator)
    m, s = m.gather(1, k)[:, 0], s.gather(1, k)[:, 0]
    left, right = _phi(-m / s), _phi((1 - m) / s)
    u = m + s * torch.special.ndtri(left + (right - left) * random[0])
    prior = random[1] < PRIOR_SHARE
    return torch.where(prior, random[0], u).clamp(1e-12, 1 - 1e-12)


def _phi(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
