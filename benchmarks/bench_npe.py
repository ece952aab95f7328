"""NPE at its defaults beside sbi's and beside the published means: C2ST and CPU seconds.

Imports the package and the peers; judges nothing but posteriors against reference draws.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_npe.py`` where ``pip install sbi`` was
done. Every training is one line of ``build/bench_npe.jsonl``, written at once: an interrupted run
goes on where it stopped, and every prefix of it is a fair table, since a seed of ours and of each
peer follow each other. After each, ``build/bench.jsonl`` is summed up anew: ``ours`` and
``theirs`` are CPU seconds of training (median over the seeds that both have, ``seeds``), ``ratio``
= theirs / ours, ``quality`` the mean C2ST over seeds and observations 4 to 10 of the benchmark
(0.5 is perfect; settings were chosen on observations 1 to 3 and other seeds), ``spread`` the
smallest and largest mean of a seed.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median

import torch
from lines import keep, replace, runs

from lfi_helpers.diagnostics import c2st
from lfi_helpers.inference import npe
from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load, simulate

RUNS = Path("build/bench_npe.jsonl")
OBSERVATIONS = Path(__file__).with_name("observations.json")
JUDGED = range(3, 10)  # observations 4 to 10: the first three were used to choose settings
DRAWS = 10_000
# Mean C2ST of NPE over ten observations with 1000 and 10 000 simulations: arXiv:2101.04653, and
# for gaussian_mixture the authors' later run of the corrected task.
PUBLISHED = {
    "two_moons": {1_000: 0.725, 10_000: 0.606},
    "gaussian_linear_uniform": {1_000: 0.696, 10_000: 0.553},
    "gaussian_mixture": {1_000: 0.716, 10_000: 0.615},
    "slcp": {1_000: 0.975, 10_000: 0.901},
}
# How many times faster than sbi's flows we want to train
SPEED = {("maf", 10_000): 10.0, ("nsf", 10_000): 8.0, ("maf", 1_000): 3.0, ("nsf", 1_000): 3.0}


def ours(theta, x, prior, seed):
    posterior = npe(theta, x, prior, seed=seed, device="cpu", progress=False)
    return lambda n, x_obs: posterior.sample(n, x_obs, seed=seed)


def sbi(flow):
    def train(theta, x, prior, seed):
        from sbi.inference import NPE
        from sbi.utils import BoxUniform

        torch.manual_seed(seed)  # sbi knows no generator
        box = BoxUniform(prior.base_dist.low, prior.base_dist.high)
        method = NPE(prior=box, density_estimator=flow, show_progress_bars=False)
        density = method.append_simulations(theta, x).train()
        posterior = method.build_posterior(density)
        return lambda n, x_obs: posterior.sample((n,), x=x_obs[None], show_progress_bars=False)

    return train


WHO = {"ours": ours, "maf": sbi("maf"), "nsf": sbi("nsf")}


def plan(seeds: int, peers: list[str]):
    """Yield (who, task, n_sim, seed) , the affine flow first, its seeds in turn."""
    first = [peer for peer in peers if peer != "nsf"]
    for group in (["ours", *first], [peer for peer in peers if peer == "nsf"]):
        for seed in range(seeds):
            for n_sim in (10_000, 1_000):
                for task in PUBLISHED:
                    for who in group:
                        yield who, task, n_sim, seed


def measure(who, task, n_sim, seed) -> dict:
    """Train once; return CPU seconds of training and of 10 000 draws, and the C2STs."""
    simulator, found, sampled = load(task), [], []
    theta, x = simulate(simulator, n_sim, seed=seed)
    begun = time.process_time()
    sample = WHO[who](theta, x, simulator.prior, seed)
    trained = time.process_time() - begun
    observed = torch.tensor(json.loads(OBSERVATIONS.read_text())[task])
    for k in JUDGED:
        reference = simulator.posterior_samples(observed[k], DRAWS, generator(k, 1))
        begun = time.process_time()
        drawn = sample(DRAWS, observed[k])
        sampled.append(time.process_time() - begun)
        found.append(round(c2st(reference, drawn, seed=1), 4))
    key = {"who": who, "task": task, "n_sim": n_sim, "seed": seed}
    return {**key, "train": round(trained, 2), "sample": round(median(sampled), 4), "c2st": found}


def compare(done: list[dict], task: str, n_sim: int, peer: str) -> dict | None:
    """Return one line of the table, from the seeds that both have; None if there are none."""
    sides = [
        {run["seed"]: run for run in done if (run["who"], run["task"], run["n_sim"]) == key}
        for key in ((who, task, n_sim) for who in ("ours", peer))
    ]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    if not seeds:
        return None
    train, sample = ([median(s[k][what] for k in seeds) for s in sides] for what in COSTS)
    quality = [[mean(side[k]["c2st"]) for k in seeds] for side in sides]
    return {
        "question": f"npe {task} {n_sim}",
        "peer": f"sbi {peer}",
        "seeds": len(seeds),
        "ours": train[0],
        "theirs": train[1],
        "ratio": round(train[1] / train[0], 2),
        "target": SPEED[peer, n_sim],
        "quality_ours": round(mean(quality[0]), 4),
        "quality_theirs": round(mean(quality[1]), 4),
        "quality_published": PUBLISHED[task][n_sim],
        "spread": [round(min(quality[0]), 4), round(max(quality[0]), 4)],
        "spread_theirs": [round(min(quality[1]), 4), round(max(quality[1]), 4)],
        "sampling_ours": sample[0],
        "sampling_theirs": sample[1],
        "sampling_ratio": round(sample[1] / sample[0], 2),
    }


COSTS = ("train", "sample")


def sum_up() -> None:
    """Write the table of all runs so far in place of its earlier lines."""
    done, peers = runs(RUNS), [who for who in WHO if who != "ours"]
    cells = [(task, n, peer) for n in (10_000, 1_000) for task in PUBLISHED for peer in peers]
    lines = [line for cell in cells if (line := compare(done, *cell)) is not None]
    replace(("npe ",), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=["maf", "nsf"], choices=["maf", "nsf"])
    asked = parser.parse_args()
    set_threads(1)
    for who, task, n_sim, seed in plan(asked.seeds, asked.peers):
        done = {(run["who"], run["task"], run["n_sim"], run["seed"]) for run in runs(RUNS)}
        if (who, task, n_sim, seed) not in done:
            keep(RUNS, measure(who, task, n_sim, seed))
            sum_up()


if __name__ == "__main__":
    main()
