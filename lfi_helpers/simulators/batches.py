"""Run a simulator over many theta, here, in processes or on a cluster: always the same numbers.

Knows the Simulator protocol only; must never know which simulator it runs.
"""

import warnings
from functools import partial

import torch
from joblib import Parallel, delayed
from torch import Tensor

from lfi_helpers.arguments import batch, finite, one_of
from lfi_helpers.run import draw, generator, spawn_seeds
from lfi_helpers.simulators.base import Simulator

CHUNK = 10_000  # rows per chunk: each has its own seed, so that who computes it does not matter


def simulate(
    simulator: Simulator,
    n_sim: int,
    seed: int = 0,
    theta: Tensor | None = None,
    workers=None,
    on_invalid: str = "raise",
) -> tuple[Tensor, Tensor]:
    """Draw theta from the prior and x from the simulator: ``(theta (n_sim, D), x (n_sim, L))``.

    The numbers depend on ``seed`` alone: rows are cut into chunks of 10 000, each with a seed of
    its own, so they are bitwise the same for every ``workers``.

    Args:
        simulator: anything that keeps the ``Simulator`` promise.
        n_sim: how many simulations; with ``theta`` it must be its number of rows.
        seed: the seed of every draw.
        theta: parameters to simulate at, (n_sim, D), instead of draws from the prior.
        workers: None for this process, a number of processes, or a dask ``Client``.
        on_invalid: what to do with rows of x that hold NaN or infinity: ``"raise"``, or ``"drop"``
            them from both outputs with a warning that counts them.

    Raises:
        ValueError: for a bad argument, and for non-finite x when ``on_invalid="raise"``.
    """
    one_of("on_invalid", on_invalid, ["raise", "drop"])
    if isinstance(n_sim, bool) or not isinstance(n_sim, int) or n_sim < 1:
        raise ValueError(f"n_sim: expected an integer >= 1, got {n_sim!r}")
    if theta is not None:
        theta = finite("theta", batch("theta", theta, simulator.theta_dim))
        if len(theta) != n_sim:
            raise ValueError(f"n_sim: expected the {len(theta)} rows of theta, got {n_sim}")
    sizes = [min(CHUNK, n_sim - first) for first in range(0, n_sim, CHUNK)]
    parts = [None] * len(sizes) if theta is None else list(theta.split(CHUNK))
    run = partial(_simulate_chunk, simulator)
    done = _map(run, sizes, spawn_seeds(seed, len(sizes)), parts, workers)
    theta, x = (torch.cat(columns) for columns in zip(*done, strict=True))
    return _judge(theta, x, on_invalid)


def _simulate_chunk(simulator, n, seed, theta):
    prior_draws, noise = generator(seed, 0), generator(seed, 1)
    if theta is None:
        theta = draw(simulator.prior, n, prior_draws)
    if theta.device.type != "cpu":
        noise = generator(seed, 1, theta.device)
    x = simulator.sample(theta, generator=noise)
    if x.ndim < 2 or len(x) != n:
        raise ValueError(f"x: expected {n} rows from sample, got shape {tuple(x.shape)}")
    return theta, x


def _map(run, sizes, seeds, parts, workers) -> list:
    """Apply run to every chunk, in order, wherever the workers are."""
    if workers is None or workers == 1:
        return [run(*chunk) for chunk in zip(sizes, seeds, parts, strict=True)]
    if isinstance(workers, int) and not isinstance(workers, bool) and workers > 1:
        chunks = zip(sizes, seeds, parts, strict=True)
        return Parallel(n_jobs=workers)(delayed(run)(*chunk) for chunk in chunks)
    if hasattr(workers, "gather") and hasattr(workers, "map"):
        return workers.gather(workers.map(run, sizes, seeds, parts))
    raise TypeError(f"workers: expected None, an integer >= 1 or a dask Client, got {workers!r}")


def _judge(theta: Tensor, x: Tensor, on_invalid: str) -> tuple[Tensor, Tensor]:
    """Refuse or drop, and count, the rows of x that are not finite."""
    valid = torch.isfinite(x).flatten(1).all(1)
    n_bad = int((~valid).sum())
    if n_bad == 0:
        return theta, x
    share = f"{n_bad} of {len(x)} simulations hold NaN or infinity"
    if on_invalid == "raise":
        first = int((~valid).nonzero()[0])
        raise ValueError(
            f"x: expected finite numbers, got {share}, first theta = {theta[first].tolist()}"
        )
    warnings.warn(f"x: {share}; they are dropped, which biases what is learned", stacklevel=3)
    return theta[valid], x[valid]
