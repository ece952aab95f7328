"""Record every draw of a Python program under an address, and replay it: hijack its generator.

Must never know what the program computes, and draws only from a generator of its own.

A program is any function of one argument, a generator; it uses it as a ``numpy.random.Generator``.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np

from lfi_helpers.inference import families
from lfi_helpers.inference.errors import (
    AddressChangedType,
    BudgetExceeded,
    ObservationNotReached,
    UntracedRandomness,
)
from lfi_helpers.inference.families import Family
from lfi_helpers.run import check_seed

MAX_DRAWS = 100_000  # of one trace: a loop that does not end is an error
REPLAYS = 8  # traces that are run twice to see that nothing else is random


class Draw(NamedTuple):
    """One draw: its family, the value, log p(value) and log q(value) of the proposal."""

    family: Family
    value: float
    log_prob: float
    log_proposal: float


ARRAY = (np.ndarray, list, tuple)
Choose = Callable[[str, Family, np.random.Generator], "tuple[float, float] | None"]


@dataclass
class Trace:
    """One run: ``draws`` and ``observed`` by address, in order, and what the program returned."""

    draws: dict[str, Draw] = field(default_factory=dict)
    observed: dict[str, Draw] = field(default_factory=dict)
    result: object = None

    @property
    def log_likelihood(self) -> float:
        """Return the log density of what was observed, given the draws before it."""
        return sum(draw.log_prob for draw in self.observed.values())

    @property
    def log_weight(self) -> float:
        """Return log p(observed, draws) - log q(draws) of the proposal that chose them."""
        draws = self.draws.values()
        return self.log_likelihood + sum(d.log_prob - d.log_proposal for d in draws)


class Tracer:
    """Stand in for a ``numpy.random.Generator``; every element drawn has an address of its own.

    Has ``random``, ``uniform``, ``normal``, ``standard_normal``, ``exponential``, ``poisson``,
    ``integers`` and ``choice`` (with replacement), with numpy's arguments.
    """

    def __init__(self, recorder: "Recorder", choose: Choose | None, simulate: bool):
        self._recorder, self._choose, self._simulate = recorder, choose, simulate
        self._seen, self._given = {}, dict.fromkeys(recorder.observed, 0)
        self.trace = Trace()

    def __getattr__(self, name: str):
        raise AttributeError(f"rng.{name}: not traced; {Tracer.__doc__.split('Has ')[1].strip()}")

    def random(self, size=None):
        """Draw from [0, 1)."""
        return self._draw(families.Uniform, (0.0, 1.0), size)

    def uniform(self, low=0.0, high=1.0, size=None):
        """Draw from [low, high)."""
        return self._draw(families.Uniform, (low, high), size)

    def normal(self, loc=0.0, scale=1.0, size=None):
        """Draw from a normal law."""
        return self._draw(families.Normal, (loc, scale), size)

    def standard_normal(self, size=None):
        """Draw from the normal law with mean 0 and width 1."""
        return self._draw(families.Normal, (0.0, 1.0), size)

    def exponential(self, scale=1.0, size=None):
        """Draw waiting times of mean scale."""
        return self._draw(families.Exponential, (scale,), size)

    def poisson(self, lam=1.0, size=None):
        """Draw counts of mean lam."""
        return self._draw(families.Poisson, (lam,), size)

    def integers(self, low, high=None, size=None):
        """Draw whole numbers low ... high - 1."""
        return self._draw(families.Integers, (0, low) if high is None else (low, high), size)

    def choice(self, a, size=None, replace=True, p=None):
        """Draw elements of a, or of 0 ... a - 1, with probabilities p."""
        values = np.arange(a) if isinstance(a, int | np.integer) else np.asarray(a)
        p = np.full(len(values), 1 / len(values)) if p is None else np.asarray(p, dtype=float)
        if p.shape != values.shape:
            raise ValueError(f"p: expected shape {values.shape}, got {p.shape}")
        if not replace and size is not None:
            raise ValueError("replace: expected True, draws without replacement are not traced")
        probabilities = tuple(p.tolist())
        return values[self._draw(lambda: families.Categorical(probabilities), (), size)]

    def _draw(self, make: Callable[..., Family], parameters: tuple, size):
        """Draw one value, or an array of them, element by element."""
        frame = sys._getframe(2)
        name, base = frame.f_code.co_name, _address(_calls(frame))
        count = self._seen.get(base, 0)
        self._seen[base] = count + 1
        address = f"{base}#{count}"
        wide = [p for p in parameters if isinstance(p, ARRAY)]
        if size is None and not wide:
            return self._one(name, base, address, make(*parameters))
        shape = np.broadcast_shapes(*map(np.shape, wide)) if size is None else size
        n = math.prod(shape) if isinstance(shape, tuple) else int(shape)
        if wide:
            columns = [np.broadcast_to(p, shape).ravel().tolist() for p in parameters]
            rows = [make(*row) for row in zip(*columns, strict=True)]
        else:
            rows = [make(*parameters)] * n
        values = [self._one(name, base, f"{address}[{i}]", f) for i, f in enumerate(rows)]
        return np.array(values).reshape(shape)

    def _one(self, name: str, base: str, address: str, family: Family):
        """Take one value: the observed one, the chosen one, or a fresh one from the prior."""
        if not family.valid():
            raise ValueError(f"{address}: expected valid parameters, got {family}")
        recorder, trace = self._recorder, self.trace
        if recorder.types.setdefault(base, type(family)) is not type(family):
            raise AddressChangedType(
                f"{address}: expected {recorder.types[base].__name__} as before, got {family!r}"
            )
        if name in recorder.observed:
            values, k = recorder.observed[name], self._given[name]
            if k == len(values):
                raise ObservationNotReached(
                    f"observed[{name!r}]: expected {k} draws in {name}, the program made more"
                )
            self._given[name] += 1
            value = family.quantile(recorder.rng.random()) if self._simulate else values[k]
            trace.observed[address] = Draw(family, value, family.log_prob(value), 0.0)
            return value
        if len(trace.draws) >= MAX_DRAWS:
            raise BudgetExceeded(f"a trace has {MAX_DRAWS} draws and did not end; last {address}")
        chosen = self._choose(address, family, recorder.rng) if self._choose else None
        if chosen is None:
            value = family.quantile(recorder.rng.random())
            log_prob = log_proposal = family.log_prob(value)
        else:
            value, log_proposal = chosen
            log_prob = family.log_prob(value)
        trace.draws[address] = Draw(family, value, log_prob, log_proposal)
        return value


class Recorder:
    """Run a program with some of its draws observed.

    Args:
        program: a function of one argument, which it uses as a ``numpy.random.Generator``.
        observed: name of a function of the program -> the values that the draws made in its body
            take, in this order. Nothing else of the program needs to change.
        seed: of the draws.

    Raises:
        UntracedRandomness: if a run repeated with the same draws ends otherwise.
        ObservationNotReached: if a run makes fewer or more of the observed draws than values.
        AddressChangedType: if an address has draws of two families.
        BudgetExceeded: if a run makes 100 000 draws.
    """

    def __init__(self, program: Callable, observed: Mapping[str, object], seed: int = 0):
        if not callable(program):
            raise TypeError(f"program: expected a function, got {type(program).__name__}")
        values = {name: np.ravel(value).tolist() for name, value in observed.items()}
        self.program, self.observed = program, values
        self.rng = np.random.default_rng(check_seed(seed))
        self.types: dict[str, type] = {}
        for _ in range(REPLAYS):
            self._replay(self.run())

    def run(self, choose: Choose | None = None, simulate: bool = False) -> Trace:
        """Run once; ``choose(address, family, rng)`` gives (value, log q), or None: the prior.

        With ``simulate`` the observed draws are made, too: the trace has data of its own.
        """
        tracer = Tracer(self, choose, simulate)
        tracer.trace.result = self.program(tracer)
        for name, values in self.observed.items():
            if tracer._given[name] < len(values):
                got = tracer._given[name]
                raise ObservationNotReached(
                    f"observed[{name!r}]: expected {len(values)} draws in a function of this "
                    f"name, the program ended after {got}"
                )
        return tracer.trace

    def _replay(self, trace: Trace) -> None:
        def again(address, family, rng):
            draw = trace.draws.get(address)
            return None if draw is None else (draw.value, draw.log_proposal)

        other = self.run(again)
        if _text(other) != _text(trace):
            raise UntracedRandomness(
                "program: expected every random number from the generator handed to it, but with "
                f"equal draws it returned {trace.result!r} and then {other.result!r}"
            )


def _text(trace: Trace) -> str:
    """Return all of a trace as text, but where its objects lie in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(trace))


def _calls(frame) -> tuple:
    """Return the call stack below ``Recorder.run``: pairs of code and position, outermost last."""
    path = []
    while frame is not None and frame.f_code is not Recorder.run.__code__:
        path.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(path)


@lru_cache(maxsize=10_000)
def _address(path: tuple) -> str:
    return "/".join(_place(code, at) for code, at in reversed(path))


def _place(code, at: int) -> str:
    """Return function, line and columns: the offset itself moves when Python warms up."""
    line, last, column, end = next(islice(code.co_positions(), at // 2, None))
    return f"{code.co_qualname}@{line}:{column}-{last}:{end}"
