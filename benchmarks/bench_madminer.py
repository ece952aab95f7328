"""ALICES on the toy of MadMiner's tutorial: our loss and ``fit`` beside MadMiner's estimator.

Imports the package and MadMiner, which the course does not depend on: install it beside the
package in an environment of its own. Judges nothing but speed and the exact log-ratio.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_madminer.py``. The toy: z ~ N(theta, 2),
x ~ N(z, 1), so that x ~ N(theta, sqrt(5)); theta is uniform on [-4, 4], the reference is 0. (The
tutorial computes the joint score at x; here it is at z.) Both sides get the same events, a network
of the same size and the same number of passes. ``ours`` and ``theirs`` are CPU seconds of
training, ``quality`` the root mean squared error of log r on a grid (medians over seeds).
"""

import argparse
import time
from statistics import median

import torch
from lines import record

from lfi_helpers.classifiers import alices_loss, mined_rows, ratio_and_score
from lfi_helpers.networks import mlp
from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators.base import Gold
from lfi_helpers.training import fit

SPREAD, BLUR, N, EPOCHS, BATCH, ALPHA = 2.0, 1.0, 20_000, 5, 128, 1.0
GRID_THETA, GRID_X = torch.tensor([[-2.0], [-1.0], [0.5], [2.0]]), torch.linspace(-4, 4, 21)


def mine(theta, theta_ref, hand) -> Gold:
    """Draw one event at each theta, with its joint log-ratio and joint score."""
    z = theta + SPREAD * torch.randn(theta.shape, generator=hand)
    x = z + BLUR * torch.randn(theta.shape, generator=hand)
    log_r = ((z - theta_ref) ** 2 - (z - theta) ** 2)[:, 0] / (2 * SPREAD**2)
    return Gold(x, log_r, (z - theta) / SPREAD**2)


def ours(rows, seed):
    network = mlp(2, 1, (20, 20), activation="tanh", seed=seed)

    def log_ratio(theta, x):
        return network(torch.cat([theta, x], 1))[:, 0]

    def loss(_, part):
        pair = ratio_and_score(log_ratio, part[0], part[1])
        return alices_loss(*pair, *part[2:], alpha=ALPHA)

    how = {"max_epochs": EPOCHS, "batch_size": BATCH, "validation_fraction": 0.25}
    fit(network, loss, tuple(rows), **how, device="cpu", seed=seed, progress=False)
    return lambda theta, x: log_ratio(theta, x).detach()


def theirs(rows, seed):
    from madminer.ml import ParameterizedRatioEstimator

    torch.manual_seed(seed)  # MadMiner knows no generator
    estimator = ParameterizedRatioEstimator(n_hidden=(20, 20))
    theta, x, label, *_ = (part.reshape(len(part), -1).numpy() for part in rows)
    estimator.train(
        method="alices",
        theta=theta,
        x=x,
        y=1 - label,  # MadMiner's label is 1 for the denominator
        r_xz=rows.joint_log_ratio.exp()[:, None].numpy(),
        t_xz=rows.joint_score.nan_to_num().numpy(),
        alpha=ALPHA,
        n_epochs=EPOCHS,
        batch_size=BATCH,
        n_workers=0,  # in this process, whose CPU time is measured
        verbose="few",
    )
    evaluate = estimator.evaluate_log_likelihood_ratio
    return lambda theta, x: torch.as_tensor(
        evaluate(x=x.numpy(), theta=theta.numpy(), test_all_combinations=False)[0]
    )


def error(log_ratio) -> float:
    """Return the root mean squared error of log r(x | theta) over the grid."""
    theta, x = (
        GRID_THETA.repeat_interleave(len(GRID_X), 0),
        GRID_X.repeat(len(GRID_THETA))[:, None],
    )
    exact = (x**2 - (x - theta) ** 2)[:, 0] / (2 * (SPREAD**2 + BLUR**2))
    return (log_ratio(theta, x).flatten() - exact).square().mean().sqrt().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    set_threads(1)
    cost, quality = {ours: [], theirs: []}, {ours: [], theirs: []}
    for seed in range(parser.parse_args().seeds):
        hand = generator(seed)
        theta = 8 * torch.rand(N, 1, generator=hand) - 4
        zero = torch.zeros_like(theta)
        rows = mined_rows(theta, mine(theta, zero, hand), mine(zero, theta, hand))
        for side in (ours, theirs):
            begun = time.process_time()
            log_ratio = side(rows, seed)
            cost[side].append(time.process_time() - begun)
            quality[side].append(error(log_ratio))
    record(
        question="ALICES on a Gaussian toy: training",
        peer="MadMiner",
        ours=round(median(cost[ours]), 2),
        theirs=round(median(cost[theirs]), 2),
        ratio=round(median(b / a for a, b in zip(cost[ours], cost[theirs], strict=True)), 2),
        quality_ours=round(median(quality[ours]), 4),
        quality_theirs=round(median(quality[theirs]), 4),
        seeds=len(cost[ours]),
    )


if __name__ == "__main__":
    main()
