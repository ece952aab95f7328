"""Auxiliary measurements: one normal or Poisson factor for each constrained parameter.

It knows neither the main data nor the modifiers behind the parameters.
"""

from math import log, pi

import torch
from torch import Tensor


def log_poisson(n: Tensor, rate: Tensor) -> Tensor:
    """Return n log rate - rate - log n!, also for n = 0 at rate 0, with finite gradients there."""
    some = n != 0
    return torch.where(some, n * torch.where(some, rate, 1).log(), 0) - rate - torch.lgamma(n + 1)


def poisson_gain(n: Tensor, rate: Tensor) -> Tensor:
    """Return log Pois(n | rate) - log Pois(n | n): the same up to what does not matter in a fit.

    As n (log(1 + r) - r), r = rate / n - 1, it has no large terms that cancel: log n! of a count
    of 1e8 is 2e9, and its rounding error would hide the minimum.
    """
    some = n != 0
    n = torch.where(some, n, 1)
    r = (rate - n) / n
    return torch.where(some, n * (torch.where(some, r, 0).log1p() - r), -rate)


class Constraints:
    """The constraint terms in the order of pyhf's auxiliary data.

    A normal one is N(a | theta, width), a Poisson one Pois(a | tau theta) with a factor tau.

    Args:
        config: the ``config`` of a pyhf model.
        device: where the tensors live.
    """

    def __init__(self, config, device: torch.device):
        place, normal, scale = [], [], []
        for name in config.auxdata_order:
            members, parameter = config.par_slice(name), config.param_set(name)
            gaussian = parameter.pdf_type == "normal"
            place += range(members.start, members.stop)
            normal += [gaussian] * parameter.n_parameters
            scale += list(parameter.width() if gaussian else parameter.factors)
        self.place = torch.tensor(place, dtype=torch.int64, device=device)
        self.normal = torch.tensor(normal, dtype=torch.bool, device=device)
        self.scale = torch.tensor(scale, dtype=torch.float64, device=device)  # width or tau

    def expected(self, parameters: Tensor) -> Tensor:
        """Return the mean of the auxiliary data: (B, P) -> (B, A)."""
        return parameters[:, self.place] * torch.where(self.normal, 1, self.scale)

    def logpdf(self, expected: Tensor, aux: Tensor, counts=log_poisson) -> Tensor:
        """Return the sum of all log-densities of auxiliary data of this mean: (B, A) -> (B,).

        ``counts`` is the logarithm of the Poisson probability.
        """
        width = self.scale[self.normal]
        pull = (aux - expected)[:, self.normal] / width
        normal = -(pull**2) / 2 - width.log() - log(2 * pi) / 2
        poisson = counts(aux[:, ~self.normal], expected[:, ~self.normal])
        return normal.sum(1) + poisson.sum(1)

    def sample(self, expected: Tensor, generator: torch.Generator) -> Tensor:
        """Draw auxiliary data of this mean: (B, A) -> (B, A)."""
        noise = torch.randn(
            expected.shape, dtype=expected.dtype, device=expected.device, generator=generator
        )
        rate = torch.where(self.normal, 0, expected)
        counts = torch.poisson(rate, generator=generator)
        return torch.where(self.normal, expected + self.scale * noise, counts)
