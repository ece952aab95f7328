"""How a run is set up: scale, seeds, device, threads.

Imports torch and records; must never import a room.

Nothing here touches the global random state: randomness enters through explicit generators.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from lfi_helpers.records import RUN_MIME, SCALES, publish

_GLOBAL_STATE = threading.RLock()  # torch has one global state: one thread at a time may borrow it


@dataclass(frozen=True)
class Run:
    """What one run of a notebook was asked for: scale, seed, device."""

    scale: str
    seed: int
    device: torch.device

    def generator(self, stream: int = 0) -> torch.Generator:
        """Return a CPU generator for one independent stream of this run's randomness."""
        return generator(self.seed, stream)


def start(scale: str = "teaching", seed: int = 0, device: str = "auto") -> Run:
    """Set up a run: check scale and seed, bound the threads, record both for the runner.

    Args:
        scale: one of ``SCALES``; it changes sizes only, never what is computed.
        seed: a non-negative integer below 2**63; every stream of the run derives from it.
        device: ``"auto"`` or any name that torch knows.

    Raises:
        ValueError: if scale, seed or device is not one of these.
    """
    if scale not in SCALES:
        raise ValueError(f"scale: expected one of {SCALES}, got {scale!r}")
    seed = check_seed(seed)
    set_threads()
    run = Run(scale, seed, pick_device(device))
    text = f"scale {scale}, seed {seed}, device {run.device}"
    publish(RUN_MIME, {"scale": scale, "seed": seed}, text)
    return run


def check_seed(seed: int) -> int:
    """Return seed as an int, or raise if it is not an integer in [0, 2**63)."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed: expected an integer, got {type(seed).__name__}")
    seed = seed.__index__()
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected 0 <= seed < 2**63, got {seed}")
    return seed


def spawn_seeds(seed: int, n: int) -> list[int]:
    """Derive n independent seeds from one (the same first k for every n >= k)."""
    import numpy as np

    children = np.random.SeedSequence(check_seed(seed)).spawn(n)
    return [int(child.generate_state(1, np.uint64)[0] >> 1) for child in children]


def generator(seed: int, stream: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on ``device``; streams of one seed are independent."""
    g = torch.Generator(device=device)
    g.manual_seed(spawn_seeds(seed, stream + 1)[stream])
    return g


@contextmanager
def seeded(source: int | torch.Generator) -> Iterator[None]:
    """Seed torch's global generators inside the block only; their state is restored after it.

    Layers' initialisations and ``torch.distributions`` know no generator: this is the one door
    through which they get their randomness. ``source`` is a seed, or a generator from which one
    seed is drawn.
    """
    if isinstance(source, torch.Generator):
        source = int(
            torch.randint(2**62, (1,), generator=source, device=source.device, dtype=torch.int64)
        )
    with _GLOBAL_STATE, torch.random.fork_rng():
        torch.manual_seed(check_seed(source))
        yield


def draw(
    distribution: torch.distributions.Distribution,
    n: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw n values from a torch Distribution with an explicit generator: (n, *event_shape)."""
    if generator is None:
        return distribution.sample((n,))
    with seeded(generator):
        return distribution.sample((n,))


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device asked for; ``"auto"`` is CUDA if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: expected 'auto' or a torch device, got {device!r}") from error


def cpu_limit(cgroup: str | Path = "/sys/fs/cgroup") -> int:
    """Count the cores this process may use: its affinity, and the container's quota if smaller."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_quota(Path(cgroup))
    return cores if quota is None else max(1, min(cores, ceil(quota)))


def _cgroup_quota(folder: Path) -> float | None:
    """Read quota / period of version 2 (cpu.max) or version 1 control groups."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def set_threads(n: int | None = None) -> int:
    """Give torch n threads; by default OMP_NUM_THREADS if set, else the cores it may use."""
    if n is None:
        n = int(os.environ.get("OMP_NUM_THREADS", "0")) or cpu_limit()
    torch.set_num_threads(n)
    return n
