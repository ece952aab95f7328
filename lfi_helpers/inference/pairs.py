"""What inference asks of its pairs (theta, x), its prior and its observation, before it computes.

Trains nothing, draws from no posterior.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributions import Distribution

from lfi_helpers.arguments import batch, finite, floating, one_of, same_length
from lfi_helpers.inference.errors import TooFewSimulations
from lfi_helpers.run import draw, generator


def training_pairs(
    theta: Tensor, x: Tensor, prior: Distribution, on_invalid: str = "raise"
) -> tuple[Tensor, Tensor]:
    """Return theta (N, D) and x (N, L) as float32 on the CPU, after checking all that can be.

    Args:
        theta: parameters, each inside the prior's support, (N, D).
        x: one simulation for each, (N, L).
        prior: event shape (D,).
        on_invalid: what to do with pairs that hold NaN or infinity: ``"raise"``, or ``"drop"``
            them with a warning that counts them.

    Raises:
        ValueError: for a wrong shape, unequal lengths, non-finite pairs, a prior of another event
            shape, and theta where the prior has no density.
    """
    one_of("on_invalid", on_invalid, ["raise", "drop"])
    theta, x = (batch(n, v).detach().float().cpu() for n, v in (("theta", theta), ("x", x)))
    same_length(theta=theta, x=x)
    if not isinstance(prior, Distribution):
        raise TypeError(f"prior: expected a torch Distribution, got {type(prior).__name__}")
    wanted, came = (theta.shape[1:], torch.Size()), (prior.event_shape, prior.batch_shape)
    if wanted != came:
        raise ValueError(
            f"prior: expected event shape {tuple(wanted[0])} and no batch shape, "
            f"got {tuple(came[0])} and {tuple(came[1])}"
        )
    valid = torch.isfinite(theta).all(1) & torch.isfinite(x).all(1)
    n_bad = int((~valid).sum())
    if n_bad and on_invalid == "raise":
        raise ValueError(
            f"theta and x: expected finite numbers, got {n_bad} of {len(x)} rows with NaN or "
            'infinity; on_invalid="drop" leaves them out'
        )
    if n_bad:
        text = f"theta and x: {n_bad} of {len(x)} rows hold NaN or infinity"
        warnings.warn(f"{text}; they are dropped, which biases what is learned", stacklevel=3)
        theta, x = theta[valid], x[valid]
    if len(theta) < 20:
        raise TooFewSimulations(f"theta: expected at least 20 simulations, got {len(theta)}")
    _inside(theta, prior)
    return theta, x


def _inside(theta: Tensor, prior: Distribution) -> None:
    """Raise if the prior has no density, or none at some theta."""
    try:
        outside = ~torch.isfinite(log_prior(prior, theta))
    except NotImplementedError as error:
        name = type(prior).__name__
        raise TypeError(f"prior: expected a Distribution with a log_prob, got {name}") from error
    if outside.any():
        first = theta[outside][0].tolist()
        raise ValueError(
            f"theta: expected rows where the prior's log_prob is finite, got {int(outside.sum())} "
            f"of {len(theta)} where it is not, the first at {first}"
        )


def log_prior(prior: Distribution, theta: Tensor) -> Tensor:
    """Return log p(theta), (N,), on theta's device: -inf outside the support, never an error."""
    at = theta.to(_home(prior))
    try:
        support = prior.support
    except NotImplementedError:  # a torch Distribution may leave its support out
        return prior.log_prob(at).to(theta)
    log_p = torch.full_like(at[:, 0], -torch.inf)
    inside = support.check(at).nonzero()[:, 0]
    if len(inside):
        log_p[inside] = prior.log_prob(at[inside]).to(log_p.dtype)
    return log_p.to(theta.device)


@lru_cache(maxsize=8)
def _home(prior: Distribution) -> torch.device:
    """Return the device of the prior's draws."""
    return draw(prior, 1, generator(0)).device


@dataclass(frozen=True)
class Seen:
    """The range of the training data, against which observations are checked."""

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Seen":
        """Return the range of x (N, L)."""
        return cls(x.amin(0), x.amax(0), x.mean(0), x.std(0))

    def observations(self, x_obs: Tensor, name: str = "x_obs", stacklevel: int = 3) -> Tensor:
        """Return x_obs as (n, L) float32; warn where it lies outside the training range.

        Raises:
            ValueError: for another width, or NaN or infinity.
        """
        x = floating(name, x_obs).detach()
        x = x[None] if x.ndim == 1 else x
        width = len(self.low)
        if x.ndim != 2 or x.shape[1] != width or len(x) == 0:
            came = tuple(floating(name, x_obs).shape)
            raise ValueError(f"{name}: expected shape ({width},) or (n, {width}), got {came}")
        x = finite(name, x).float()
        at = x.to(self.low.device)
        outside = (at < self.low) | (at > self.high)
        if outside.any():
            z = torch.where(outside, (at - self.mean).abs() / self.deviation, 0.0)
            row, feature = divmod(int(z.argmax()), width)
            warnings.warn(
                f"{name}: {int(outside.any(1).sum())} of {len(x)} rows lie outside the range of "
                f"the training data; worst is feature {feature} of row {row}, "
                f"{z[row, feature]:.1f} deviations from the mean: an extrapolation",
                stacklevel=stacklevel,
            )
        return x


def one_observation(x: Tensor) -> Tensor:
    """Return x (1, L), or raise if it is a set of events."""
    if len(x) != 1:
        raise ValueError(
            f"x_obs: expected one observation, got {len(x)} rows; a posterior learned with npe "
            "takes sets of events only as summaries, and many observations by sample_batch"
        )
    return x


def count(name: str, n: int) -> int:
    """Return n if it is an integer >= 1; else raise."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name}: expected an integer, got {n!r}")
    if n < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {n}")
    return n
