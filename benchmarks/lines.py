"""One measurement, one line of JSON; runs that are kept. Must never measure anything itself."""

import json
from pathlib import Path

OUT = Path("build/bench.jsonl")


def record(**line) -> None:
    """Print the measurement and append it to ``build/bench.jsonl``."""
    OUT.parent.mkdir(exist_ok=True)
    text = json.dumps(line)
    print(text, flush=True)
    with OUT.open("a") as out:
        out.write(text + "\n")


def runs(path: Path) -> list[dict]:
    """Return the runs that a benchmark has kept so far, in their order."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(path: Path, run: dict) -> None:
    """Print a run and append it at once to the benchmark's own file: it resumes from there."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(run)
    with path.open("a") as file:
        file.write(text + "\n")
    print(text, flush=True)


def replace(prefixes: tuple[str, ...], lines: list[dict]) -> None:
    """Put lines in place of those of ``build/bench.jsonl`` whose question begins like this."""
    kept = [line for line in runs(OUT) if not line["question"].startswith(prefixes)]
    OUT.write_text("".join(f"{json.dumps(line)}\n" for line in kept + lines))
