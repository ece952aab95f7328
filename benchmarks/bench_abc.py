"""ABC beside pyabc and elfi: as many particles, the same tolerances, one process.

Imports the package and the peers; judges speed, simulations, and the distance from the exact
posterior at the last tolerance.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_abc.py`` where pyabc or elfi is installed
(elfi asks for an older matplotlib: a place of its own); a peer that is missing is named. One line
of ``build/bench.jsonl`` for each task, method and peer: ``ours`` and ``theirs`` are CPU seconds
for a thousand draws (medians of runs that alternate, each with its own seed), ``n_sim`` the
simulations of a run, ``n_eff`` Kish's size of the last population, and ``quality`` its distance
from what is exact at its tolerance: Kolmogorov's for ``gaussian``, the C2ST of resampled particles
(0.5 is perfect) for ``two_moons``.
"""

import argparse
import math
import time
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from lines import record

from lfi_helpers.diagnostics import c2st
from lfi_helpers.inference import rejection_abc, smc_abc
from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load

P = 1000  # particles of a population
SCHEDULES = {  # one tolerance: rejection from the prior
    ("gaussian", "rejection"): [0.05],
    ("gaussian", "smc"): [1.0, 0.4, 0.15, 0.05],
    ("two_moons", "rejection"): [0.1],
    ("two_moons", "smc"): [1.0, 0.4, 0.15, 0.05],
}
TARGETS = {("two_moons", "smc", "pyabc"): 20.0, ("two_moons", "smc", "elfi"): 1.0}
OBSERVED = {"gaussian": np.array([0.8]), "two_moons": np.zeros(2)}  # a mean, a point


class Population(NamedTuple):
    """What every package returns: theta (P, D), weights that sum to one, simulations."""

    theta: np.ndarray
    weights: np.ndarray
    n_sim: int


def ours(task: str, epsilons: list[float], seed: int) -> Population:
    simulator = load(task)
    x_obs = torch.full((10,), 0.8) if task == "gaussian" else torch.zeros(2)
    summary = (lambda x: x.mean(1, keepdim=True)) if task == "gaussian" else None
    pieces, settings = (
        (simulator.sample, simulator.prior, x_obs),
        {"summary": summary, "seed": seed},
    )
    if len(epsilons) == 1:
        n_sim = round(P / share(task, epsilons[0]))
        done = rejection_abc(*pieces, epsilon=epsilons[0], n_sim=n_sim, **settings)
    else:
        done = smc_abc(*pieces, epsilons=epsilons, n_particles=P, **settings)
    return Population(done.theta.double().numpy(), done.weights.numpy(), done.n_sim)


def share(task: str, epsilon: float) -> float:
    """Return which share of the prior's simulations comes within epsilon.

    Near the origin the evidence of ``two_moons`` is two crescents over the area of the prior.
    """
    return load(task).near(0.8, epsilon) if task == "gaussian" else math.pi * epsilon**2 * 2 / 4


def readings(theta: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Return the mean of ten readings at each theta: (N, 1) -> (N, 1)."""
    return (theta + dice.standard_normal((len(theta), 10))).mean(1, keepdims=True)


def moons(theta: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Return a point at each theta: (N, 2) -> (N, 2)."""
    angle = dice.uniform(-math.pi / 2, math.pi / 2, len(theta))
    r = dice.normal(0.1, 0.01, len(theta))
    x = r * np.cos(angle) + 0.25 - np.abs(theta[:, 0] + theta[:, 1]) / math.sqrt(2)
    return np.stack([x, r * np.sin(angle) + (theta[:, 1] - theta[:, 0]) / math.sqrt(2)], 1)


def pyabc(task: str, epsilons: list[float], seed: int) -> Population:
    import pyabc

    dice, one = np.random.default_rng(seed), {"gaussian": reading, "two_moons": moon}[task]
    box = {"gaussian": ("norm", 0, 1), "two_moons": ("uniform", -1, 2)}[task]
    names = ["t1"] if task == "gaussian" else ["t1", "t2"]
    np.random.seed(seed)  # noqa: NPY002 - pyabc draws from the global state
    abc = pyabc.ABCSMC(
        lambda theta: {"s": one(*(theta[name] for name in names), dice)},
        pyabc.Distribution(**{name: pyabc.RV(*box) for name in names}),
        lambda x, y: math.dist(x["s"], y["s"]),
        population_size=P,
        eps=pyabc.ListEpsilon(epsilons),
        sampler=pyabc.SingleCoreSampler(),
    )
    abc.new("sqlite://", {"s": OBSERVED[task]})
    history = abc.run(max_nr_populations=len(epsilons))
    theta, weights = history.get_distribution()
    return Population(theta[names].to_numpy(), np.asarray(weights), history.total_nr_simulations)


def reading(theta: float, dice: np.random.Generator) -> list[float]:
    return [theta + dice.standard_normal(10).mean()]


def moon(t1: float, t2: float, dice: np.random.Generator) -> list[float]:
    angle, r = dice.uniform(-math.pi / 2, math.pi / 2), dice.normal(0.1, 0.01)
    x = r * math.cos(angle) + 0.25 - abs(t1 + t2) / math.sqrt(2)
    return [x, r * math.sin(angle) + (t2 - t1) / math.sqrt(2)]


def elfi(task: str, epsilons: list[float], seed: int) -> Population:
    import elfi

    elfi.set_client("native")
    model, many = elfi.ElfiModel(), {"gaussian": readings, "two_moons": moons}[task]
    box = {"gaussian": ("norm", 0, 1), "two_moons": ("uniform", -1, 2)}[task]
    names = ["t1"] if task == "gaussian" else ["t1", "t2"]
    priors = [elfi.Prior(*box, model=model, name=name) for name in names]

    def simulator(*theta, batch_size, random_state):
        dice = np.random.default_rng(random_state.randint(2**31))
        return many(np.stack(theta, 1).reshape(batch_size, -1), dice)

    x = elfi.Simulator(simulator, *priors, observed=OBSERVED[task][None], name="x")
    distance = elfi.Distance("euclidean", x, name="d")
    if len(epsilons) == 1:
        method = elfi.Rejection(distance, batch_size=BATCH, seed=seed)
        done = method.sample(P, threshold=epsilons[0], bar=False)
        weights = np.ones(P)
    else:
        method = elfi.SMC(distance, batch_size=BATCH, seed=seed)
        done = method.sample(P, thresholds=epsilons, bar=False)
        weights = done.weights
    return Population(done.samples_array, weights / weights.sum(), done.n_sim)


BATCH = 10_000  # of elfi: the fastest of 500, 2000, 10 000
PEERS = {"pyabc": pyabc, "elfi": elfi}


def quality(task: str, found: Population, epsilon: float, seed: int) -> float:
    """Return how far a population is from the exact posterior at its tolerance."""
    if task == "gaussian":
        order = np.argsort(found.theta[:, 0])
        theta, weights = found.theta[order, 0], found.weights[order]
        exact = np.asarray(load(task).near_cdf(torch.tensor(theta), 0.8, epsilon))
        above = weights.cumsum()
        return float(max(np.abs(above - exact).max(), np.abs(above - weights - exact).max()))
    which = np.random.default_rng(seed).choice(len(found.theta), P, p=found.weights)
    drawn = torch.tensor(found.theta[which], dtype=torch.float32)
    return c2st(drawn, exact_moons(epsilon, P, seed), seed=seed)


def exact_moons(epsilon: float, n: int, seed: int) -> torch.Tensor:
    """Draw theta given that x is within epsilon of the origin: (n, 2).

    The evidence of x is the same everywhere near the origin, so that x is uniform in the disk;
    and another x moves (|theta_1 + theta_2|, theta_2 - theta_1) / sqrt 2 by (-x_1, x_2).
    """
    hand = generator(seed, 7)
    theta = load("two_moons").posterior_samples(torch.zeros(2), n, hand)
    radius, angle = torch.rand(2, n, generator=hand)
    x = (
        epsilon
        * radius.sqrt()
        * torch.stack([(2 * math.pi * angle).cos(), (2 * math.pi * angle).sin()])
    )
    total, rest = theta.sum(1) / math.sqrt(2), theta.diff(dim=1)[:, 0] / math.sqrt(2)
    total, rest = total - total.sign() * x[0], rest + x[1]
    return torch.stack([total - rest, total + rest], 1) / math.sqrt(2)


def measure(task: str, method: str, peer: str, runs: int) -> None:
    epsilons, sides = SCHEDULES[task, method], {"ours": ours, "theirs": PEERS[peer]}
    seconds, found = ({side: [] for side in sides} for _ in range(2))
    for run in range(runs + 1):
        for side, infer in sides.items():
            begun = time.process_time()
            done = infer(task, epsilons if run else epsilons[:1], run)
            if run:  # the first is a warm-up, at the first tolerance
                seconds[side].append(1e3 * (time.process_time() - begun) / len(done.theta))
                found[side].append(done)
    line = {}
    for side, populations in found.items():
        far = [quality(task, p, epsilons[-1], k) for k, p in enumerate(populations)]
        line[f"quality_{side}"] = round(median(far), 3)
        line[f"n_sim_{side}"] = int(median(p.n_sim for p in populations))
        line[f"n_eff_{side}"] = round(median(1 / (p.weights @ p.weights) for p in populations))
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    record(
        question=f"abc {task} {method} epsilon={epsilons[-1]}",
        peer=f"{peer} {import_module(peer).__version__}",
        ours=round(median(seconds["ours"]), 4),
        theirs=round(median(seconds["theirs"]), 4),
        ratio=round(median(ratios), 1),
        target=TARGETS.get((task, method, peer)),
        spread=[round(min(ratios), 1), round(max(ratios), 1)],
        **line,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    set_threads(1)
    for peer in PEERS:
        if find_spec(peer) is None:
            print(f"{peer}: not installed")
            continue
        for task, method in SCHEDULES:
            measure(task, method, peer, asked.runs)


if __name__ == "__main__":
    main()
