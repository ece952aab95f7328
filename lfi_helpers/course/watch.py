"""Run one worker, measure its process tree and end it in time; never looks into the notebook."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.2
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")


@dataclass(frozen=True)
class Limits:
    """What one notebook may use; wall time is the watchdog, the other two are the budget."""

    wall_s: float
    cpu_s: float = float("inf")
    peak_bytes: float = float("inf")


@dataclass(frozen=True)
class Measured:
    """What a worker and all its descendants used, and what ended them.

    ``peak_bytes`` is the larger of the sampled sum of resident sets over the tree (shared pages
    are counted once per process, so it errs on the high side and works on every system) and the
    largest single process as the kernel counts it (exact, no spike is missed).
    ``stopped`` is "timeout", "memory" (twice the budget) or "interrupt" if the runner ended it.
    """

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_bytes: float
    stopped: str | None


class Tree:
    """A process and all its descendants, also those that have lost their parent since."""

    def __init__(self, pid: int):
        import psutil

        self._gone = (psutil.NoSuchProcess, psutil.AccessDenied)
        self._zombie = psutil.STATUS_ZOMBIE
        self._root = psutil.Process(pid)
        self._seconds = {self._root: 0.0}
        self.peak_bytes = 0

    def sample(self) -> None:
        """Look at every process of the tree once."""
        self._look_below(self._root)
        resident = 0
        for process in self._seconds:
            try:
                with process.oneshot():
                    resident += process.memory_info().rss
                    times = process.cpu_times()
                    self._seconds[process] = times.user + times.system
            except self._gone:
                continue
        self.peak_bytes = max(self.peak_bytes, resident)

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds seen so far: a lower bound."""
        return sum(self._seconds.values())

    def kill(self) -> None:
        """Kill every process ever seen in the tree that still lives, and wait until it is gone."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for process in list(self._seconds):
                self._look_below(process)
            self.sample()
            alive = [process for process in self._seconds if self._lives(process)]
            if not alive:
                return
            for process in alive:
                try:
                    process.kill()
                except self._gone:
                    continue
            time.sleep(0.02)

    def _look_below(self, process: object) -> None:
        try:
            for child in process.children(recursive=True):
                self._seconds.setdefault(child, 0.0)
        except self._gone:
            return

    def _lives(self, process: object) -> bool:
        try:
            return process.is_running() and process.status() != self._zombie
        except self._gone:
            return False


def watch(
    job: dict, folder: Path, log: Path, limits: Limits, stop: threading.Event, tell
) -> Measured:
    """Run a worker on ``job`` in ``folder`` until it ends or must; ``tell(n)``: n cells done."""
    start = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "lfi_helpers.course.worker", json.dumps(job)],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tree = Tree(process.pid)
    stopped, usage = None, None
    while usage is None:
        tree.sample()
        tell(_count(Path(job["cells"])))
        stopped = stopped or _reason(time.monotonic() - start, tree, limits, stop)
        if stopped:
            tree.kill()
        else:
            stop.wait(INTERVAL_S)
        usage = _ended(process)
    tree.kill()
    process.stdin.close()
    cpu_s = max(usage.ru_utime + usage.ru_stime, tree.cpu_s)
    largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = max(tree.peak_bytes, largest)
    return Measured(process.returncode, time.monotonic() - start, cpu_s, peak, stopped)


def environment() -> dict:
    """Return this process's environment, made right for a worker: one thread, inline figures."""
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    env |= {f"{library}_NUM_THREADS": "1" for library in THREADS}
    return env | {"PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}


def _reason(wall_s: float, tree: Tree, limits: Limits, stop: threading.Event) -> str | None:
    if stop.is_set():
        return "interrupt"
    if wall_s > limits.wall_s:
        return "timeout"
    return "memory" if tree.peak_bytes > 2 * limits.peak_bytes else None


def _ended(process: subprocess.Popen) -> object | None:
    """Reap the worker if it has ended: the only call that tells what it and its children used."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _count(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
