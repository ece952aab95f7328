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
        widths = len(y_mean), 48
        self.embedding = mlp(*widths, (64,), activation="relu", seed=seed, device="cpu")
        self.head = mlp(
            32 + 48 + FEATURES + n_places,
            3 * COMPONENTS,
            (64, 64),
            activation="relu",
            seed=seed + 1,
            device="cpu",
        )
        with seeded(seed + 2):
            self.cell = nn.GRUCell(FEATURES + 2 * n_places, 32, device="cpu")
        with torch.no_grad():  # start with components of many places and widths
            k = torch.arange(COMPONENTS, device="cpu")
            middle = (k + 0.5) / COMPONENTS
            self.head[-1].bias[COMPONENTS : 2 * COMPONENTS] = torch.logit(middle)
            self.head[-1].bias[2 * COMPONENTS :] = torch.tensor([-3.0, -1.0], device="cpu")[k % 2]

    def embed(self, y: Tensor) -> Tensor:
        """Embed observations: (N, L) -> (N, 48)."""
        return self.embedding((y - self.y_mean) / self.y_scale)

    def start(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the memory before the first draw of n traces: state, u and place drawn last."""
        like = self.y_mean
        return (
            like.new_zeros(n, 32),
            like.new_zeros(n),
            torch.full((n,), -1, device=like.device, dtype=torch.int64),
        )

    def advance(self, memory, place: Tensor) -> tuple[Tensor, Tensor]:
        """Read what was drawn last and where the next draw is: new state, row for the head."""
        state, u, before = memory
        seen = _features(u) * (before >= 0)[:, None]
        here = nn.functional.one_hot(place, self.n_places).to(u.dtype)
        there = nn.functional.one_hot(before.clamp_min(0), self.n_places) * (before >= 0)[:, None]
        state = self.cell(torch.cat([seen, there.to(u.dtype), here], 1), state)
        return state, torch.cat([state, seen, here], 1)

    def mixture(self, row: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights, means and widths of the components, each (N, 10)."""
        raw = self.head(torch.cat([row, embedded], 1)).unflatten(1, (3, COMPONENTS))
        width = SMALLEST + (LARGEST - SMALLEST) * raw[:, 2].sigmoid()
        return raw[:, 0].log_softmax(1), raw[:, 1].sigmoid(), width


def _features(u: Tensor) -> Tensor:
    angle = math.pi * u[:, None] * 2.0 ** torch.arange(OCTAVES, device=u.device)
    return torch.cat([2 * u[:, None] - 1, angle.sin(), angle.cos()], 1)


def log_density(mixture, low: Tensor, high: Tensor) -> Tensor:
    """Return log q of u where low = high, the logarithm of q's integral over (low, high) else."""
    log_w, m, s = mixture
    low, high = low[:, None], high[:, None]
    inside = _phi((1 - m) / s) - _phi(-m / s)
    log_normal = -0.5 * ((low - m) / s) ** 2 - s.log() - math.log(2 * math.pi) / 2
    point = high == low
    mass = _phi((high - m) / s) - _phi((low - m) / s)
    log_part = torch.where(point, log_normal, mass.clamp_min(1e-30).log()) - inside.log()
    prior = torch.where(point, 1.0, high - low)[:, 0]
    learned = torch.logsumexp(log_w + log_part, 1) + math.log(1 - PRIOR_SHARE)
    return torch.logaddexp(learned, (PRIOR_SHARE * prior).log())


def draw_u(mixture, generator: torch.Generator) -> Tensor:
    """Draw u from q: (N,), strictly inside (0, 1)."""
    log_w, m, s = mixture
    random = torch.rand(2, len(m), generator=generator, device="cpu", dtype=m.dtype)
    k = torch.multinomial(log_w.exp(), 1, generator=generator)
    m, s = m.gather(1, k)[:, 0], s.gather(1, k)[:, 0]
    left, right = _phi(-m / s), _phi((1 - m) / s)
    u = m + s * torch.special.ndtri(left + (right - left) * random[0])
    prior = random[1] < PRIOR_SHARE
    return torch.where(prior, random[0], u).clamp(1e-12, 1 - 1e-12)


def _phi(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
