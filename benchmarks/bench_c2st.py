"""The classifier two-sample test beside the benchmark's own definition: CPU seconds and value.

Imports the package and scikit-learn; judges nothing but two samples of known distance.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_c2st.py``. p is a standard normal in D
dimensions, q the same (null) or shifted so that the best possible classifier has accuracy 0.6.
Every comparison is one line of ``build/bench.jsonl``: ``ours`` and ``theirs`` are CPU seconds
(median over seeds), ``ratio`` = theirs / ours, ``target`` the CPU seconds that ours may take,
``quality`` the mean accuracy, ``best`` that of the best possible classifier, ``spread`` the
smallest and largest value of ours.
"""

import argparse
import time
from statistics import mean, median

import numpy as np
import torch
from lines import record
from scipy.stats import norm
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from lfi_helpers.diagnostics import c2st
from lfi_helpers.run import generator, set_threads

TARGET = 3.0  # CPU seconds for 10 000 rows against 10 000
BEST = {"null": 0.5, "alternative": 0.6}


def samples(kind: str, dim: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw p and q; a shift of delta along one axis allows an accuracy of Phi(delta / 2)."""
    p, q = torch.randn(2, n, dim, generator=generator(seed), device="cpu")
    q[:, 0] += 2 * norm.ppf(BEST[kind])
    return p, q


def theirs(p: torch.Tensor, q: torch.Tensor, seed: int) -> float:
    """Return the accuracy as arXiv:2101.04653 defines it."""
    both = ((torch.cat([p, q]) - p.mean(0)) / p.std(0)).numpy()
    label = np.repeat([0, 1], [len(p), len(q)])
    width = 10 * p.shape[1]
    network = MLPClassifier((width, width), max_iter=10_000, random_state=seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(network, both, label, cv=folds).mean())


def timed(test, p, q, seed) -> tuple[float, float]:
    begun = time.process_time()
    value = test(p, q, seed)
    return time.process_time() - begun, value


def compare(kind: str, dim: int, n: int, seeds: int, peer: bool) -> dict:
    """Measure alternately and return the line."""
    runs = {"ours": [], "theirs": []}
    for seed in range(seeds):
        p, q = samples(kind, dim, n, seed)
        runs["ours"].append(timed(c2st, p, q, seed))
        if peer:
            runs["theirs"].append(timed(theirs, p, q, seed))
    cpu, value = zip(*runs["ours"], strict=True)
    line = {
        "question": f"c2st {kind} d={dim} n={n}",
        "peer": "scikit-learn MLPClassifier as in arXiv:2101.04653",
        "ours": round(median(cpu), 3),
        "theirs": None,
        "ratio": None,
        "target": TARGET,
        "quality_ours": round(mean(value), 4),
        "quality_theirs": None,
        "spread": [round(min(value), 4), round(max(value), 4)],
        "slowest_ours": round(max(cpu), 3),
        "best": BEST[kind],
    }
    if peer:
        cpu, value = zip(*runs["theirs"], strict=True)
        line["theirs"], line["quality_theirs"] = round(median(cpu), 3), round(mean(value), 4)
        line["ratio"] = round(line["theirs"] / line["ours"], 2)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-up-to", type=int, default=2, help="above it, it takes minutes")
    asked = parser.parse_args()
    set_threads(1)
    c2st(*samples("null", 2, 200, 0))  # the first call loads libraries
    for dim in asked.dims:
        for kind in BEST:
            record(**compare(kind, dim, asked.rows, asked.seeds, dim <= asked.peer_up_to))


if __name__ == "__main__":
    main()
