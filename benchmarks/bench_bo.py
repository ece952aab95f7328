"""Bayesian optimisation at its defaults beside three libraries: regret after 40 calls, CPU time.

Imports the package and the peers; judges nothing but the best value against the known top.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_bo.py`` where ``pip install botorch
scikit-optimize bayesian-optimization`` was done. Every search is one line of
``build/bench_bo.jsonl``, written at once: an interrupted run goes on where it stopped, and every
prefix of it is a fair table, since ours and the peers' searches of a seed follow each other. After
each, ``build/bench.jsonl`` is summed up anew: ``ours`` and ``theirs`` are CPU milliseconds per
proposed point (median over the seeds that both have, ``seeds``), ``ratio`` = theirs / ours,
``quality`` the median regret (the top minus the best value found; 0 is perfect), ``spread`` the
smallest and largest. All searches begin with ten points that no surrogate chose.
"""

import argparse
import time
from importlib import import_module
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lines import keep, replace, runs

from lfi_helpers.decisions import maximise
from lfi_helpers.decisions.landscapes import LANDSCAPES
from lfi_helpers.run import set_threads

RUNS = Path("build/bench_bo.jsonl")
CALLS, FIRST = 40, 10
SPEED = {"BoTorch": 4.0}  # how many times cheaper than the peer we want to propose a point


def ours(objective, box, seed):
    return maximise(objective, box, n_calls=CALLS, n_initial=FIRST, seed=seed).y


def botorch(objective, box, seed):
    from botorch.acquisition import LogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(seed)  # BoTorch knows no generator
    low, high = torch.tensor(box, dtype=torch.double).T
    unit = torch.quasirandom.SobolEngine(len(box), scramble=True, seed=seed)
    x = unit.draw(FIRST, dtype=torch.double)
    cube = torch.stack([torch.zeros(len(box)), torch.ones(len(box))]).double()
    y = torch.tensor(objective((low + x * (high - low)).numpy()))[:, None]
    while len(y) < CALLS:
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        acquisition = LogExpectedImprovement(model, best_f=y.max())
        new, _ = optimize_acqf(acquisition, cube, q=1, num_restarts=5, raw_samples=512)
        value = torch.tensor(objective((low + new * (high - low)).numpy()))[:, None]
        x, y = torch.cat([x, new]), torch.cat([y, value])
    return y[:, 0].numpy()


def scikit_optimize(objective, box, seed):
    from skopt import gp_minimize

    def cost(x):
        return -float(objective(x))

    search = {"n_calls": CALLS, "n_initial_points": FIRST, "random_state": seed}
    return -np.array(gp_minimize(cost, [tuple(pair) for pair in box], **search).func_vals)


def bayesian_optimization(objective, box, seed):
    from bayes_opt import BayesianOptimization

    names = {f"x{j}": pair for j, pair in enumerate(box)}

    def value(**x):
        return float(objective([x[name] for name in names]))

    search = BayesianOptimization(value, names, random_state=seed, verbose=0)
    search.maximize(init_points=FIRST, n_iter=CALLS - FIRST)
    return [found["target"] for found in search.res]


WHO = {
    "ours": ours,
    "BoTorch": botorch,
    "scikit-optimize": scikit_optimize,
    "bayesian-optimization": bayesian_optimization,
}
PEERS = {"BoTorch": "botorch", "scikit-optimize": "skopt", "bayesian-optimization": "bayes_opt"}


def measure(who: str, name: str, seed: int) -> dict:
    """Search once; return the regret and the CPU milliseconds per proposed point."""
    import_module(PEERS.get(who, "lfi_helpers"))  # its import is not part of the search
    objective, box, top = LANDSCAPES[name]
    begun = time.process_time()
    values = WHO[who](objective, box, seed)
    spent = (time.process_time() - begun) / (CALLS - FIRST)
    regret = top - float(np.max(values))
    key = {"who": who, "landscape": name, "seed": seed, "calls": len(values)}
    return {**key, "regret": float(f"{regret:.4g}"), "ms": round(1e3 * spent, 2)}


def compare(done: list[dict], name: str, peer: str) -> dict | None:
    """Return one line of the table, from the seeds that both have; None if there are none."""
    sides = [
        {run["seed"]: run for run in done if (run["who"], run["landscape"]) == (who, name)}
        for who in ("ours", peer)
    ]
    seeds = sorted(set(sides[0]) & set(sides[1]))
    if not seeds:
        return None
    ms = [median(side[k]["ms"] for k in seeds) for side in sides]
    regret = [[side[k]["regret"] for k in seeds] for side in sides]
    return {
        "question": f"bo {name} {CALLS} calls",
        "peer": peer,
        "seeds": len(seeds),
        "ours": round(ms[0], 2),
        "theirs": round(ms[1], 2),
        "ratio": round(ms[1] / ms[0], 2),
        "target": SPEED.get(peer),
        "quality_ours": round(median(regret[0]), 5),
        "quality_theirs": round(median(regret[1]), 5),
        "spread": [min(regret[0]), max(regret[0])],
        "spread_theirs": [min(regret[1]), max(regret[1])],
    }


def sum_up() -> None:
    """Write the table of all runs so far in place of its earlier lines."""
    done = runs(RUNS)
    cells = [(name, peer) for name in LANDSCAPES for peer in PEERS]
    replace(("bo ",), [line for cell in cells if (line := compare(done, *cell)) is not None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    asked = parser.parse_args()
    set_threads(1)
    done = {(run["who"], run["landscape"], run["seed"]) for run in runs(RUNS)}
    for seed in range(asked.seeds):
        for name in LANDSCAPES:
            for who in ("ours", *asked.peers):
                if (who, name, seed) not in done:
                    keep(RUNS, measure(who, name, seed))
                    sum_up()


if __name__ == "__main__":
    main()
