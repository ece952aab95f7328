"""Many seeds of one notebook: where each claim's value lies, beside the band it is judged by.

Runs a notebook's cells; judges nothing.

``OMP_NUM_THREADS=1 python benchmarks/seed_study.py 36 --seeds 20`` runs the cells of notebook 36
for the seeds 0 to 19 and keeps what each claim was in ``benchmarks/studies/36.json``, written
after every seed: an interrupted study goes on where it stopped. A notebook whose code was changed,
other than in a band, starts anew. A band should leave room on both sides of the values, say six
of their standard deviations; ``--show`` prints that room.
"""

import argparse
import contextlib
import gc
import hashlib
import io
import json
import os
import re
from pathlib import Path
from statistics import mean, pstdev

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import matplotlib.pyplot as plt

from lfi_helpers.checks import ClaimFailed, check
from lfi_helpers.course.notebooks import read, source

ROOT = Path(__file__).parents[1]
BAND = r"(near|within|above|below)=[^,)]+"  # changing one does not change the values
STUDIES = Path(__file__).with_name("studies")


def code(number: str) -> dict[str, str]:
    """Return the notebook's code cells by id."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    found = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    return {cell["id"]: source(cell) for cell in found}


def claims(cells: dict[str, str], seed: int) -> dict[str, dict]:
    """Run all cells with that seed; return value, band and verdict of every claim."""
    found, space = {}, {}

    def note(claim, value, **band):
        try:
            check(claim, value, **band)
            holds = True
        except ClaimFailed:
            holds = False
        band = {name: float(f"{float(limit):.6g}") for name, limit in band.items()}
        found[claim] = {"value": float(f"{float(value):.4g}"), "band": band, "holds": holds}

    for name, text in cells.items():
        space["check"] = note  # again for each cell: one of them imports the real one
        text = text.replace("SEED = 0 ", f"SEED = {seed} ", 1) if name == "parameters" else text
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text.replace("plt.show()", ""), name, "exec"), space)
        plt.close("all")
    space.clear()
    gc.collect()  # the cells' tensors hang in cycles: free them before the next seed
    return found


def study(number: str, seeds: int) -> None:
    """Add the missing seeds to the notebook's file."""
    cells, path = code(number), STUDIES / f"{number}.json"
    bare = re.sub(BAND, "", json.dumps(cells))
    digest = hashlib.sha256(bare.encode()).hexdigest()[:16]
    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("code") != digest:
        kept = {"notebook": number, "code": digest, "seeds": [], "claims": {}}
    for seed in range(seeds):
        if seed in kept["seeds"]:
            continue
        for claim, found in claims(cells, seed).items():
            entry = kept["claims"].setdefault(claim, {"band": {}, "values": [], "failed": []})
            entry["band"] = found["band"]  # of the last seed, where it depends on the seed
            entry["values"].append(found["value"])
            entry["failed"] += [] if found["holds"] else [seed]
        kept["seeds"].append(seed)
        path.write_text(json.dumps(kept, indent=1) + "\n")


def show(number: str) -> None:
    """Print the extremes of every claim and the room to its band in standard deviations."""
    kept = json.loads((STUDIES / f"{number}.json").read_text())
    print(f"notebook {number}, {len(kept['seeds'])} seeds")
    for claim, entry in kept["claims"].items():
        values, band = entry["values"], entry["band"]
        middle, spread = mean(values), pstdev(values)
        near, within = band.get("near", 0.0), band.get("within")
        edges = [band[side] for side in ("above", "below") if side in band]
        edges += [] if within is None else [near - within, near + within]
        room = min(abs(middle - edge) for edge in edges) / spread if spread else float("inf")
        numbers = f"{min(values):.4g} / {middle:.4g} / {max(values):.4g}"
        failed = f", FAILED for {entry['failed']}" if entry["failed"] else ""
        print(f"{claim}: {numbers} (sd {spread:.2g}), room {room:.1f} sd{failed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="+", help="notebooks, for example 36")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--show", action="store_true", help="print what was found, run nothing")
    asked = parser.parse_args()
    STUDIES.mkdir(exist_ok=True)
    for number in asked.numbers:
        if not asked.show:
            study(number, asked.seeds)
        show(number)


if __name__ == "__main__":
    main()
