"""Infer, choose a design, run the experiment, repeat: a campaign whose record is all its state.

Must never know what the experiments measure.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lfi_helpers.decisions.bayesopt import BayesOpt, check_bounds
from lfi_helpers.decisions.design import check_design, expected_information_gain
from lfi_helpers.run import spawn_seeds


def belief(record: Sequence[dict], log_likelihood: Callable, theta: Tensor) -> Tensor:
    """Return the weights of the points theta (G, D), (G,), given all experiments of a record.

    The prior is flat. ``log_likelihood`` is that of ``expected_information_gain``.
    """
    log_l = torch.zeros(len(theta), dtype=torch.float64, device=theta.device)
    for done in record:
        x = torch.tensor(done["events"], device=theta.device)
        log_l = log_l + log_likelihood(x, theta, tuple(done["chosen"]))[0].double()
    return torch.softmax(log_l, 0)


def campaign(
    measure: Callable[[tuple[float, ...], int], Tensor],
    simulate: Callable,
    log_likelihood: Callable,
    theta: Tensor,
    *,
    bounds,
    n_rounds: int,
    record: Sequence[dict] = (),
    n_tries: int = 20,
    n_initial: int = 8,
    n_experiments: int = 48,
    seed: int = 0,
) -> Iterator[list[dict]]:
    """Yield the record after every step: a design judged, or the chosen experiment done.

    In each round Bayesian optimisation looks for the design of the largest expected information
    gain under the current posterior; the best of ``n_tries`` is run. A record is a list of
    rounds, ``{"designs", "gains", "chosen", "events"}``, of plain numbers and lists, fit for JSON.
    Each step follows from record and seed alone: given the record of an interrupted campaign, in
    whatever step, the rest is the same as if it had not been interrupted. A complete record is
    yielded as it is.

    Args:
        measure: ``(design, round) -> x (1, ...)``, the real experiment; round counts from 0.
        simulate, log_likelihood, theta: as for ``expected_information_gain``; the prior is flat.
        bounds: (low, high) of each number of a design.
        n_rounds: how many experiments.
        record: of an interrupted campaign with the same arguments.
        n_tries: designs judged in a round, the first ``n_initial`` spread over the box.
        n_experiments: simulated for each design.
        seed: of everything but ``measure``.

    Raises:
        ValueError: for a record that no campaign in these bounds leaves behind.
    """
    check_bounds(bounds)
    record = _checked(record, bounds, n_rounds)
    seeds = spawn_seeds(seed, n_rounds)
    if record and len(record) == n_rounds and "events" in record[-1]:
        yield record
    while len(record) < n_rounds or "events" not in record[-1]:
        if not record or "events" in record[-1]:
            record = [*record, {"designs": [], "gains": []}]
        *past, now = record
        k = len(past)
        search = BayesOpt(bounds, n_initial=n_initial, seed=seeds[k])
        for design, gain in zip(now["designs"], now["gains"], strict=True):
            search.tell(design, gain)
        if len(search.y) < n_tries:
            design = check_design(search.ask())
            settings = {"n_experiments": n_experiments, "seed": seeds[k], "bounds": bounds}
            weight = belief(past, log_likelihood, theta)
            gain = expected_information_gain(
                design, simulate, log_likelihood, theta, weight, **settings
            ).mean
            judged = {"designs": [*now["designs"], list(design)], "gains": [*now["gains"], gain]}
            record = [*past, judged]
        else:
            chosen = check_design(search.x[search.y.argmax()])
            events = measure(chosen, k).tolist()
            record = [*past, {**now, "chosen": list(chosen), "events": events}]
        yield record


def _checked(record: Sequence[dict], bounds, n_rounds: int) -> list[dict]:
    """Return the record as a list if a campaign in these bounds may have left it behind."""
    if isinstance(n_rounds, bool) or not isinstance(n_rounds, int) or n_rounds < 1:
        raise ValueError(f"n_rounds: expected an integer >= 1, got {n_rounds!r}")
    if len(record) > n_rounds:
        raise ValueError(f"record: expected at most {n_rounds} rounds, got {len(record)}")
    for k, done in enumerate(record):
        whole = {"designs", "gains", "chosen", "events"}
        half = {"designs", "gains"} if k == len(record) - 1 else whole
        if set(done) not in (whole, half):
            raise ValueError(f"record: expected {sorted(whole)} in round {k}, got {sorted(done)}")
        if len(done["designs"]) != len(done["gains"]):
            got = f"{len(done['designs'])} and {len(done['gains'])}"
            raise ValueError(f"record: expected as many gains as designs in round {k}, got {got}")
        for design in (*done["designs"], *([done["chosen"]] if "chosen" in done else [])):
            check_design(design, bounds)
    return list(record)
