"""NLE and NRE at their defaults beside sbi's: C2ST, and CPU seconds of training and 10 000 draws.

Imports the package and the peers; judges nothing but posteriors against reference draws.

Run it like ``bench_npe.py``, whose rules it keeps: every training is one line of
``build/bench_likelihoods.jsonl``, ours and sbi's in turn, and an interrupted run goes on. In
``build/bench.jsonl``, ``ours`` and ``theirs`` are CPU seconds of training and of 10 000 draws for
one observation together (medians over seeds and observations).
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from statistics import mean, median

import torch
from bench_npe import DRAWS, OBSERVATIONS
from lines import keep, replace, runs

from lfi_helpers.diagnostics import c2st
from lfi_helpers.inference import nle, nre
from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load, simulate

RUNS = Path("build/bench_likelihoods.jsonl")
JUDGED = range(3, 6)  # observations 4 to 6: a chain of sbi's costs more than a training of ours
N_SIM, TARGET = 10_000, 10.0
PEERS = {"nle": "NLE", "nre": "NRE_B"}


def ours(method):
    def train(theta, x, prior, seed):
        posterior = {"nle": nle, "nre": nre}[method](
            theta, x, prior, seed=seed, device="cpu", progress=False
        )
        return lambda n, x_obs: posterior.sample(n, x_obs, seed=seed)

    return train


def sbi(method):
    def train(theta, x, prior, seed):
        import sbi.inference
        from sbi.utils import BoxUniform

        torch.manual_seed(seed)  # sbi knows no generator
        box = BoxUniform(prior.base_dist.low, prior.base_dist.high)
        trainer = getattr(sbi.inference, PEERS[method])(prior=box, show_progress_bars=False)
        learned = trainer.append_simulations(theta, x).train()
        posterior = trainer.build_posterior(learned)
        return lambda n, x_obs: posterior.sample((n,), x=x_obs[None], show_progress_bars=False)

    return train


def measure(method, who, task, seed) -> dict:
    """Train once; return CPU seconds of training and of 10 000 draws, and the C2STs."""
    simulator, found, sampled = load(task), [], []
    theta, x = simulate(simulator, N_SIM, seed=seed)
    begun = time.process_time()
    sample = {"ours": ours, "sbi": sbi}[who](method)(theta, x, simulator.prior, seed)
    trained = time.process_time() - begun
    observed = torch.tensor(json.loads(OBSERVATIONS.read_text())[task])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in JUDGED:
            reference = simulator.posterior_samples(observed[k], DRAWS, generator(k, 1))
            begun = time.process_time()
            drawn = sample(DRAWS, observed[k])
            sampled.append(time.process_time() - begun)
            found.append(round(c2st(reference, drawn, seed=1), 4))
    key = {"method": method, "who": who, "task": task, "seed": seed}
    costs = {"train": round(trained, 2), "sample": round(median(sampled), 3)}
    disagree = sum("R-hat" in str(w.message) for w in caught)
    return {**key, **costs, "c2st": found, "warned_of_r_hat": disagree}


def sum_up() -> None:
    """Write the table of all runs so far in place of its earlier lines."""
    done, lines = runs(RUNS), []
    for method, task in {(run["method"], run["task"]): None for run in done}:
        same = [run for run in done if (run["method"], run["task"]) == (method, task)]
        sides = [{r["seed"]: r for r in same if r["who"] == who} for who in ("ours", "sbi")]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if seeds:
            lines.append(compare(method, task, sides, seeds))
    replace(("nle ", "nre "), lines)


def compare(method, task, sides, seeds) -> dict:
    """Return one line of the table, from the seeds that both have."""
    cost = [median(side[k]["train"] + side[k]["sample"] for k in seeds) for side in sides]
    quality = [[mean(side[k]["c2st"]) for k in seeds] for side in sides]
    return {
        "question": f"{method} {task} {N_SIM}",
        "peer": f"sbi {PEERS[method]}",
        "seeds": len(seeds),
        "ours": round(cost[0], 2),
        "theirs": round(cost[1], 2),
        "ratio": round(cost[1] / cost[0], 2),
        "target": TARGET,
        "quality_ours": round(mean(quality[0]), 4),
        "quality_theirs": round(mean(quality[1]), 4),
        "spread": [round(min(quality[0]), 4), round(max(quality[0]), 4)],
        "spread_theirs": [round(min(quality[1]), 4), round(max(quality[1]), 4)],
        "warned_of_r_hat": sum(sides[0][k]["warned_of_r_hat"] for k in seeds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    tasks = ["two_moons", "gaussian_linear_uniform"]
    parser.add_argument("--tasks", nargs="+", default=tasks)
    asked = parser.parse_args()
    set_threads(1)
    cells = [
        (method, who, task, seed)
        for task in asked.tasks
        for seed in range(asked.seeds)
        for method in PEERS
        for who in ("ours", "sbi")
    ]
    for cell in cells:
        if cell not in {(r["method"], r["who"], r["task"], r["seed"]) for r in runs(RUNS)}:
            keep(RUNS, measure(*cell))
            sum_up()


if __name__ == "__main__":
    main()
