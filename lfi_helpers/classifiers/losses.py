"""The losses whose minimiser is a likelihood ratio, one function each. They act on log-ratios.

A network outputs the logit of a classifier, never its probability: in float32 the sigmoid is
exactly 1 from a logit of 17, and log s / (1 - s) is lost. Nothing is trained here.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from lfi_helpers.arguments import same_length


def carl_loss(log_ratio: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Return the cross-entropy of s = sigmoid(log_ratio) against labels 1 and 0.

    L = -mean(weight [label log s + (1 - label) log(1 - s)]). Its minimiser is the log-ratio
    log p(x | label 1) / p(x | label 0) if the labels are balanced; with n_1 and n_0 rows it is
    larger by log n_1 / n_0, which weights of n / (2 n_label) take away. Source: arXiv:1506.02169.

    Args:
        log_ratio: the classifier's logit, (N,).
        label: 1 for draws of the numerator, 0 for draws of the denominator, (N,).
        weight: weights of the rows, (N,); all 1 if None.

    Raises:
        ValueError: if the shapes are not one (N,).
    """
    given = {"log_ratio": log_ratio, "label": label, "weight": weight}
    same_shape(**{name: value for name, value in given.items() if value is not None})
    return F.binary_cross_entropy_with_logits(log_ratio, label.to(log_ratio.dtype), weight)


def focal_loss(log_ratio: Tensor, label: Tensor, gamma: float = 2.0) -> Tensor:
    r"""Return the focal loss: the cross-entropy of each row times (1 - s_t)^gamma.

    s_t = sigmoid(+-log_ratio) is the probability given to the true label. Rows that are already
    right hardly count. The minimiser s has odds

        p / (1 - p) = c(s) / c(1 - s),   c(s) = s^gamma / (1 - s) - gamma s^(gamma-1) log(1 - s),

    where p is the true probability: a monotone distortion of the log-ratio. It ranks, but it is
    not calibrated. Source: arXiv:1708.02002.

    Args:
        log_ratio: the classifier's logit, (N,).
        label: 1 for draws of the numerator, 0 for draws of the denominator, (N,).
        gamma: how much less the easy rows count; 0 is the cross-entropy.

    Raises:
        ValueError: if the shapes are not one (N,), or gamma is negative.
    """
    same_shape(log_ratio=log_ratio, label=label)
    if not gamma >= 0:
        raise ValueError(f"gamma: expected a number >= 0, got {gamma}")
    z = (2 * label - 1) * log_ratio  # (N,) s_t = sigmoid(z)
    easy = (-gamma * F.softplus(z)).exp()  # (N,) (1 - s_t)^gamma; its gradient is always finite
    return (easy * F.softplus(-z)).mean()


def nre_loss(log_ratio: Callable[[Tensor, Tensor], Tensor], theta: Tensor, x: Tensor) -> Tensor:
    r"""Return the cross-entropy of joint pairs against shuffled pairs.

    Joint pairs (theta, x) ~ p(theta) p(x | theta) have label 1; pairs with the neighbour's theta
    are drawn from p(theta) p(x) and have label 0. The minimiser is log p(x | theta) / p(x).
    The neighbour's theta must be independent of x: shuffle rows that come in groups of one theta.
    Source: arXiv:1903.04057.

    Args:
        log_ratio: callable (theta, x) -> (N,).
        theta: parameters drawn from the prior, (N, D).
        x: one simulation for each, (N, L) or (N, ...).

    Raises:
        ValueError: for unequal lengths, fewer than 2 rows, or a log_ratio that is not (N,).
    """
    same_length(theta=theta, x=x)
    if len(theta) < 2:
        raise ValueError(f"theta: expected at least 2 rows to shuffle, got {len(theta)}")
    joint = log_ratio(theta, x)  # (N,)
    shuffled = log_ratio(theta.roll(1, dims=0), x)  # (N,) theta' ~ p(theta), independent of x
    if joint.shape != (len(x),):
        raise ValueError(f"log_ratio: expected shape ({len(x)},), got {tuple(joint.shape)}")
    return (F.softplus(-joint) + F.softplus(shuffled)).mean() / 2


def same_shape(**values: Tensor) -> None:
    """Raise unless all have one shape (N,): a silent broadcast would average N x N pairs."""
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{' and '.join(shapes)}: expected the same shape (N,), got {shapes}")
