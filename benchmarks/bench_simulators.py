"""The epidemic of ``sir``: the vectorised sampler beside a plain loop over events.

Imports the package; judges nothing but speed and the mean of what is simulated.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_simulators.py``. One line of
``build/bench.jsonl``: ``ours`` and ``theirs`` are CPU microseconds an epidemic (medians of runs
that alternate), ``quality`` the mean final size.
"""

import argparse
import random
import time
from statistics import mean, median

import torch
from lines import record

from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load

TARGET, LOOP, R = 15.0, 2_000, 1.6


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epidemics", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    set_threads(1)
    sir, times, sizes = load("sir"), {"ours": [], "theirs": []}, {}
    theta = torch.full((asked.epidemics, 1), R)
    for run in range(asked.runs + 1):
        begun = time.process_time()
        x = sir.sample(theta, generator(run))
        middle = time.process_time()
        dice = random.Random(run)  # noqa: S311 - a toy, no secret
        looped = [epidemic(R, sir.n_people, dice) for _ in range(LOOP)]
        ended = time.process_time()
        if run:  # the first is a warm-up
            times["ours"].append(1e6 * (middle - begun) / asked.epidemics)
            times["theirs"].append(1e6 * (ended - middle) / LOOP)
            sizes = {"ours": x.mean().item(), "theirs": mean(looped)}
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    record(
        question="sir: final sizes",
        peer="a plain Python loop",
        ours=round(median(times["ours"]), 3),
        theirs=round(median(times["theirs"]), 3),
        ratio=round(median(ratios), 1),
        target=TARGET,
        quality_ours=round(sizes["ours"], 3),
        quality_theirs=round(sizes["theirs"], 3),
        spread=[round(min(ratios), 1), round(max(ratios), 1)],
    )


if __name__ == "__main__":
    main()
