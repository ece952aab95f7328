"""Flow throughput beside zuko, nflows and normflows: same sizes, one thread, CPU seconds.

Imports the package and the peers; judges nothing but speed and the quality of the same training.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/bench_flows.py`` after
``pip install zuko nflows normflows``; a peer that is missing is named. Every measurement is one
line of ``build/bench.jsonl``: ``ours`` and ``theirs`` are milliseconds for 4096 events (median of
runs that alternate), ``ratio`` = theirs / ours, ``spread`` the quartiles of the runs' ratios,
``quality`` how far (in nats) the mean log-density of fresh events stays below the exact one after
the same 400 steps of training.
"""

import argparse
import math
import os
import time
from importlib.util import find_spec
from statistics import median, quantiles

import torch
from lines import record
from torch import Tensor

from lfi_helpers.flows import Flow
from lfi_helpers.run import generator, seeded

EVENTS, CONTEXT, TRANSFORMS, HIDDEN, BINS = 4096, 8, 3, 64, 8
# (kind, what is timed) -> how many times faster than the fastest peer we want to be
TARGETS = {
    ("nsf_coupling", "density"): 1.5,
    ("nsf_coupling", "draws"): 1.5,
    ("nsf", "density"): 1.0,
    ("nsf", "draws"): 1.5,
    ("maf", "density"): 1.0,
    ("maf", "draws"): 1.5,
    ("iaf", "draws"): 1.0,
}


def ours(kind, d):
    flow = Flow(d, CONTEXT, kind, transforms=TRANSFORMS, hidden=(HIDDEN, HIDDEN), bins=BINS)
    return flow, lambda t, c: flow(c).log_prob(t), lambda n, c: flow(c[0]).sample((n,))


def zuko(kind, d):
    from zuko.flows import MAF, NSF

    sizes = {"context": CONTEXT, "transforms": TRANSFORMS, "hidden_features": (HIDDEN, HIDDEN)}
    if kind == "iaf":
        return None
    if kind == "maf":
        flow = MAF(d, **sizes)
    else:
        flow = NSF(d, bins=BINS, passes=2 if kind == "nsf_coupling" else None, **sizes)
    return flow, lambda t, c: flow(c).log_prob(t), lambda n, c: flow(c[0]).sample((n,))


def nflows(kind, d):
    from nflows import transforms as T
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow as NFlow
    from nflows.nn.nets import ResidualNet
    from nflows.utils.torchutils import create_alternating_binary_mask

    sizes = {"context_features": CONTEXT, "num_blocks": 1}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": 5.0}

    def network(rows_in, rows_out):
        return ResidualNet(rows_in, rows_out, HIDDEN, **sizes)

    layers = []
    for i in range(TRANSFORMS):
        if kind == "nsf_coupling":
            mask = create_alternating_binary_mask(d, even=i % 2 == 0)
            layers += [T.PiecewiseRationalQuadraticCouplingTransform(mask, network, **spline)]
        elif kind == "nsf":
            layer = T.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
            layers += [layer(d, HIDDEN, **sizes, **spline), T.ReversePermutation(d)]
        elif kind == "maf":
            layer = T.MaskedAffineAutoregressiveTransform(d, HIDDEN, **sizes)
            layers += [layer, T.ReversePermutation(d)]
        else:
            return None
    flow = NFlow(T.CompositeTransform(layers), StandardNormal([d]))
    return flow, flow.log_prob, lambda n, c: flow.sample(n, c[:1])


def normflows(kind, d):
    """Build the peer; its masked affine flow draws in one pass and scores in d: it is an IAF."""
    import normflows as nf

    sizes = {"num_context_channels": CONTEXT, "num_bins": BINS, "tail_bound": 5.0}
    layers = []
    for i in range(TRANSFORMS):
        if kind == "nsf_coupling":
            layer = nf.flows.CoupledRationalQuadraticSpline
            layers += [layer(d, 1, HIDDEN, reverse_mask=i % 2 == 1, **sizes)]
        elif kind == "nsf":
            layers += [nf.flows.AutoregressiveRationalQuadraticSpline(d, 1, HIDDEN, **sizes)]
        elif kind == "iaf":
            layer = nf.flows.MaskedAffineAutoregressive
            layers += [layer(d, HIDDEN, context_features=CONTEXT, num_blocks=1)]
            layers += [nf.flows.Permute(d, mode="swap")]
        else:
            return None
    base = nf.distributions.DiagGaussian(d, trainable=False)
    flow = nf.ConditionalNormalizingFlow(base, layers)
    return flow, flow.log_prob, lambda n, c: flow.sample(n, c[:1].expand(n, -1))[0]


PEERS = {"zuko": zuko, "nflows": nflows, "normflows": normflows}


def bent_chain(n: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw theta (n, d), context (n, 8) and the exact log p(theta | context).

    Each feature is a two-humped noise around a wave of the one before it, moved by the context.
    """
    g = generator(seed)
    c = torch.randn(n, CONTEXT, generator=g)
    side = torch.randint(2, (n, d), generator=g) * 1.4 - 0.7
    noise = side + 0.3 * torch.randn(n, d, generator=g)
    log_p = torch.zeros(n)
    columns, last = [], torch.zeros(n)
    for i in range(d):
        last = noise[:, i] + torch.sin(1.5 * last) + 0.5 * torch.tanh(c[:, i % CONTEXT])
        humps = torch.stack([noise[:, i] - 0.7, noise[:, i] + 0.7]) / 0.3
        log_p += torch.logsumexp(-0.5 * humps**2, 0) - math.log(2 * 0.3 * math.sqrt(2 * math.pi))
        columns.append(last)
    return torch.stack(columns, 1), c, log_p


def quality(built, d: int, steps: int) -> float:
    """Return the nats that the flow lacks after training, on 20 000 fresh events."""
    flow, log_prob, _ = built
    theta, c, _ = bent_chain(20_000, d, 1)
    optimiser = torch.optim.Adam(flow.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    g = generator(2)
    for _ in range(steps):
        rows = torch.randint(len(theta), (512,), generator=g)
        loss = -log_prob(theta[rows], c[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    theta, c, exact = bent_chain(20_000, d, 3)
    with torch.no_grad():
        lacking = [
            (e - log_prob(t, k)).sum()
            for t, k, e in zip(theta.split(4096), c.split(4096), exact.split(4096), strict=True)
        ]
    return float(sum(lacking)) / len(theta)


def action(built, what, d):
    """Return the function to be timed."""
    flow, log_prob, draws = built
    theta, c, _ = bent_chain(EVENTS, d, 0)

    def density():
        flow.zero_grad()
        (-log_prob(theta, c).mean()).backward()

    def sample():
        with torch.no_grad():
            draws(EVENTS, c)

    return density if what == "density" else sample


def alternate(actions: dict, runs: int) -> dict[str, list[float]]:
    """Time every action in turn, after one warm-up: CPU milliseconds.

    ``runs`` times, or five times as often where all of them are quick, since there a neighbour
    on the same machine weighs more.
    """
    times = {name: [] for name in actions}

    def once():
        for name, call in actions.items():
            start = time.process_time()
            call()
            times[name].append(1e3 * (time.process_time() - start))

    once()
    quick = max(taken.pop() for taken in times.values()) < 100
    for _ in range(5 * runs if quick else runs):
        once()
    return times


def build(kind, d, names) -> dict:
    built = {}
    for name in names:
        with seeded(0):
            made = ours(kind, d) if name == "ours" else PEERS[name](kind, d)
        if made is not None:
            built[name] = made
    return built


def measure(kind, d, names, runs, steps):
    built = build(kind, d, names)
    if len(built) == 1:
        return
    lacks = {}
    for what in ("density", "draws"):
        if (kind, what) not in TARGETS:
            continue
        times = alternate({n: action(b, what, d) for n, b in built.items()}, runs)
        if not lacks and d <= 10 and steps and (kind, "density") in TARGETS:
            lacks = {n: round(quality(b, d, steps), 4) for n, b in build(kind, d, names).items()}
        fastest = min((n for n in times if n != "ours"), key=lambda n: median(times[n]))
        for peer in times:
            if peer == "ours":
                continue
            ratios = [b / a for a, b in zip(times["ours"], times[peer], strict=True)]
            record(
                question=f"flows {kind} d={d} {what}",
                peer=peer + (" (fastest)" if peer == fastest else ""),
                ours=round(median(times["ours"]), 2),
                theirs=round(median(times[peer]), 2),
                ratio=round(median(times[peer]) / median(times["ours"]), 3),
                target=TARGETS[kind, what],
                quality_ours=lacks.get("ours"),
                quality_theirs=lacks.get(peer),
                spread=[round(q, 3) for q in quantiles(ratios, n=4)[::2]],
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument("--kinds", nargs="+", default=["nsf_coupling", "nsf", "maf", "iaf"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="training steps; 0: no quality")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    names = ["ours"]
    for peer in PEERS:
        if find_spec(peer):
            names.append(peer)
        else:
            print(f"missing peer: {peer} (pip install {peer})")
    for d in arguments.features:
        for kind in arguments.kinds:
            measure(kind, d, names, arguments.runs, arguments.steps)


if __name__ == "__main__":
    main()
