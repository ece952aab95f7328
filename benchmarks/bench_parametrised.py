"""A parametrised classifier beside scikit-learn's MLPClassifier: seconds to one held-out loss.

Imports the package and the peer; judges nothing but speed and the loss that is reached.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_parametrised.py``. The five features of
``carl5d``, whose distribution has two parameters, spread over a grid of 30 x 30, against one
reference: 100 000 events of each. ``fit_parametrised`` makes its bilinear network; scikit-learn
gets theta and x side by side, standardised, and two hidden layers of 64; both take batches of
1024. Question: CPU seconds until the loss on 100 000 held-out events is within GAP nat of the
smallest possible one, known from the exact ratio. ``fit_parametrised`` plans its learning rate for
the whole run, so each length is a run of its own and the shortest good one counts; scikit-learn is
judged after every epoch of one run, at the faster of two learning rates. Judging is not timed. Two
lines of ``build/bench.jsonl``: the bilinear network, and the same layers as scikit-learn's.
"""

import argparse
import time
import warnings
from statistics import mean, median

import numpy as np
import torch
from lines import record
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from lfi_helpers.classifiers import borrow_theta, fit_parametrised
from lfi_helpers.run import generator, set_threads
from lfi_helpers.simulators import load

EVENTS, HELD, GAP = 100_000, 50_000, 0.004
RATES = (1e-3, 3e-3)  # of scikit-learn: its default, and a faster one
MOST = 15  # epochs


def events(seed: int):
    """Return theta, x0, x1 to train on; theta, x, label held out; their smallest loss."""
    carl, hand = load("carl5d"), generator(seed)
    side, n = torch.linspace(-3, 3, 30), EVENTS + HELD
    theta = torch.cartesian_prod(side, side)[torch.randint(900, (n,), generator=hand)]
    x0, x1 = carl.sample(theta, hand), carl.sample(torch.zeros(n, 2), hand)
    held_theta = theta[EVENTS:]
    held_theta = torch.cat([held_theta, borrow_theta(held_theta, HELD, hand)])
    held_x = torch.cat([x0[EVENTS:], x1[EVENTS:]])
    label = (torch.arange(2 * HELD) < HELD).float()
    exact = carl.log_ratio(held_x, held_theta, torch.zeros_like(held_theta))
    held = held_theta, held_x, label
    return (theta[:EVENTS], x0[:EVENTS], x1[:EVENTS]), held, cross_entropy(exact, label).item()


def ours(kind: str, data, held, smallest: float, seed: int) -> tuple[float, float]:
    """Return CPU seconds and distance from the smallest loss of the shortest run that is good."""
    theta, x, label = held
    for epochs in range(1, MOST + 1):
        begun = time.process_time()
        settings = {"max_epochs": epochs, "seed": seed, "device": "cpu", "progress": False}
        ratio = fit_parametrised(*data, kind=kind, **settings)
        seconds = time.process_time() - begun
        gap = cross_entropy(ratio(theta, x), label).item() - smallest
        if gap < GAP:
            return seconds, gap
    return float("inf"), gap


def scikit_learn(rate: float, data, held, smallest: float, seed: int) -> tuple[float, float]:
    """Return CPU seconds and distance from the smallest loss when it first is good."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    theta, x0, x1 = data
    begun = time.process_time()
    borrowed = borrow_theta(theta, len(x1), generator(seed, 1))
    rows = np.block([[theta.numpy(), x0.numpy()], [borrowed.numpy(), x1.numpy()]])
    label = np.arange(len(rows)) < len(x0)
    scale = StandardScaler().fit(rows)
    rows = scale.transform(rows)
    sizes = {"batch_size": 1024, "learning_rate_init": rate, "alpha": 0.0}
    network = MLPClassifier((64, 64), random_state=seed, **sizes)
    seconds = time.process_time() - begun
    held_rows = scale.transform(torch.cat(held[:2], 1).numpy())
    for _ in range(MOST):
        begun = time.process_time()
        network.partial_fit(rows, label, classes=[False, True])
        seconds += time.process_time() - begun
        share = torch.as_tensor(network.predict_proba(held_rows)[:, 1]).double()
        gap = cross_entropy(torch.logit(share, eps=1e-15), held[2].double()).item() - smallest
        if gap < GAP:
            return seconds, gap
    return float("inf"), gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    set_threads(1)
    runs = {"bilinear": [], "mlp": [], "scikit-learn": []}
    for seed in range(asked.seeds):
        drawn = events(seed)
        for kind in ("bilinear", "mlp"):
            runs[kind].append(ours(kind, *drawn, seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one epoch is not the optimum
            runs["scikit-learn"].append(min(scikit_learn(r, *drawn, seed) for r in RATES))
    theirs = runs["scikit-learn"]
    for kind in ("bilinear", "mlp"):
        ratios = [b[0] / a[0] for a, b in zip(runs[kind], theirs, strict=True)]
        record(
            question=f"parametrised training, {kind}: to a fixed loss",
            peer="scikit-learn",
            ours=round(median(s for s, _ in runs[kind]), 3),
            theirs=round(median(s for s, _ in theirs), 3),
            ratio=round(median(ratios), 2),
            target=1.0,
            quality_ours=round(mean(gap for _, gap in runs[kind]), 4),
            quality_theirs=round(mean(gap for _, gap in theirs), 4),
            spread=[round(min(ratios), 2), round(max(ratios), 2)],
            seeds=asked.seeds,
        )


if __name__ == "__main__":
    main()
