"""Neural likelihood estimation: a conditional flow of x given theta, trained on pairs.

Must never know the simulator that made the pairs.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lfi_helpers.flows import Flow, StandardCoordinates
from lfi_helpers.inference.learn import flows, learn, sizes
from lfi_helpers.inference.pairs import Seen, training_pairs
from lfi_helpers.inference.potential import PotentialPosterior
from lfi_helpers.run import check_seed


class Likelihood(nn.Module):
    """The term log q(x | theta) that a flow of x adds to the potential of theta."""

    def __init__(self, flow: Flow):
        super().__init__()
        self.flow = flow

    def forward(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log q(x | theta), (N,)."""
        return self.flow(theta).log_prob(x)


def nle(
    theta: Tensor,
    x: Tensor,
    prior: Distribution,
    *,
    seed: int = 0,
    kind: str = "nsf",
    transforms: int | None = None,
    hidden: tuple[int, ...] | None = None,
    max_epochs: int = 30,
    batch_size: int = 512,
    learning_rate: float = 1.2e-2,
    patience: int | None = 4,
    on_invalid: str = "raise",
    device: str | torch.device = "auto",
    progress: bool = True,
) -> PotentialPosterior:
    r"""Learn the likelihood q(x | theta); the posterior is its product with any prior.

    Minimises :math:`-E \log q(x | \theta)`: theta may come from any distribution that covers the
    prior. Sets of independent events (n, L) are observations too: their terms add. Sampling is by
    importance in up to three dimensions, by Markov chains above. Source: arXiv:1805.07226.

    Args: as for ``npe``.

    Raises: as for ``npe``.
    """
    check_seed(seed)
    theta, x = training_pairs(theta, x, prior, on_invalid)
    build = flows(x, theta, StandardCoordinates(x), kind, seed)
    term, history = learn(
        lambda *size: Likelihood(build(*size)),
        sizes(transforms, hidden),
        lambda term, pair: -term(*pair).mean(),
        (theta, x),
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        device=device,
        progress=progress,
    )
    return PotentialPosterior(term, prior, Seen.of(x), history)
