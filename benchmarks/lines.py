"""One measurement, one line of JSON. Must never measure anything itself."""

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
