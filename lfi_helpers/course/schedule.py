"""Run the notebooks of a request, several at a time, the longest first; never judges them.

A notebook that is refused or fails stops no other one. What has finished is on disk, whatever
happens afterwards.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from lfi_helpers.course import results
from lfi_helpers.course.judge import Verdict, judge
from lfi_helpers.course.notebooks import Notebook, UsageError, read
from lfi_helpers.course.progress import Progress
from lfi_helpers.course.refusals import refusals
from lfi_helpers.course.results import Request
from lfi_helpers.course.watch import Measured, watch

NOTHING = Measured(0, 0.0, 0.0, 0.0, None)


def run(
    wanted: list[Notebook], course: list[Notebook], request: Request, progress: Progress
) -> list[dict]:
    """Run the notebooks wanted of a course, unless a valid record exists; return their records.

    claims.json is brought up to date after each of them.

    Raises:
        UsageError: if the output folder cannot be written, or another run writes to it.
        KeyboardInterrupt: after every process has been ended; finished notebooks keep their
            records.
    """
    results.prepare(request.out)
    with _alone(request.out):
        todo = [n for n in _longest_first(wanted, request.out) if not _kept(n, request, progress)]
        stop = threading.Event()
        pool = ThreadPoolExecutor(request.workers)
        try:
            results.write_claims(course, request)
            runs = [pool.submit(run_one, n, request, stop, progress) for n in todo]
            for finished in as_completed(runs):
                finished.result()
                results.write_claims(course, request)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        results.write_claims(course, request)
        return [results.load(request.out, notebook.number) for notebook in wanted]


def run_one(
    notebook: Notebook, request: Request, stop: threading.Event, progress: Progress
) -> None:
    """Run one notebook and write its record, unless the run is interrupted."""
    if stop.is_set():
        return
    fingerprint = results.fingerprint(notebook, request)
    results.record_path(request.out, notebook.number).unlink(missing_ok=True)
    copy, page, log = _artefacts(notebook, request.out)
    for path in (copy, page, log):
        path.unlink(missing_ok=True)
    reasons = refusals(notebook.path, request.parameters)
    if reasons:
        measured, verdict = NOTHING, Verdict("refused", "; ".join(reasons))
    else:
        measured = _execute(notebook, request, stop, progress)
        text = log.read_text(errors="replace")
        verdict = judge(notebook.number, copy, request.parameters, measured, request.bounds, text)
    if measured.stopped == "interrupt":
        progress.finish(notebook.number, f"{notebook.number} interrupted")
        return
    record = _record(notebook, fingerprint, verdict, measured)
    results.write_json(results.record_path(request.out, notebook.number), record)
    progress.finish(notebook.number, line(record))


def line(record: dict) -> str:
    """Say in one line how a notebook ended."""
    held = sum(claim["ok"] for claim in record["claims"])
    spent = f"{record['cpu_s']:.1f} CPU s, {record['peak_mb']:.0f} MB"
    text = f"{record['number']} {record['status']}: {held} claims held, {spent}"
    return f"{text}: {record['reason']}" if record["reason"] else text


def _execute(notebook, request, stop, progress) -> Measured:
    folder = notebook.path.parent
    copy, page, log = _artefacts(notebook, request.out)
    cells = log.with_suffix(".cells")
    # Relative paths: papermill keeps them in the copy, which must not know where it was made.
    job = {
        "source": notebook.path.name,
        "copy": os.path.relpath(copy, folder),
        "page": os.path.relpath(page, folder),
        "parameters": request.parameters,
        "cells": str(cells),
    }
    number = notebook.number
    progress.start(number, len(read(notebook.path)["cells"]) + 1)
    try:
        return watch(
            job, folder, log, request.bounds, stop, lambda done: progress.cells(number, done)
        )
    finally:
        cells.unlink(missing_ok=True)


def _artefacts(notebook: Notebook, out: Path) -> tuple[Path, Path, Path]:
    out = out.absolute()
    copy = out / "executed" / notebook.path.name
    return copy, copy.with_suffix(".html"), out / "logs" / f"{notebook.number}.log"


def _record(notebook: Notebook, fingerprint: dict, verdict: Verdict, measured: Measured) -> dict:
    return {
        "number": notebook.number,
        "file": notebook.path.name,
        "title": notebook.title,
        "status": verdict.status,
        "reason": verdict.reason,
        "failure": verdict.failure,
        "wall_s": round(measured.wall_s, 2),
        "cpu_s": round(measured.cpu_s, 2),
        "peak_mb": round(measured.peak_bytes / 1e6, 1),
        "slowest": verdict.slowest,
        "claims": verdict.claims,
        "fingerprint": fingerprint,
    }


def _kept(notebook: Notebook, request: Request, progress: Progress) -> bool:
    """Is there a good result that running the notebook again would repeat?"""
    record = results.valid(notebook, request)
    copy = _artefacts(notebook, request.out)[0]
    if request.force or record is None or record["status"] != "ok" or not copy.exists():
        return False
    progress.finish(notebook.number, f"{notebook.number} unchanged: not run again")
    return True


def _longest_first(notebooks: list[Notebook], out: Path) -> list[Notebook]:
    """Sort by the CPU seconds of the last run; unknown ones first, in their order."""

    def seconds(notebook: Notebook) -> float:
        record = results.load(out, notebook.number)
        return record["cpu_s"] if record else float("inf")

    return sorted(notebooks, key=seconds, reverse=True)


@contextmanager
def _alone(out: Path):
    """Hold the output folder for this run: two at once would mix their copies."""
    import fcntl

    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"out: another run is writing to {out}") from error
        yield
