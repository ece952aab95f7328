"""The training that every learned posterior shares: one cycle of the rate, the best weights kept.

Must never know what the module estimates.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from lfi_helpers.flows import Flow
from lfi_helpers.inference.errors import TooFewSimulations
from lfi_helpers.networks import Standardise
from lfi_helpers.training import History, fit

GRADIENT_CLIP = 5.0
AVERAGE = 0.98  # of the weights: the last fifty steps
HELD_OUT = 0.1  # of the pairs
GAIN = 0.5  # nats over the root of the held-out pairs: less is within their uncertainty
LATE = 0.375  # of the epochs: a network that is best after more of them is not too large
WEIGHTS_PER_SIMULATION = 200  # a network with more weights for each simulation learns noise
# (transforms, hidden) of the flows that are tried, in this order, if none is asked for
SIZES = ((3, (80, 80)), (1, (16, 16)))


def sizes(transforms: int | None, hidden: tuple[int, ...] | None) -> list[tuple]:
    """Return the sizes of the flows to try: the one that was asked for, or a large and a small."""
    if transforms is None and hidden is None:
        return list(SIZES)
    return [(transforms or SIZES[0][0], hidden or SIZES[0][1])]


def flows(
    y: Tensor, context: Tensor, coordinates: nn.Module, kind: str, seed: int
) -> Callable[..., Flow]:
    """Return what builds a flow of y (N, D) given the context (N, C) from (transforms, hidden)."""
    embedding = Standardise(context)

    def build(transforms, hidden):
        return Flow(
            y.shape[1],
            context.shape[1],
            kind,
            coordinates=coordinates,
            embedding=embedding,
            align=(y, context),
            transforms=transforms,
            hidden=hidden,
            seed=seed,
        )

    return build


def learn(
    build: Callable[..., nn.Module], sizes: list[tuple], loss, pairs, **settings
) -> tuple[nn.Module, History]:
    """Train the module of the first size on (theta, x), and the next if that one overfits.

    With ``patience``, epochs that together gain less than the held-out pairs can tell end the
    training. A network that was best while the rate was still high learned noise later: then a
    smaller one may be better where pairs are few or the posterior is plain. What is best on
    held-out pairs is returned. A size with too many weights for the pairs is left out. A batch
    holds at most an 18th of them.

    Raises:
        TooFewSimulations: for fewer than one simulation for each 200 weights of every size.
        TrainingDiverged: when a loss is not finite.
    """
    n_sim, best = len(pairs[0]), None
    batch_size = min(settings.pop("batch_size"), max(16, n_sim // 18))
    cycle = {"schedule": "one_cycle", "gradient_clip": GRADIENT_CLIP, "average": AVERAGE}
    held = {"validation_fraction": HELD_OUT, "min_delta": GAIN / math.sqrt(HELD_OUT * n_sim)}
    for size in sizes:
        module = build(*size)
        weights = sum(p.numel() for p in module.parameters())
        needed = -(-weights // WEIGHTS_PER_SIMULATION)
        if n_sim < needed:
            continue
        history = fit(module, loss, pairs, batch_size=batch_size, **cycle, **held, **settings)
        if best is None or history.best_loss < best[1].best_loss:
            best = module, history
        if history.step.index(history.best_step) + 1 > LATE * settings["max_epochs"]:
            break
    if best is None:
        raise TooFewSimulations(
            f"theta: expected at least {needed} simulations for a network of {weights} weights, "
            f"got {n_sim}: simulate more, or ask for a smaller one (hidden=(16, 16))"
        )
    return best
