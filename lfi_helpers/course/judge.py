"""Judge a finished run from its executed copy and its measurements; never runs anything."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from lfi_helpers.course.notebooks import read, source
from lfi_helpers.course.watch import Limits, Measured
from lfi_helpers.records import CLAIM_MIME, RUN_MIME

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BOUNDS = ("near", "within", "below", "above")


@dataclass
class Verdict:
    """What one run of one notebook came to; ``failure`` is the cell that failed, readable."""

    status: str
    reason: str = ""
    failure: str = ""
    claims: list[dict] = field(default_factory=list)
    slowest: dict | None = None


def judge(
    number: str, copy: Path, parameters: dict, measured: Measured, limits: Limits, log: str = ""
) -> Verdict:
    """Demand an undisturbed run, the scale and seed asked for, claims that hold, a kept budget."""
    try:
        notebook = read(copy)
    except (OSError, ValueError):
        notebook = {"cells": []}
    claims, problems = _claims(number, notebook)
    crash, failure = _crash(notebook, measured, log)
    problems = crash or [*_asked(notebook, parameters), *problems]
    problems += _over(measured, limits)
    status = "timeout" if measured.stopped == "timeout" else "failed" if problems else "ok"
    return Verdict(status, "; ".join(problems), failure, claims, _slowest(notebook))


def _crash(notebook: dict, measured: Measured, log: str) -> tuple[list[str], str]:
    """Say what broke the run off, and show the cell where it did."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                error = f"{output['ename']}: {output['evalue']}".splitlines()[0]
                traceback = "\n".join(output["traceback"])
                reason = ANSI.sub("", f"cell {cell['id']}: {error}")
                return [reason], _shown(cell, traceback)
    if measured.exit_code == 0 and measured.stopped is None:
        return [], ""
    started = [
        c for c in notebook["cells"] if c["metadata"].get("papermill", {}).get("start_time")
    ]
    where = f"cell {started[-1]['id']}" if started else "the start"
    ends = {
        "timeout": f"stopped after {measured.wall_s:.0f} s in {where}",
        "memory": f"stopped in {where}: twice over the memory budget",
    }
    lines = log.strip().splitlines()
    if measured.exit_code < 0 or not lines:
        lines.append(f"the worker ended with code {measured.exit_code}")
    reason = ends.get(measured.stopped, f"{where}: {lines[-1]}")
    return [reason], _shown(started[-1], "\n".join(lines[-20:])) if started else log


def _shown(cell: dict, text: str) -> str:
    return f"cell {cell['id']}:\n{source(cell)}\n\n{ANSI.sub('', text)}"


def _asked(notebook: dict, parameters: dict) -> list[str]:
    """Compare what the notebook says it ran with what was asked for."""
    wanted = {key.lower(): value for key, value in parameters.items()}
    records = [record for _, record in _published(notebook, RUN_MIME)]
    if not records:
        return ["no run record: call run.start(SCALE, SEED)"]
    return [f"run record: expected {wanted}, got {got}" for got in records if got != wanted]


def _claims(number: str, notebook: dict) -> tuple[list[dict], list[str]]:
    """Collect the claims with their ids, and what is wrong with them."""
    claims, problems = {}, []
    for cell, record in _published(notebook, CLAIM_MIME):
        slug = re.sub(r"[^a-z0-9]+", "-", record["claim"].lower()).strip("-")
        if slug in claims:
            problems.append(f"cell {cell['id']}: claim made twice: {record['claim']}")
            continue
        fields = ("claim", "value", *BOUNDS, "ok")
        claims[slug] = {"id": f"{number}/{slug}", **{key: record[key] for key in fields}}
        if not record["ok"]:
            bounds = {key: record[key] for key in BOUNDS if record[key] is not None}
            problems.append(
                f"cell {cell['id']}: claim does not hold: {record['claim']} = {record['value']}, "
                f"wanted {json.dumps(bounds)}"
            )
    if not claims:
        problems.append("no claim: a notebook compares at least one number with its truth")
    return list(claims.values()), problems


def _published(notebook: dict, mime: str) -> list[tuple[dict, dict]]:
    return [
        (cell, output["data"][mime])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if mime in output.get("data", {})
    ]


def _over(measured: Measured, limits: Limits) -> list[str]:
    over = []
    if measured.cpu_s > limits.cpu_s:
        over.append(f"over budget: {measured.cpu_s:.1f} CPU s (at most {limits.cpu_s:g})")
    if measured.peak_bytes > limits.peak_bytes:
        peak, most = measured.peak_bytes / 1e6, limits.peak_bytes / 1e6
        over.append(f"over budget: {peak:.0f} MB (at most {most:.0f})")
    return over


def _slowest(notebook: dict) -> dict | None:
    """Name the cell that took longest (wall time)."""
    seconds = {
        cell["id"]: cell["metadata"].get("papermill", {}).get("duration") or 0.0
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }
    if not seconds:
        return None
    slowest = max(seconds, key=seconds.get)
    return {"id": slowest, "seconds": round(seconds[slowest], 2)}
