"""Infer with programs as models: importance sampling and lightweight Metropolis-Hastings.

Must never know what a program computes; it sees draws, addresses and densities.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.inference.importance import Weighted
from lfi_helpers.inference.tracing import Choose, Recorder, Trace

MAX_STARTS = 10_000  # traces drawn in search of one with a likelihood above zero


class _Impossible(Exception):
    """A kept value has probability zero in the new trace: the step is refused at once."""


@dataclass(frozen=True)
class Walk:
    """A chain of what the program returned, ``theta`` (n, D), and how often a step was taken."""

    theta: Tensor
    accepted: float


def importance_program(
    program: Callable,
    observed: Mapping[str, object],
    n: int,
    *,
    propose: Choose | None = None,
    seed: int = 0,
) -> Weighted:
    r"""Weigh n runs of a program by :math:`w = p(y, x) / q(x)`; the mean weight estimates p(y).

    Args:
        program: a function of a generator that returns one number or D of them.
        observed: name of a function in the program -> values of the draws made in its body.
        n: how many runs.
        propose: ``propose(address, family, rng)`` -> (value, log q(value)), or None for a draw
            from the program's own family; by default always the latter.
        seed: of every draw.

    Raises:
        UntracedRandomness, ObservationNotReached, AddressChangedType: as ``Recorder``.
    """
    recorder = Recorder(program, observed, seed)
    traces = [recorder.run(propose) for _ in range(_count("n", n))]
    return weighted(traces)


def weighted(traces: list[Trace]) -> Weighted:
    """Collect what runs returned, (n, D), and their weights, log p(y, x) - log q(x)."""
    log_weight = torch.tensor([t.log_weight for t in traces], dtype=torch.float64, device="cpu")
    return Weighted(_results([t.result for t in traces]), log_weight)


def metropolis_program(
    program: Callable, observed: Mapping[str, object], n: int, *, seed: int = 0
) -> Walk:
    r"""Walk through the traces of a program: redraw one draw, replay the others, accept or not.

    A step picks one of the L draws of the trace, takes a fresh value from its family and runs the
    program again; the other draws keep their values where their addresses come up again, and are
    fresh elsewhere. ``log_acceptance`` makes the posterior stationary. Source: lightweight
    Metropolis-Hastings (Wingate et al. 2011); addresses as in arXiv:1807.07706.

    Raises:
        BudgetExceeded: if 10 000 runs give no trace with a likelihood above zero.
        UntracedRandomness, ObservationNotReached, AddressChangedType: as ``Recorder``.
    """
    recorder = Recorder(program, observed, seed)
    trace, taken, results = _start(recorder), 0, []
    for _ in range(_count("n", n)):
        trace, moved = step(recorder, trace)
        taken += moved
        results.append(trace.result)
    return Walk(_results(results), taken / n)


def step(recorder: Recorder, trace: Trace) -> tuple[Trace, bool]:
    """Make one step from a trace: the next trace, and whether it is a new one."""
    if not trace.draws:
        return trace, False
    site = list(trace.draws)[int(recorder.rng.integers(len(trace.draws)))]

    def replay(address, family, rng):
        if address == site or address not in trace.draws:
            return None
        value = trace.draws[address].value
        log_prob = family.log_prob(value)
        if log_prob == -math.inf:
            raise _Impossible
        return value, log_prob

    try:
        other = recorder.run(replay)
    except _Impossible:
        return trace, False
    if math.log1p(-recorder.rng.random()) < log_acceptance(trace, other, site):
        return other, True
    return trace, False


def log_acceptance(old: Trace, new: Trace, site: str) -> float:
    r"""Return the logarithm of the ratio that a step at ``site`` is accepted with.

    .. math:: \log\frac{p(y|x')}{p(y|x)} + \sum_{\rm kept} \log\frac{p(x'_a)}{p(x_a)}
              + \log\frac{L}{L'}

    The fresh draws of x' and those of x that the way back would draw afresh cancel against their
    own densities. L and L' are the numbers of draws: a site is picked with 1 / L there and with
    1 / L' on the way back.
    """
    if new.log_likelihood == -math.inf:
        return -math.inf
    kept = [address for address in new.draws if address in old.draws and address != site]
    change = sum(new.draws[a].log_prob - old.draws[a].log_prob for a in kept)
    length = math.log(len(old.draws)) - math.log(len(new.draws))
    return new.log_likelihood - old.log_likelihood + change + length


def _start(recorder: Recorder) -> Trace:
    for _ in range(MAX_STARTS):
        trace = recorder.run()
        if trace.log_likelihood > -math.inf:
            return trace
    raise BudgetExceeded(f"observed: no likelihood above zero in {MAX_STARTS} traces")


def _results(results: list) -> Tensor:
    """Stack what the program returned: (n, D)."""
    try:
        theta = torch.tensor(results, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError) as error:
        raise TypeError(
            "program: expected one number or equally many in every run, got "
            f"{type(results[0]).__name__}"
        ) from error
    return theta.reshape(len(results), -1)


def _count(name: str, n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {n!r}")
    return n
