"""The gold of ``galton``: vectorised mining beside plain loops over balls and nails.

Imports the package; judges nothing but speed and the means that gold must have.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_mining.py``. Two lines of
``build/bench.jsonl``, for two loops: one has the derivative written by hand, the other gets it by
automatic differentiation of each ball's log-likelihood, as simulators that know no formula do.
``ours`` and ``theirs`` are CPU microseconds a ball with its joint ratio and joint score (medians
of runs that alternate), all at one theta, ``per_cpu_second`` our median rate of such balls, and
``per_cpu_second_own_theta`` that of balls of which each has a theta of its own; ``quality`` is the
mean joint score over its standard error, which should be a standard normal number, and
``quality_ratio`` the same of the mean inverse ratio minus one.
"""

import argparse
import random
import time
from math import exp, log, pi, sin
from statistics import mean, median, stdev

import torch
from lines import record

from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load

TARGET, TARGET_RATE = 100.0, 1e6
THETA, THETA_REF = -0.8, -0.6


def left(theta: float, f: float, push: float) -> tuple[float, float]:
    """Return the probability to go left at a nail, and its derivative in theta."""
    s = 1 / (1 + exp(-theta * push))
    return (1 - f) / 2 + f * s, f * push * s * (1 - s)


def ball(rows: int, nails: int, start: int, dice: random.Random) -> tuple[int, float, float]:
    """Drop one ball: its place, its joint log-ratio and its joint score, nail by nail."""
    nail, log_ratio, score = start, 0.0, 0.0
    for row in range(rows):
        f, push = sin(pi * row / (rows - 1)), 10 * (2 * nail / (nails - 1) - 1)
        p, slope = left(THETA, f, push)
        p_ref, _ = left(THETA_REF, f, push)
        if dice.random() < p:
            log_ratio, score = log_ratio + log(p / p_ref), score + slope / p
            nail -= row % 2
        else:
            log_ratio, score = log_ratio + log((1 - p) / (1 - p_ref)), score - slope / (1 - p)
            nail += 1 - row % 2
    return nail, log_ratio, score


def ball_by_autograd(
    rows: int, nails: int, start: int, dice: random.Random
) -> tuple[int, float, float]:
    """Drop the same ball; its score is the derivative of the log-likelihood of its path."""
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    nail, log_p, log_p_ref = start, 0.0, 0.0
    for row in range(rows):
        f, push = sin(pi * row / (rows - 1)), 10 * (2 * nail / (nails - 1) - 1)
        p = (1 - f) / 2 + f * torch.sigmoid(theta * push)
        p_ref, _ = left(THETA_REF, f, push)
        if dice.random() < p.item():
            log_p, log_p_ref, nail = log_p + p.log(), log_p_ref + log(p_ref), nail - row % 2
        else:
            log_p, log_p_ref = log_p + (1 - p).log(), log_p_ref + log(1 - p_ref)
            nail += 1 - row % 2
    (score,) = torch.autograd.grad(log_p, theta)
    return nail, log_p.item() - log_p_ref, score.item()


LOOPS = {  # how many balls a run has
    "a plain Python loop": (ball, 2_000),
    "a Python loop with automatic differentiation": (ball_by_autograd, 100),
}


def in_errors(values: list[float], truth: float) -> float:
    """Return by how many of its standard errors the mean is from the truth."""
    return round((mean(values) - truth) / (stdev(values) / len(values) ** 0.5), 2)


def measure(peer: str, n_balls: int, n_runs: int) -> None:
    """Record one line: our mining beside one of the loops, in turn."""
    galton, times, looped = load("galton"), {"ours": [], "own theta": [], "theirs": []}, []
    drop, n_loop = LOOPS[peer]
    own, theta = torch.linspace(-1.2, -0.2, n_balls)[:, None], torch.full((n_balls, 1), THETA)
    theta_ref = torch.full_like(theta, THETA_REF)
    for run in range(n_runs + 1):
        begun = time.process_time()
        gold = galton.mine(theta, theta_ref, generator(run))
        between = time.process_time()
        galton.mine(own, theta_ref, generator(run))
        middle = time.process_time()
        dice = random.Random(run)  # noqa: S311 - a toy, no secret
        balls = [drop(galton.n_rows, galton.n_nails, galton.start, dice) for _ in range(n_loop)]
        ended = time.process_time()
        if run:  # the first is a warm-up
            times["ours"].append(1e6 * (between - begun) / n_balls)
            times["own theta"].append(1e6 * (middle - between) / n_balls)
            times["theirs"].append(1e6 * (ended - middle) / n_loop)
            looped += balls
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    record(
        question="galton: mined gold",
        peer=peer,
        ours=round(median(times["ours"]), 3),
        theirs=round(median(times["theirs"]), 3),
        ratio=round(median(ratios), 1),
        target=TARGET,
        per_cpu_second=round(1e6 / median(times["ours"])),
        per_cpu_second_own_theta=round(1e6 / median(times["own theta"])),
        target_rate=TARGET_RATE,
        quality_ours=in_errors(gold.joint_score[:, 0].tolist(), 0.0),
        quality_theirs=in_errors([t for _, _, t in looped], 0.0),
        quality_ratio_ours=in_errors((-gold.joint_log_ratio).exp().tolist(), 1.0),
        quality_ratio_theirs=in_errors([exp(-log_ratio) for _, log_ratio, _ in looped], 1.0),
        spread=[round(min(ratios), 1), round(max(ratios), 1)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--balls", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    set_threads(1)
    for peer in LOOPS:
        measure(peer, asked.balls, asked.runs)


if __name__ == "__main__":
    main()
