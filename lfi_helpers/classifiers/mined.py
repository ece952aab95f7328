"""Losses that learn from mined gold: the joint log-ratio and joint score of simulated events.

One function each, on log-ratios; must never know a simulator, and trains nothing.

The latent path z of an event gives the joint log-ratio log r(x, z) = log p(x, z | theta) /
p(x, z | theta_ref) and the joint score t(x, z), the gradient of log p(x, z | theta) in theta.
Averages over the paths that lead to one x turn them into log r(x) and t(x):

    E[r(x, z) | x, theta_ref] = r(x),   E[1 / r(x, z) | x, theta] = 1 / r(x),
    E[t(x, z) | x, theta] = t(x).

Label 1 marks draws at theta, the numerator, label 0 draws at theta_ref. Every loss asks for
equally many of both. A log-ratio is never clipped: where its exponential overflows the loss is
infinite, and training stops with an error. Source: arXiv:1805.00020, arXiv:1808.00973 (ALICE).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lfi_helpers.arguments import batch, finite, floating, same_length
from lfi_helpers.classifiers.calibration import Calibrator, calibrate
from lfi_helpers.classifiers.losses import carl_loss, same_shape


class MinedRows(NamedTuple):
    """What the losses train on, a row per event: draws at theta first, then draws at theta_ref.

    ``joint_score`` is NaN where the label is 0: there the path was drawn at theta_ref, and its
    score says nothing about theta.
    """

    theta: Tensor
    x: Tensor
    label: Tensor
    joint_log_ratio: Tensor
    joint_score: Tensor


def mined_rows(theta: Tensor, at_theta, at_ref) -> MinedRows:
    """Stack the gold of N draws at theta and of N draws at theta_ref: 2N rows.

    Args:
        theta: parameters of the numerator, (N, D), for both halves: a draw at the reference gets
            its theta from the same distribution as a draw at theta, else theta gives the label
            away.
        at_theta: ``mine(theta, theta_ref)``: x, joint_log_ratio (N,), joint_score (N, D).
        at_ref: ``mine(theta_ref, theta)``: its log-ratio is that of theta_ref over theta; its sign
            is changed here.

    Raises:
        ValueError: for unequal numbers of draws, or gold that is not finite.
    """
    theta = finite("theta", batch("theta", theta))
    same_length(theta=theta, at_theta=at_theta.x, at_ref=at_ref.x)
    for name, gold in (("at_theta", at_theta), ("at_ref", at_ref)):
        finite(f"{name}.joint_log_ratio", gold.joint_log_ratio)
    score = finite("at_theta.joint_score", batch("at_theta.joint_score", at_theta.joint_score))
    log_ratio = at_theta.joint_log_ratio
    return MinedRows(
        torch.cat([theta, theta]),
        torch.cat([at_theta.x, at_ref.x]),
        torch.cat([torch.ones_like(log_ratio), torch.zeros_like(log_ratio)]),
        torch.cat([log_ratio, -at_ref.joint_log_ratio]),
        torch.cat([score, torch.full_like(score, torch.nan)]),
    )


def ratio_and_score(
    log_ratio: Callable[[Tensor, Tensor], Tensor], theta: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the estimate log r(x | theta), (N,), and its gradient in theta, (N, D).

    Both can be differentiated in the network's weights. A network of straight pieces (ReLU) has a
    gradient that hardly learns: take SiLU or tanh.
    """
    same_length(theta=theta, x=x)
    with torch.enable_grad():  # also where fit judges held-out rows
        theta = theta.detach().requires_grad_()
        value = log_ratio(theta, x)
        if value.shape != (len(x),):
            raise ValueError(f"log_ratio: expected shape ({len(x)},), got {tuple(value.shape)}")
        (score,) = torch.autograd.grad(value.sum(), theta, create_graph=True)
    return value, score


def rolr_loss(log_ratio: Tensor, label: Tensor, joint_log_ratio: Tensor) -> Tensor:
    r"""Return the squared error of r where the label is 0, and of 1 / r where it is 1.

    L = mean((1 - y) (r_hat - r(x, z))^2 + y (1 / r_hat - 1 / r(x, z))^2). Both terms have the
    minimiser r(x); the exchanged ones have another. If r(x, z) has no variance under theta_ref,
    nor has this loss a mean.

    Args:
        log_ratio: the estimate, (N,).
        label: 1 for draws at theta, 0 for draws at theta_ref, (N,).
        joint_log_ratio: log r(x, z), (N,).

    Raises:
        ValueError: if the shapes are not one (N,), or the gold is not finite.
    """
    same_shape(log_ratio=log_ratio, label=label, joint_log_ratio=joint_log_ratio)
    finite("joint_log_ratio", joint_log_ratio)
    sign = 1 - 2 * label.to(log_ratio.dtype)  # (N,) -1: compare the inverse ratios
    return ((sign * log_ratio).exp() - (sign * joint_log_ratio).exp()).square().mean()


def alice_loss(log_ratio: Tensor, joint_log_ratio: Tensor) -> Tensor:
    r"""Return the cross-entropy of s = sigmoid(log_ratio) against s(x, z) instead of a label.

    L = -mean(s(x, z) log s + (1 - s(x, z)) log(1 - s)), s(x, z) = r(x, z) / (1 + r(x, z)): the
    cross-entropy with labels, averaged over what the label could have been. The rows must hold
    equally many draws at theta and at theta_ref; the minimiser is log r(x).

    Args:
        log_ratio: the estimate, (N,).
        joint_log_ratio: log r(x, z), (N,).

    Raises:
        ValueError: if the shapes are not one (N,), or the gold is not finite.
    """
    same_shape(log_ratio=log_ratio, joint_log_ratio=joint_log_ratio)
    joint = finite("joint_log_ratio", joint_log_ratio)
    numerator = torch.sigmoid(joint) * F.softplus(-log_ratio)
    return (numerator + torch.sigmoid(-joint) * F.softplus(log_ratio)).mean()


def cascal_loss(
    log_ratio: Tensor, score: Tensor, label: Tensor, joint_score: Tensor, alpha: float = 5.0
) -> Tensor:
    """Return carl_loss plus alpha times the squared error of the score at label 1.

    ``log_ratio`` (N,) and ``score`` (N, D) come from ``ratio_and_score``; ``label`` (N,) and
    ``joint_score`` (N, D) from ``mined_rows``.
    """
    return carl_loss(log_ratio, label) + alpha * _score_error(score, label, joint_score)


def rascal_loss(
    log_ratio: Tensor,
    score: Tensor,
    label: Tensor,
    joint_log_ratio: Tensor,
    joint_score: Tensor,
    alpha: float = 100.0,
) -> Tensor:
    """Return rolr_loss plus alpha times the squared error of the score at label 1.

    Arguments as ``cascal_loss``, and ``joint_log_ratio`` (N,).
    """
    ratio = rolr_loss(log_ratio, label, joint_log_ratio)
    return ratio + alpha * _score_error(score, label, joint_score)


def alices_loss(
    log_ratio: Tensor,
    score: Tensor,
    label: Tensor,
    joint_log_ratio: Tensor,
    joint_score: Tensor,
    alpha: float = 5.0,
) -> Tensor:
    """Return alice_loss plus alpha times the squared error of the score at label 1.

    Arguments as ``cascal_loss``, and ``joint_log_ratio`` (N,).
    """
    ratio = alice_loss(log_ratio, joint_log_ratio)
    return ratio + alpha * _score_error(score, label, joint_score)


def sally_loss(score: Tensor, joint_score: Tensor) -> Tensor:
    """Return the squared error |score - t(x, z)|^2 of events drawn where the score is wanted.

    Its minimiser is t(x), the statistic that is locally sufficient there. Both are (N, D).

    Raises:
        ValueError: if the shapes are not one (N, D), or the gold is not finite.
    """
    score = batch("score", score)
    if joint_score.shape != score.shape:
        shapes = f"{tuple(score.shape)} and {tuple(joint_score.shape)}"
        raise ValueError(f"score and joint_score: expected the same shape (N, D), got {shapes}")
    return (score - finite("joint_score", joint_score)).square().sum(1).mean()


def _score_error(score: Tensor, label: Tensor, joint_score: Tensor) -> Tensor:
    """Return the sum of squared errors at label 1, over all N rows."""
    same_length(score=batch("score", score), label=label, joint_score=joint_score)
    chosen = label == 1
    if not chosen.any():
        return 0 * score.sum()
    return sally_loss(score[chosen], joint_score[chosen]) * (chosen.sum() / len(label))


class ScoreRatio(NamedTuple):
    """SALLINO: log p(x | theta) / p(x | theta_ref) from a score, by one density in one dimension.

    Call it on scores (N, D) at theta_ref to get (N,).
    """

    step: Tensor
    calibrator: Calibrator

    def __call__(self, score: Tensor) -> Tensor:
        """Return the log-ratio of each row of scores, (N, D) -> (N,)."""
        return self.calibrator.log_ratio(_project(score, self.step))


def sallino(
    score_at_theta: Tensor, score_at_ref: Tensor, step: Tensor, method: str = "histogram"
) -> ScoreRatio:
    r"""Learn log r(x) = log p(h | theta) / p(h | theta_ref) of h(x) = t(x) . (theta - theta_ref).

    Near theta_ref h is sufficient: log r(x) = h(x) + O(|theta - theta_ref|^2). Far from it
    something is lost.

    Args:
        score_at_theta: estimated scores (at theta_ref) of fresh draws at theta, (N1, D).
        score_at_ref: the same of fresh draws at theta_ref, (N0, D).
        step: theta - theta_ref, (D,).
        method: of ``calibrate``.
    """
    step = finite("step", floating("step", step))
    if step.ndim != 1 or not step.any():
        raise ValueError(f"step: expected a vector (D,) that is not zero, got {step.tolist()}")
    drawn = [_project(score, step) for score in (score_at_theta, score_at_ref)]
    label = torch.cat([torch.ones_like(drawn[0]), torch.zeros_like(drawn[1])])
    return ScoreRatio(step, calibrate(torch.cat(drawn), label, method))


def _project(score: Tensor, step: Tensor) -> Tensor:
    return finite("score", batch("score", score, len(step))) @ step.to(score)
