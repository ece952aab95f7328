"""A network that proposes the discrete choices of a program, one after the other, given data.

Knows choices only as numbers 0 ... size - 1; must never run a program.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lfi_helpers.arguments import batch, same_length
from lfi_helpers.inference.errors import AddressChangedType
from lfi_helpers.inference.families import Integers
from lfi_helpers.inference.tracing import Choose
from lfi_helpers.networks import mlp
from lfi_helpers.run import generator, spawn_seeds
from lfi_helpers.training import fit

EVEN_SHARE = 0.02  # of every proposal: equal probabilities; it bounds the weights
BATCH = 128  # fresh runs of the program per step

Look = Callable[[Tensor, Tensor], Tensor]


class ChoiceNet(nn.Module):
    r"""Propose K choices in their order, each with a head of its own.

    .. math:: q(c | x) = \prod_k \Big[\frac{\epsilon}{S_k}
              + (1 - \epsilon)\, q_k(c_k | c_{<k}, x)\Big], \qquad \epsilon = 0.02

    A head sees the embedded data, all choices before its own, and where these tell it to look.

    Args:
        sizes: how many values each choice has.
        x_dim: width of the data.
        look: (x (N, L), choices before (N, k)) -> what head k sees beside, (N, F_k); F_k may be 0.
        seed: of the initial weights.
    """

    def __init__(self, sizes: tuple[int, ...], x_dim: int, look: Look, seed: int = 0):
        super().__init__()
        self.sizes, self.look, self.x_dim = tuple(sizes), look, x_dim
        build = {"activation": "relu", "device": "cpu"}
        seeds = spawn_seeds(seed, len(self.sizes) + 1)
        self.embedding = mlp(x_dim, 64, (256,), seed=seeds[-1], **build)
        x = torch.zeros(1, x_dim, device="cpu")
        heads = []
        for k, size in enumerate(self.sizes):
            seen = look(x, torch.zeros(1, k, device="cpu")).shape[1]
            width = 64 + sum(self.sizes[:k]) + seen
            heads.append(mlp(width, size, (96,), seed=seeds[k], **build))
        self.heads = nn.ModuleList(heads)

    def head(self, k: int, embedded: Tensor, x: Tensor, choices: Tensor) -> Tensor:
        """Return log q_k of every value of choice k, (N, S_k), without the even share."""
        before = choices[:, :k]
        columns = before.long().unbind(1)
        told = [one_hot(c, size) for c, size in zip(columns, self.sizes, strict=False)]
        seen = torch.cat([embedded, *told, self.look(x, before)], 1)
        return self.heads[k](seen).log_softmax(1)

    def loss(self, choices: Tensor, x: Tensor) -> Tensor:
        """Return the mean of -log q without the even share: what training minimises."""
        embedded = self.embedding(x)
        parts = [
            self.head(k, embedded, x, choices).gather(1, choices[:, k : k + 1].long())
            for k in range(len(self.sizes))
        ]
        return -torch.cat(parts, 1).sum(1).mean()

    @torch.no_grad()
    def log_prob(self, choices: Tensor, x: Tensor) -> Tensor:
        """Return log q(choices | x), (N,), in double precision."""
        choices = batch("choices", choices, len(self.sizes))
        x = batch("x", x, self.x_dim)
        same_length(choices=choices, x=x)
        embedded, total = self.embedding(x), 0.0
        for k in range(len(self.sizes)):
            q = self._shared(k, embedded, x, choices)
            total = total + q.gather(1, choices[:, k : k + 1].long())[:, 0].log()
        return total

    @torch.no_grad()
    def propose(self, x: Tensor, n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n rows of choices for each x: (N, L) -> (N, n, K) and their log q (N, n)."""
        x = batch("x", x, self.x_dim)
        wide, embedded = x.repeat_interleave(n, 0), self.embedding(x).repeat_interleave(n, 0)
        choices, total = wide[:, :0], 0.0
        for k in range(len(self.sizes)):
            q = self._shared(k, embedded, wide, choices)
            value = torch.multinomial(q, 1, generator=g)
            total = total + q.gather(1, value)[:, 0].log()
            choices = torch.cat([choices, value.to(choices)], 1)
        return choices.unflatten(0, (-1, n)), total.unflatten(0, (-1, n))

    def steer(self, x: Tensor, addresses: list[str]) -> Choose:
        """Return the ``propose`` of ``importance_program``, for data x (L,).

        Choice k is the draw at the k-th of the addresses, which draws whole numbers of its size;
        a draw at any other address is left to the program.

        Raises:
            AddressChangedType: if an address draws something else.
        """
        x, made = batch("x", x[None], self.x_dim), []
        with torch.no_grad():
            embedded = self.embedding(x)

        @torch.no_grad()
        def choose(address, family, rng):
            if address not in addresses:
                return None
            k = addresses.index(address)
            if not isinstance(family, Integers) or family.high - family.low != self.sizes[k]:
                raise AddressChangedType(
                    f"{address}: expected {self.sizes[k]} whole numbers, got {family!r}"
                )
            del made[k:]  # another run has begun
            q = self._shared(k, embedded, x, x.new_tensor([made]))[0]
            value = min(int((q.cumsum(0) < rng.random()).sum()), len(q) - 1)
            made.append(value)
            return family.low + value, float(q[value].log())

        return choose

    def _shared(self, k: int, embedded: Tensor, x: Tensor, choices: Tensor) -> Tensor:
        """Return q_k with the even share, (N, S_k), in double precision."""
        q = self.head(k, embedded, x, choices).double().exp()
        return (1 - EVEN_SHARE) * q / q.sum(1, keepdim=True) + EVEN_SHARE / q.shape[1]


def compile_choices(
    sample: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    sizes: tuple[int, ...],
    look: Look,
    *,
    n_steps: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> ChoiceNet:
    r"""Train a ``ChoiceNet`` on 128 fresh runs of a program per step.

    .. math:: \min_\phi\, \mathbb{E}_{p(c, x)}[-\log q_\phi(c | x)]

    Source: arXiv:1610.09900.

    Args:
        sample: (n, generator) -> choices (n, K) and data (n, L) of n runs.
        sizes, look: as ``ChoiceNet`` has them.
        n_steps: gradient steps.
        seed: of every random number.
        progress: show a bar.

    Raises:
        TrainingDiverged: if the loss is not finite.
    """
    seeds = spawn_seeds(seed, 2)
    g = generator(seeds[0])
    net = ChoiceNet(sizes, sample(1, g)[1].shape[1], look, seeds[1])
    fit(
        net,
        lambda net, index: net.loss(*sample(len(index), g)),
        torch.arange(16 * BATCH, device="cpu"),  # rows that stand for fresh runs
        max_steps=n_steps,
        batch_size=BATCH,
        learning_rate=3e-3,
        validation_fraction=0.0,
        seed=seeds[0],
        device="cpu",
        progress=progress,
    )
    return net.eval()
