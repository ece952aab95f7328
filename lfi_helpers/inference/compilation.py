"""Inference compilation: train a network on runs of a program to propose its draws, given data.

Must never know what the program computes.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from lfi_helpers.arguments import finite, positive
from lfi_helpers.inference.families import Family, Normal
from lfi_helpers.inference.importance import Weighted
from lfi_helpers.inference.programs import weighted
from lfi_helpers.inference.proposals import ProposalNet, draw_u, features, log_density
from lfi_helpers.inference.tracing import Recorder, Trace
from lfi_helpers.run import generator, spawn_seeds
from lfi_helpers.training import History, fit

BATCH, CANDIDATES = 1024, 8  # traces per step, and times as many to choose them from
BINS, RARE = 32, 20  # of the histogram that flattens; a bin with fewer is not lifted further


class CompiledProposal:
    """A program with a network that proposes its draws: made by ``compile_program``."""

    def __init__(self, program: Callable, net: ProposalNet, places: dict[str, int]):
        self.program, self.net, self.places = program, net, places
        self.history: History | None = None

    def sample(self, observed: Mapping[str, object], n: int, seed: int = 0) -> Weighted:
        """Weigh n runs whose draws the network proposes, for any data of the trained form.

        Raises:
            ValueError: if there are not as many observed values as in training.
            UntracedRandomness, ObservationNotReached, AddressChangedType: as ``Recorder``.
        """
        return weighted(self.traces(observed, n, seed))

    @torch.no_grad()
    def traces(self, observed: Mapping[str, object], n: int, seed: int = 0) -> list[Trace]:
        """Run n programs in lock step: each stops at its next draw, one pass proposes for all."""
        g, net = generator(seed, 1), self.net
        y = torch.from_numpy(np.concatenate([np.ravel(value) for value in observed.values()]))
        if len(y) != len(net.y_mean):
            raise ValueError(f"observed: expected {len(net.y_mean)} values, got {len(y)}")
        recorder = Recorder(self.program, observed, seed)
        embedded = net.embed(y[None].to(net.y_mean)).expand(n, -1)
        memory, known, done = net.start(n), [{} for _ in range(n)], [None] * n
        waiting = list(range(n))
        while waiting:
            stops = []
            for i in waiting:
                try:
                    done[i] = recorder.run(_until_next(known[i], self.places))
                except _Stop as stop:
                    stops.append((i, stop.address, stop.family))
            waiting = [i for i, _, _ in stops]
            if waiting:
                index = torch.tensor(waiting, device="cpu")
                place = torch.tensor([self.places[_place(a)] for _, a, _ in stops], device="cpu")
                state, row = net.advance([part[index] for part in memory], place)
                mixture = [part.double() for part in net.mixture(row, embedded[index])]
                u = _propose(mixture, stops, known, g)
                for part, new in zip(memory, (state, u.to(state), place), strict=True):
                    part[index] = new
        return done


class _Stop(Exception):
    """A program has reached a draw that is still to be proposed."""

    def __init__(self, address: str, family: Family):
        super().__init__(address)
        self.address, self.family = address, family


def _place(address: str) -> str:
    """Return code position and call stack of an address: shared by all passes of a loop."""
    return address.split("#")[0]


def _until_next(known: dict, places: dict[str, int]):
    """Replay what is known and stop at the next draw; unknown places draw from their prior."""

    def choose(address, family, rng):
        if address in known:
            return known[address]
        if _place(address) in places:
            raise _Stop(address, family)
        value = family.quantile(rng.random())
        known[address] = value, family.log_prob(value)
        return known[address]

    return choose


def _propose(mixture, stops, known, g: torch.Generator) -> Tensor:
    """Draw one value for each program that waits; note it with its log q; return where it lies."""
    values = [
        f.quantile(u) for u, (_, _, f) in zip(draw_u(mixture, g).tolist(), stops, strict=True)
    ]
    spans = [f.span(v) for v, (_, _, f) in zip(values, stops, strict=True)]
    low, high = torch.tensor(spans, dtype=torch.float64, device="cpu").T
    log_q = log_density(mixture, low, high).tolist()
    for (i, address, family), value, log_q_i, (a, b) in zip(
        stops, values, log_q, spans, strict=True
    ):
        density = family.log_prob(value) if a == b else 0.0  # of the value, not of u
        known[i][address] = value, density + log_q_i
    return (low + high) / 2


def compile_program(
    program: Callable,
    observed: Mapping[str, object],
    *,
    n_traces: int = 100_000,
    n_steps: int = 500,
    only: str = "",
    seed: int = 0,
    progress: bool = True,
) -> CompiledProposal:
    r"""Train a network to propose a program's draws, by runs of the program only.

    .. math:: \min_\phi\, \mathbb{E}_{p(x, y)}\Big[-\sum_t \log q_\phi(x_t | x_{<t}, y)\Big]

    Rejected passes of a loop are part of x. Each step redraws normal observations given the trace,
    and chooses its batch such that all means of the observation are equally frequent: the law of
    x given y is the same, and rare data are seen. Source: arXiv:1610.09900.

    Args:
        program: a function of a generator that returns one number or D of them.
        observed: name of a function in the program -> values; only their number matters here.
        n_traces: runs of the program to learn from.
        n_steps: gradient steps of 1024 traces.
        only: part of the addresses of interest. A draw whose address does not contain it comes
            from the program's own family, where p / q = 1.
        seed: of every random number.
        progress: show a bar.

    Raises:
        ValueError: if no address contains ``only``, or an observed value is not finite.
        TrainingDiverged: if the loss is not finite.
        UntracedRandomness, ObservationNotReached, AddressChangedType: as ``Recorder``.
    """
    positive("n_traces", n_traces)
    seeds = spawn_seeds(seed, 3)
    recorder = Recorder(program, observed, seeds[0])
    pool = Pool(_of_interest(recorder.run(simulate=True), only) for _ in range(n_traces))
    if not pool.places:
        raise ValueError(f"only: expected part of an address of the program, got {only!r}")
    finite("program: observed values", pool.y)
    net = ProposalNet(len(pool.places), pool.y.mean(0), pool.y.std(0) + 1e-6, seeds[1])
    g = generator(seeds[2])

    def loss(net: ProposalNet, index: Tensor) -> Tensor:
        return pool.loss(net, *pool.flatten(index, g))

    compiled = CompiledProposal(program, net, pool.places)
    compiled.history = fit(
        net,
        loss,
        torch.arange(n_traces, device="cpu"),
        max_steps=n_steps,
        batch_size=min(BATCH * CANDIDATES, n_traces),
        learning_rate=6e-3,
        schedule="one_cycle",
        gradient_clip=5.0,
        validation_fraction=0.0,
        seed=seeds[2],
        device="cpu",
        progress=progress,
    )
    net.eval()
    return compiled


def _of_interest(trace: Trace, only: str) -> Trace:
    """Leave the draws out that are none of the network's."""
    trace.draws = {address: d for address, d in trace.draws.items() if only in address}
    return trace


class Pool:
    """Traces as tensors: their draws one after the other, and the observations (N, L).

    A draw has ``place`` and span, the place ``before`` it (-1: none) and what is ``seen`` of the
    value there. The traces themselves are not kept: a hundred thousand of them are a gigabyte.
    """

    def __init__(self, traces: Iterable[Trace]):
        self.places: dict[str, int] = {}
        number = self.places.setdefault
        length, place, spans, noise, y = [], [], [], [], []
        for trace in traces:
            length.append(len(trace.draws))
            place += [number(_place(a), len(self.places)) for a in trace.draws]
            spans += [d.family.span(d.value) for d in trace.draws.values()]
            seen = trace.observed.values()
            y.append([d.value for d in seen])
            noise.append(
                [d.family if isinstance(d.family, Normal) else (d.value, 0.0) for d in seen]
            )
        self.place = torch.tensor(place, device="cpu", dtype=torch.int64)
        self.length = torch.tensor(length, device="cpu")
        self.start = self.length.cumsum(0) - self.length
        spans = torch.tensor(spans, device="cpu", dtype=torch.float32).reshape(-1, 2)
        self.low, self.high = spans.T.contiguous()
        first = self.start[self.length > 0]
        self.before = self.place.roll(1).index_fill(0, first, -1)
        self.seen = features(spans.mean(1).roll(1), self.before)
        self.noise = torch.tensor(noise, dtype=torch.float32, device="cpu")  # (N, L, 2)
        self.y = torch.tensor(y, dtype=torch.float32, device="cpu")

    def flatten(self, index: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw fresh normal data for candidates; keep a batch with all data equally frequent."""
        loc, scale = self.noise[index].unbind(-1)
        y = loc + scale * torch.randn(loc.shape, generator=g, device="cpu")
        mean = y.mean(1)
        count = torch.histc(mean, BINS, float(mean.min()), float(mean.max()))
        span = (mean.max() - mean.min()).clamp_min(1e-9)
        bin_of = ((mean - mean.min()) / span * BINS).long().clamp_max(BINS - 1)
        weight = 1 / count.clamp_min(RARE)[bin_of]
        size = max(1, len(index) // CANDIDATES)
        keep = torch.multinomial(weight, size, generator=g)
        return index[keep], y[keep]

    def loss(self, net: ProposalNet, index: Tensor, y: Tensor) -> Tensor:
        """Return the mean over traces of -log q(x | y) + log p(x)."""
        order = self.length[index].argsort(descending=True)
        index, embedded = index[order], net.embed(y[order])
        length = self.length[index]
        running = torch.arange(int(length[0]), device="cpu")[:, None] < length  # draw t, trace b
        t, b = running.nonzero(as_tuple=True)
        at = self.start[index][b] + t
        parts = (self.seen, self.before, self.place, self.low, self.high)
        seen, before, place, low, high = (part.index_select(0, at) for part in parts)
        row = net.follow(seen, before, place, running.sum(1).tolist())
        mixture = net.mixture(row, embedded.index_select(0, b))
        return -log_density(mixture, low, high).sum() / len(index)
