"""The training that every learned posterior shares: one cycle of the rate, the best weights kept.

Must never know what the module estimates.
"""

from torch import Tensor, nn

from lfi_helpers.inference.errors import TooFewSimulations
from lfi_helpers.training import History, fit

GRADIENT_CLIP = 5.0
WEIGHTS_PER_SIMULATION = 200  # a network with more weights for each simulation learns noise


def learn(module: nn.Module, loss, pairs: tuple[Tensor, Tensor], **settings) -> History:
    """Train a module on (theta, x); a batch holds at most a twentieth of the pairs.

    Raises:
        TooFewSimulations: for fewer than one simulation for each 200 weights.
        TrainingDiverged: when a loss is not finite.
    """
    n_sim = len(pairs[0])
    weights = sum(p.numel() for p in module.parameters())
    needed = -(-weights // WEIGHTS_PER_SIMULATION)
    if n_sim < needed:
        raise TooFewSimulations(
            f"theta: expected at least {needed} simulations for a network of {weights} weights, "
            f"got {n_sim}: simulate more, or ask for a smaller one (hidden=(16, 16))"
        )
    batch_size = min(settings.pop("batch_size"), max(16, n_sim // 20))
    cycle = {"schedule": "one_cycle", "gradient_clip": GRADIENT_CLIP}
    return fit(module, loss, pairs, batch_size=batch_size, **cycle, **settings)
