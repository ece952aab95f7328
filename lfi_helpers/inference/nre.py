"""Neural ratio estimation: a classifier of (theta, x) that knows joint pairs from shuffled ones.

Must never know the simulator that made the pairs.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lfi_helpers.inference.learn import learn
from lfi_helpers.inference.pairs import Seen, training_pairs
from lfi_helpers.inference.potential import PotentialPosterior
from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import check_seed

SHUFFLES = 3  # wrong theta for each x


class LogRatio(nn.Module):
    """The term log p(x | theta) / p(x) that a network of (theta, x) adds to the potential.

    Its activation has corners: where the ratio is sharp, smooth ones need many more steps.
    """

    def __init__(self, theta: Tensor, x: Tensor, hidden: tuple[int, ...], seed: int):
        super().__init__()
        self.of_theta, self.of_x = Standardise(theta), Standardise(x)
        width = theta.shape[1] + x.shape[1]
        self.network = mlp(width, 1, hidden, activation="relu", seed=seed)

    def forward(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the log-ratio of each pair, (N,)."""
        return self.network(torch.cat([self.of_theta(theta), self.of_x(x)], 1))[:, 0]


def contrastive_loss(log_ratio, theta: Tensor, x: Tensor, shuffles: int = SHUFFLES) -> Tensor:
    r"""Return the loss of telling which of K theta, if any, made x.

    With odds one to one, either one of K theta made x or none did. With f the log-ratio and
    joint index k, minus half the mean of

        log (e^f_k / (K + sum_j e^f_j))  and, for K shuffled theta,  log (K / (K + sum_j e^f_j)).

    The minimiser is log p(x | theta) / p(x) with its constant, for every K. Source:
    arXiv:2210.06170.

    Args:
        log_ratio: callable (theta, x) -> (N,).
        theta: parameters drawn from the prior, (N, D), independent between rows.
        x: one simulation for each, (N, L).
        shuffles: K; N - 1 if there are fewer rows. One row alone has no contrast: loss 0.
    """
    n = len(theta)
    shuffles = min(shuffles, n - 1)
    if shuffles < 1:
        return 0 * log_ratio(theta, x).sum()
    rolled = torch.cat([theta.roll(k, 0) for k in range(shuffles + 1)])
    f = log_ratio(rolled, x.repeat(shuffles + 1, 1)).view(shuffles + 1, n)
    none = torch.full_like(f[:1], math.log(shuffles))
    joint = f[0] - torch.logsumexp(torch.cat([none, f[:-1]]), 0)
    marginal = none[0] - torch.logsumexp(torch.cat([none, f[1:]]), 0)
    return -(joint + marginal).mean() / 2


def nre(
    theta: Tensor,
    x: Tensor,
    prior: Distribution,
    *,
    seed: int = 0,
    hidden: tuple[int, ...] = (64, 64, 64, 64),
    max_epochs: int = 24,
    batch_size: int = 200,
    learning_rate: float = 1e-2,
    on_invalid: str = "raise",
    device: str | torch.device = "auto",
    progress: bool = True,
) -> PotentialPosterior:
    r"""Learn log p(x | theta) / p(x) by a classifier; the posterior is its product with the prior.

    Each x meets its own theta and three of its neighbours' in the batch (``contrastive_loss``);
    theta must be drawn from the prior, row by row. Sets of independent events (n, L) are
    observations too: their log-ratios add. Sampling is by importance in up to three dimensions,
    by Markov chains above. Source: arXiv:2210.06170.

    Args: as for ``npe``.

    Raises: as for ``npe``.
    """
    check_seed(seed)
    theta, x = training_pairs(theta, x, prior, on_invalid)
    term, history = learn(
        lambda hidden: LogRatio(theta, x, hidden, seed),
        [(hidden,)],
        lambda term, pair: contrastive_loss(term, *pair),
        (theta, x),
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        progress=progress,
    )
    return PotentialPosterior(term, prior, Seen.of(x), history)
