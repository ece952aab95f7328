"""Neural posterior estimation: a conditional flow of theta given x, trained on pairs.

Must never know the simulator that made the pairs.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lfi_helpers.flows import StandardCoordinates, prior_coordinates
from lfi_helpers.inference.learn import flows, learn, sizes
from lfi_helpers.inference.pairs import Seen, training_pairs
from lfi_helpers.inference.posterior import DensityPosterior
from lfi_helpers.run import check_seed


def npe(
    theta: Tensor,
    x: Tensor,
    prior: Distribution,
    *,
    seed: int = 0,
    kind: str = "nsf",
    transforms: int | None = None,
    hidden: tuple[int, ...] | None = None,
    max_epochs: int = 30,
    batch_size: int = 450,
    learning_rate: float = 1.2e-2,
    patience: int | None = 4,
    on_invalid: str = "raise",
    device: str | torch.device = "auto",
    progress: bool = True,
) -> DensityPosterior:
    r"""Learn the posterior q(theta | x) of every x at once from pairs (theta, x).

    Minimises :math:`-E_{p(\theta) p(x | \theta)} \log q(\theta | x)`, whose minimiser is the
    posterior; theta must be drawn from the prior. With a prior of independent uniform, normal or
    log-normal components the flow works where that prior is flat on a cube: nothing leaks out of
    the support and nothing is rejected. Source: arXiv:1905.07488.

    Args:
        theta: draws from the prior, (N, D).
        x: one simulation for each, (N, L).
        prior: event shape (D,).
        seed: of the initial weights, the split and the order of the rows.
        kind, transforms, hidden: of the ``Flow``. If neither transforms nor hidden is given, a
            large flow is trained, and if it overfits a small one too: the better one on held-out
            pairs is kept.
        max_epochs, batch_size, learning_rate: of the one-cycle training, of which the averaged
            weights that are best on a tenth of the pairs are kept.
        patience: stop after so many epochs that gain nothing beyond the uncertainty of the
            held-out loss.
        on_invalid: ``"raise"``, or ``"drop"`` pairs that hold NaN or infinity, with a warning.
        device: ``"auto"`` or a torch device.
        progress: show a bar.

    Raises:
        TooFewSimulations: for fewer than one simulation for each 200 weights.
        TypeError, ValueError: for pairs or a prior that do not fit together.
        TrainingDiverged: when a loss is not finite.
    """
    check_seed(seed)
    theta, x = training_pairs(theta, x, prior, on_invalid)
    coordinates = coordinates_of(prior, theta)
    flow, history = learn(
        flows(theta, x, coordinates, kind, seed),
        sizes(transforms, hidden),
        lambda flow, pair: -flow(pair[1]).log_prob(pair[0]).mean(),
        (theta, x),
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        device=device,
        progress=progress,
    )
    bounded = coordinates.cube or is_unbounded(prior)
    return DensityPosterior(flow, prior, Seen.of(x), history, bounded)


def coordinates_of(prior: Distribution, theta: Tensor):
    """Return the coordinates where the prior is flat if there are such, else standardised ones."""
    try:
        return prior_coordinates(prior)
    except ValueError:
        return StandardCoordinates(theta)


def is_unbounded(prior: Distribution) -> bool:
    """Does the prior say that it has a density everywhere?"""
    try:
        support = prior.support
    except NotImplementedError:
        return False
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real or support is constraints.real_vector
