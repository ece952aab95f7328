"""Spikes of a neuron under white noise: a generalised linear model, seen through its statistics.

It must never know how theta is inferred.
"""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.references import (
    Guide,
    ReferenceFailed,
    as_float32,
    count,
    draw_guided,
    observation,
)

DIM = 10  # an offset and a filter of nine steps
NEWTON_STEPS = 100  # at most, to the posterior's mode
# 100 normal numbers, those of numpy.random.RandomState(42).randn(100) as float32.
# fmt: off
STIMULUS = (
    0.49671414, -0.1382643, 0.64768857, 1.5230298, -0.23415338, -0.23413695, 1.5792128,
    0.7674347, -0.46947438, 0.54256004, -0.46341768, -0.46572974, 0.24196227, -1.9132802,
    -1.7249179, -0.5622875, -1.0128311, 0.31424734, -0.9080241, -1.4123037, 1.4656488,
    -0.2257763, 0.0675282, -1.4247482, -0.54438275, 0.11092259, -1.1509936, 0.37569803,
    -0.6006387, -0.29169375, -0.6017066, 1.8522782, -0.013497225, -1.0577109, 0.82254493,
    -1.2208437, 0.2088636, -1.9596701, -1.328186, 0.19686124, 0.73846656, 0.17136829,
    -0.115648285, -0.30110368, -1.478522, -0.7198442, -0.46063876, 1.0571222, 0.3436183,
    -1.7630402, 0.32408398, -0.38508227, -0.676922, 0.6116763, 1.0309995, 0.93128014,
    -0.83921754, -0.3092124, 0.33126342, 0.9755451, -0.47917423, -0.18565898, -1.1063349,
    -1.1962066, 0.8125258, 1.35624, -0.07201012, 1.0035329, 0.361636, -0.6451197,
    0.3613956, 1.5380366, -0.03582604, 1.5646436, -2.619745, 0.8219025, 0.08704707,
    -0.29900736, 0.09176078, -1.9875689, -0.21967189, 0.35711256, 1.4778941, -0.5182702,
    -0.8084936, -0.501757, 0.9154021, 0.32875112, -0.5297602, 0.51326746, 0.09707755,
    0.968645, -0.70205307, -0.32766214, -0.39210814, -1.4635149, 0.2961203, 0.26105526,
    0.005113457, -0.23458713,
)
# fmt: on


class BernoulliGlm:
    r"""The statistics x = V^T y of 100 spikes y for theta = (offset, filter of nine steps).

    P(y_t = 1 | theta) = sigmoid(V_t theta), V_t = (1, I_t, I_{t-1}, ..., I_{t-8}) with the fixed
    stimulus I (zero before it starts): x_1 is the number of spikes, the others are the stimulus
    summed over the spikes, nine lags long.

        log P(x | theta) = x . theta - sum_t log(1 + exp(V_t theta)):

    one y, and no other, has these statistics, since no two sums of some of the 100 numbers agree.

    The offset is N(0, 2); the filter is N(0, (F^T F)^-1) with F = D^2 + diag(sqrt(i / 9)),
    i = 0 ... 8, D the first difference: rough filters are rare. Source: the task of
    arXiv:2101.04653.
    """

    name = "bernoulli_glm"
    theta_dim = x_dim = DIM

    def __init__(self):
        exact = {"device": "cpu", "dtype": torch.float64}
        self._precision = _prior_precision()
        root = torch.linalg.cholesky(torch.linalg.inv(self._precision)).float()
        loc = torch.zeros(DIM, device="cpu")
        self.prior = MultivariateNormal(loc, scale_tril=root, validate_args=False)
        stimulus = torch.tensor(STIMULUS, **exact)
        lags = [torch.ones_like(stimulus)]
        lags += [torch.nn.functional.pad(stimulus, (lag, 0))[:100] for lag in range(DIM - 1)]
        self.design = torch.stack(lags, 1)  # V, (100, 10)

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the statistics of one spike train for each theta: (N, 10) -> (N, 10)."""
        theta = finite("theta", batch("theta", theta, DIM))
        design = self.design.to(theta)
        p = torch.sigmoid(theta @ design.mT)  # (N, 100)
        u = torch.rand(p.shape, generator=generator, device=p.device, dtype=p.dtype)
        return (u < p).to(p.dtype) @ design

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log P(x | theta), (N,), for x that spikes can have.

        It is -inf where x_1 is not one of 0, 1, ..., 100; that the other nine belong to a spike
        train is not checked. Differentiable in theta.
        """
        x = finite("x", batch("x", x, DIM))
        theta = finite("theta", batch("theta", theta, DIM))
        same_length(x=x, theta=theta)
        spikes = x[:, 0]
        possible = (spikes >= 0) & (spikes <= len(STIMULUS)) & (spikes == spikes.floor())
        log_none = torch.nn.functional.softplus(theta @ self.design.to(theta).mT).sum(1)
        return torch.where(possible, (x * theta).sum(1) - log_none, -torch.inf)

    def posterior_samples(
        self, x_obs: Tensor, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw from the posterior by rejection, guided by its mode and curvature: (n, 10).

        Raises:
            ReferenceFailed: if x_obs is too improbable for the guide.
        """
        x, n = observation(x_obs, DIM), count(n)
        design, precision = self.design.to(x), self._precision.to(x)

        def log_density(theta: Tensor) -> Tensor:
            log_none = torch.nn.functional.softplus(theta @ design.mT).sum(1)
            return theta @ x - log_none - 0.5 * ((theta @ precision) * theta).sum(1)

        mode, curvature = _mode(x, design, precision)
        guide = Guide(mode[None], torch.linalg.cholesky(torch.linalg.inv(curvature)))
        return as_float32(draw_guided(log_density, guide, n, generator))


def _prior_precision() -> Tensor:
    """Return the prior's inverse covariance, (10, 10)."""
    exact = {"device": "cpu", "dtype": torch.float64}
    m = DIM - 1
    difference = torch.eye(m, **exact) - torch.diag_embed(torch.ones(m - 1, **exact), offset=-1)
    root = difference @ difference + torch.diag((torch.arange(m, **exact) / m).sqrt())
    precision = torch.zeros(DIM, DIM, **exact)
    precision[0, 0] = 0.5
    precision[1:, 1:] = root.mT @ root
    return precision


def _mode(x: Tensor, design: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior's mode (10,) and minus its second derivative there (10, 10).

    Newton's steps, cut to a length of one: the log-density is concave.
    """
    theta = torch.zeros_like(x)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(design @ theta)
        gradient = x - design.mT @ p - precision @ theta
        curvature = (design.mT * (p * (1 - p))) @ design + precision
        step = torch.linalg.solve(curvature, gradient)
        theta = theta + step / max(1.0, step.norm().item())
        if step.norm() < 1e-9:
            return theta, curvature
    raise ReferenceFailed(
        f"posterior: expected its mode within {NEWTON_STEPS} Newton steps, got a step of "
        f"{step.norm().item():.3g} at the last"
    )
