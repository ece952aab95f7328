"""A thousand toy fits of a two-bin model: batched in torch beside a loop of pyhf fits.

Imports the package and the peer; judges nothing but speed and the agreement of the fits.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_histfactory.py``. One line of
``build/bench.jsonl``: ``ours`` and ``theirs`` are CPU milliseconds a fit (medians of runs that
alternate), ``quality`` the mean of -2 log L at the best fit (smaller is better).
"""

import argparse
import time
from statistics import median

import pyhf
import torch
from lines import record

from lfi_helpers.likelihoods import HistFactory
from lfi_helpers.run import generator, set_threads

TARGET, LOOP = 20.0, 100  # times faster; toys of a run that pyhf fits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    set_threads(1)
    model = pyhf.simplemodels.uncorrelated_background([5.0, 10.0], [50.0, 60.0], [5.0, 12.0])
    ours = HistFactory.from_pyhf(model.spec)
    times, ratios, depth = {"ours": [], "theirs": []}, [], {}
    for run in range(asked.runs + 1):
        toys = ours.sample(ours.init.repeat(asked.toys, 1), generator(run))
        begun = time.process_time()
        fits = ours.fit(toys)
        middle = time.process_time()
        theirs = [
            pyhf.infer.mle.fit(t, model, return_fitted_val=True) for t in toys[:LOOP].tolist()
        ]
        ended = time.process_time()
        if run == 0:  # a warm-up
            continue
        times["ours"].append(1e3 * (middle - begun) / asked.toys)
        times["theirs"].append(1e3 * (ended - middle) / LOOP)
        ratios.append(times["theirs"][-1] / times["ours"][-1])
        depth = {"ours": fits.twice_nll[:LOOP].mean().item()}
        depth["theirs"] = torch.tensor([float(value) for _, value in theirs]).mean().item()
    record(
        question=f"histfactory: {asked.toys} toy fits of two bins",
        peer="pyhf in a loop, numpy and SLSQP",
        ours=round(median(times["ours"]), 4),
        theirs=round(median(times["theirs"]), 4),
        ratio=round(median(ratios), 1),
        target=TARGET,
        quality_ours=round(depth["ours"], 6),
        quality_theirs=round(depth["theirs"], 6),
        spread=[round(min(ratios), 1), round(max(ratios), 1)],
    )


if __name__ == "__main__":
    main()
