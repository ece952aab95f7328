"""Classifier training beside a DataLoader loop and scikit-learn: same network, data, batches.

Imports the package and the peers; judges nothing but speed and the loss that is reached.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_training.py``. 100 000 events in ten
dimensions from two Gaussians whose likelihood ratio is known, three hidden layers of 64, Adam at a
constant rate. Two questions, one line of ``build/bench.jsonl`` for each peer and batch size:
microseconds per gradient step, and CPU seconds until the loss on 20 000 held-out events is within
.007 nat of the smallest possible one (both medians over seeds; judging the loss is not timed).
``spread`` holds the smallest and largest ratio of a seed, ``quality`` the mean distance from the
smallest possible loss where the shortest good run ends.
"""

import argparse
import copy
import time
import warnings
from statistics import mean, median

import torch
from lines import record
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from lfi_helpers.networks import mlp
from lfi_helpers.run import generator, seeded, set_threads
from lfi_helpers.training import fit

EVENTS, HELD, D, HIDDEN, GAP = 100_000, 20_000, 10, (64, 64, 64), 0.007
TARGETS = {  # (peer, what) -> how many times faster we want to be
    ("DataLoader", "step"): 3.0,
    ("DataLoader", "to a fixed loss"): 2.5,
    ("scikit-learn", "step"): 1.0,
    ("scikit-learn", "to a fixed loss"): 1.0,
}


def events(seed: int) -> tuple[Tensor, Tensor, float]:
    """Draw x (N, 10) and labels (N,); return the smallest possible loss on the held-out ones."""
    g = generator(seed)
    n = EVENTS + HELD
    label = torch.randint(2, (n,), generator=g).float()
    mix = torch.eye(D) + 0.3 * torch.randn(D, D, generator=g) / D**0.5
    z = torch.randn(n, D, generator=g)
    x = torch.where(label[:, None] == 1, z @ mix.T + 0.25, z)
    signal = torch.distributions.MultivariateNormal(torch.full((D,), 0.25), mix @ mix.T)
    background = torch.distributions.MultivariateNormal(torch.zeros(D), torch.eye(D))
    log_ratio = signal.log_prob(x) - background.log_prob(x)
    return x, label, cross_entropy(log_ratio[EVENTS:], label[EVENTS:]).item()


def bce(network: nn.Module, batch) -> Tensor:
    x, label = batch
    return cross_entropy(network(x)[:, 0], label)


class Ours:
    """One call of ``fit`` for the whole run; the held-out rows are judged outside of it."""

    def __init__(self, x, label, batch_size, rate, seed):
        self.data, self.network = (x, label), mlp(D, 1, HIDDEN, activation="relu", seed=seed)
        self.settings = {"batch_size": batch_size, "learning_rate": rate, "seed": seed}

    def epochs(self, n: int) -> None:
        """Train for n passes over the events."""
        fit(
            self.network,
            bce,
            self.data,
            max_epochs=n,
            schedule="constant",
            validation_fraction=0,
            device="cpu",
            progress=False,
            **self.settings,
        )

    def loss(self, x, label) -> float:
        """Return the mean loss of events never trained on."""
        with torch.no_grad():
            return bce(self.network, (x, label)).item()


class DataLoaderLoop(Ours):
    """The loop of the tutorials: a DataLoader over a TensorDataset, Adam as it comes."""

    def __init__(self, x, label, batch_size, rate, seed):
        super().__init__(x, label, batch_size, rate, seed)
        rows = torch.utils.data.TensorDataset(x, label)
        g = generator(seed, 1)
        kept = {"batch_size": batch_size, "shuffle": True, "drop_last": True, "generator": g}
        self.loader = torch.utils.data.DataLoader(rows, **kept)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)

    def epochs(self, n: int) -> None:
        """Train for n passes over the events."""
        for _ in range(n):
            for batch in self.loader:
                self.optimiser.zero_grad()
                bce(self.network, batch).backward()
                self.optimiser.step()


class ScikitLearn:
    """MLPClassifier, one pass at a time."""

    def __init__(self, x, label, batch_size, rate, seed):
        from sklearn.neural_network import MLPClassifier

        self.x, self.label = x.numpy(), label.numpy()
        sizes = {"batch_size": batch_size, "learning_rate_init": rate, "alpha": 0.0}
        self.network = MLPClassifier(HIDDEN, random_state=seed, **sizes)

    def epochs(self, n: int) -> None:
        """Train for n passes over the events."""
        for _ in range(n):
            self.network.partial_fit(self.x, self.label, classes=[0, 1])

    def loss(self, x, label) -> float:
        """Return the mean loss of events never trained on."""
        probability = torch.as_tensor(self.network.predict_proba(x.numpy())[:, 1])
        return nn.functional.binary_cross_entropy(probability.float(), label).item()


CONTENDERS = {"ours": Ours, "DataLoader": DataLoaderLoop, "scikit-learn": ScikitLearn}


def start(contender, data, batch_size: int, seed: int):
    x, label, _ = data
    rate = 1e-3 * (batch_size / 256) ** 0.5
    return contender(x[:EVENTS], label[:EVENTS], batch_size, rate, seed)


def timed(run, epochs: int, seed: int) -> float:
    """Return the CPU seconds of so many epochs."""
    begun = time.process_time()
    with seeded(seed):
        run.epochs(epochs)
    return time.process_time() - begun


def until_good(contender, data, batch_size: int, seed: int, most: int) -> tuple[float, float]:
    """Return CPU seconds and distance from the smallest loss of the shortest run that is good.

    ``fit`` makes a whole run at once, so each length is a run of its own, from the same start.
    """
    x, label, smallest = data
    for epochs in range(1, most + 1):
        run = start(contender, data, batch_size, seed)
        seconds = timed(run, epochs, seed)
        gap = run.loss(x[EVENTS:], label[EVENTS:]) - smallest
        if gap < GAP:
            return seconds, gap
    return float("inf"), gap


def compare(batch_size: int, seeds: int, most: int) -> None:
    """Measure all contenders in turn for each seed and write two lines for each peer."""
    per_step = {name: [] for name in CONTENDERS}
    seconds, gaps = copy.deepcopy(per_step), copy.deepcopy(per_step)
    for seed in range(seeds + 1):
        data = events(seed)
        for name, contender in CONTENDERS.items():
            epoch = timed(start(contender, data, batch_size, seed), 2, seed) / 2
            if seed == 0:  # a warm-up
                continue
            per_step[name].append(1e6 * epoch / (EVENTS // batch_size))
            taken, gap = until_good(contender, data, batch_size, seed, most)
            seconds[name].append(taken)
            gaps[name].append(gap)
    for what, times in {"step": per_step, "to a fixed loss": seconds}.items():
        for peer in (name for name in CONTENDERS if name != "ours"):
            ratios = [b / a for a, b in zip(times["ours"], times[peer], strict=True)]
            record(
                question=f"classifier training, batch {batch_size}: {what}",
                peer=peer,
                ours=round(median(times["ours"]), 3),
                theirs=round(median(times[peer]), 3),
                ratio=round(median(times[peer]) / median(times["ours"]), 2),
                target=TARGETS[peer, what],
                quality_ours=round(mean(gaps["ours"]), 4),
                quality_theirs=round(mean(gaps[peer]), 4),
                spread=[round(min(ratios), 2), round(max(ratios), 2)],
                seeds=seeds,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 8192])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6, help="the longest run")
    asked = parser.parse_args()
    set_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn: one epoch is not the optimum
        for batch_size in asked.batch:
            compare(batch_size, asked.seeds, asked.epochs)


if __name__ == "__main__":
    main()
