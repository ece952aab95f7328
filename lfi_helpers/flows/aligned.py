"""The layer that a flow starts from: the linear regression of theta on the context.

Must never know which layers follow it. Tensors are (features, N).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lfi_helpers.flows.coordinates import CUBE

RIDGE = 1e-3  # of the regression, as a share of the rows
NARROWEST = 1e-2  # scale of a residual
REACH = 2.0  # scales by which a centre may lie outside the cube: beyond, nothing changes much


class Aligned(nn.Module):
    r"""Shift and scale by what a linear regression predicts: :math:`t = (z - A c - b) / s`.

    On the cube, t goes back onto it through the distribution function of a logistic law truncated
    to the cube,

    .. math:: z' = \sqrt{3} (2 u - 1), \quad
        u = \frac{\sigma(t) - \sigma(t_{low})}{\sigma(t_{high}) - \sigma(t_{low})},

    so that a uniform z' means a bell around the prediction and nothing leaks. What is linear in
    the context is then no longer to be learned. A, b and s start at the regression of z (D, N) on
    c (C, N) and are trained with everything else.
    """

    def __init__(self, z: Tensor, c: Tensor, cube: bool):
        super().__init__()
        design = torch.cat([c, torch.ones_like(c[:1])]).double()
        gram = design @ design.mT / len(z.mT)
        gram = gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        slope = torch.linalg.solve(gram, design @ z.mT.double() / len(z.mT)).mT
        spread = (z - slope @ design).square().mean(1, keepdim=True).sqrt()
        spread = (spread * (math.sqrt(3) / math.pi if cube else 1.0)).clamp_min(NARROWEST)
        self.cube = cube
        self.slope = nn.Parameter(slope[:, :-1].float())
        self.offset = nn.Parameter(slope[:, -1:].float())
        self.log_scale = nn.Parameter(spread.log().float())

    def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return z' and log |det dz'/dz|."""
        centre, scale = self._predict(c)
        t = (z - centre) / scale
        if not self.cube:
            return t, -self.log_scale.sum().expand(t.shape[1])
        sign, low, high = _ends(centre, scale)
        u = (torch.sigmoid(sign * t) - low) / (high - low)
        return (CUBE * (2 * u - 1)).clamp(-CUBE, CUBE), self._log_slope(t, high - low)

    def inverse(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return the z that forward maps to this one, and its log-determinant."""
        centre, scale = self._predict(c)
        if not self.cube:
            return centre + scale * z, self.log_scale.sum().expand(z.shape[1])
        sign, low, high = _ends(centre, scale)
        u = ((z / CUBE + 1) / 2).clamp(0, 1)
        limits = torch.finfo(z.dtype)
        t = sign * torch.logit((low + u * (high - low)).clamp(limits.tiny, 1 - limits.eps))
        back = (centre + scale * t).clamp(-CUBE, CUBE)
        return back, -self._log_slope((back - centre) / scale, high - low)

    def _predict(self, c: Tensor) -> tuple[Tensor, Tensor]:
        centre, scale = torch.addmm(self.offset, self.slope, c), torch.exp(self.log_scale)
        if self.cube:
            limit = CUBE + REACH * scale
            centre = torch.maximum(torch.minimum(centre, limit), -limit)
        return centre, scale

    def _log_slope(self, t: Tensor, mass: Tensor) -> Tensor:
        log_bell = -softplus(t) - softplus(-t) - self.log_scale
        return (log_bell - torch.log(mass.abs()) + math.log(2 * CUBE)).sum(0)


def _ends(centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a sign and the logistic distribution function at the cube's faces, t times the sign.

    Near 1 the function has lost its digits: where most of the cube lies above the centre, both
    ends are measured from above.
    """
    sign = torch.where(centre < 0, -1.0, 1.0)
    low, high = (torch.sigmoid(sign * (face - centre) / scale) for face in (-CUBE, CUBE))
    return sign, low, high
