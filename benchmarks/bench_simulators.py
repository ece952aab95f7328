"""The epidemic of ``sir``: the vectorised sampler beside a plain loop over events.

Imports the package; judges nothing but speed and the mean of what is simulated.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_simulators.py``. One line of
``build/bench.jsonl`` for each batch size: ``ours`` and ``theirs`` are CPU microseconds an epidemic
(medians of runs that alternate), ``quality`` the mean final size.
"""

import argparse
import json
import random
import time
from statistics import mean, median

import torch
from lines import replace

from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load

TARGET, LARGE = 15.0, 100_000  # times faster, in batches of at least this many
LOOP, R = 5_000, 1.6


def epidemic(reproduction: float, n: int, dice: random.Random) -> int:
    """Return how many of n fall ill, event by event."""
    susceptible, ill = n, 1
    while ill:
        rate = reproduction * susceptible
        if dice.random() * (rate + n + 1) < rate:
            susceptible, ill = susceptible - 1, ill + 1
        else:
            ill -= 1
    return n - susceptible


def compare(epidemics: int, runs: int) -> dict:
    """Return the line of one batch size."""
    sir, times, sizes = load("sir"), {"ours": [], "theirs": []}, {}
    theta = torch.full((epidemics, 1), R)
    calls = max(1, 100_000 // epidemics)  # a clock needs milliseconds
    for run in range(runs + 1):
        hand, begun = generator(run), time.process_time()
        for _ in range(calls):
            x = sir.sample(theta, hand)
        middle = time.process_time()
        dice = random.Random(run)  # noqa: S311 - a toy, no secret
        looped = [epidemic(R, sir.n_people, dice) for _ in range(LOOP)]
        ended = time.process_time()
        if run:  # the first is a warm-up
            times["ours"].append(1e6 * (middle - begun) / epidemics / calls)
            times["theirs"].append(1e6 * (ended - middle) / LOOP)
            sizes = {"ours": x.mean().item(), "theirs": mean(looped)}
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "question": f"sir: final sizes, batches of {epidemics}",
        "peer": "a plain Python loop",
        "ours": round(median(times["ours"]), 3),
        "theirs": round(median(times["theirs"]), 3),
        "ratio": round(median(ratios), 1),
        "target": TARGET if epidemics >= LARGE else None,
        "quality_ours": round(sizes["ours"], 3),
        "quality_theirs": round(sizes["theirs"], 3),
        "spread": [round(min(ratios), 1), round(max(ratios), 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [100, 1000, 10_000, 100_000, 1_000_000]
    parser.add_argument("--epidemics", type=int, nargs="+", default=sizes)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    set_threads(1)
    lines = [compare(epidemics, asked.runs) for epidemics in asked.epidemics]
    replace(("sir:",), lines)
    print(*map(json.dumps, lines), sep="\n")


if __name__ == "__main__":
    main()
