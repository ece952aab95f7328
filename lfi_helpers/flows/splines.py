"""Monotone rational-quadratic splines: many numbers, each through a spline of its own.

Must never know which network wrote the parameters, nor which feature a number belongs to.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

MIN_SHARE = 1e-4  # smallest width and height of a bin, as a share of the interval
MIN_SLOPE = 1e-4  # smallest slope at a knot
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it + MIN_SLOPE = 1


class Spline:
    r"""Monotone piecewise rational-quadratic map of [-bound, bound] onto itself, K bins.

    In the bin with left lower corner :math:`(x_k, y_k)`, width w, height h, slopes
    :math:`d_0, d_1` at its ends, mean slope s = h / w and u = (x - x_k) / w:

    .. math::
        y = y_k + h r, \quad r = \frac{s u^2 + d_0 v}{D}, \quad v = u (1 - u), \quad
        D = s + (d_0 + d_1 - 2 s) v,

        \frac{dy}{dx} = \frac{s^2 N}{D^2}, \quad N = d_1 u^2 + 2 s v + d_0 (1 - u)^2 .

    With ``tails`` the slope is one at both ends, and outside the map is the identity: continuous
    with its derivative. Without, the slopes at the ends are free, and numbers outside are taken
    for the nearer end.

    Parameters come as (n_parameters, \*S) for numbers of shape S: K widths and K heights before
    a softmax, then the slopes before a softplus; zeros everywhere give the identity. Source:
    arXiv:1906.04032.
    """

    def __init__(self, bins: int, bound: float, tails: bool):
        self.bins, self.bound, self.tails = bins, bound, tails
        self.n_parameters = 3 * bins + (-1 if tails else 1)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log dy/dx, both of x's shape."""
        return _Forward.apply(x, parameters, self)

    def inverse(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and log dx/dy, both of y's shape.

        The bin is found among the heights, u by the stable root of a quadratic. Where gradients
        are asked for, one Newton step from that root carries them (implicit differentiation).
        """
        with torch.no_grad():
            x, log_slope = _invert(y, parameters, self)
        if torch.is_grad_enabled():
            back, log_slope = self.forward(x, parameters)
            x = x + (y - back) * torch.exp(-log_slope.detach())
            log_slope = self.forward(x, parameters)[1]
        return x, -log_slope

    def to_unit(self, x: Tensor) -> Tensor:
        """Return x in coordinates where the interval is [0, 1], flat."""
        return x.flatten().add(self.bound).div_(2 * self.bound).clamp_(0, 1)

    def from_unit(self, t: Tensor, log_slope: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return t in x's coordinates and shape, and log_slope; in the tails x itself, and 0."""
        y = t.mul(2 * self.bound).sub_(self.bound).view(x.shape)
        log_slope = log_slope.view(x.shape)
        if not self.tails:
            return y, log_slope
        inside = x.abs() < self.bound
        return torch.where(inside, y, x), log_slope * inside


class _Bin(NamedTuple):
    """The bin of each of M numbers, in coordinates where the interval is [0, 1]."""

    k: Tensor
    shares: Tensor  # softmax of the widths and of the heights, (2, K, M)
    corner: Tensor  # x_k and y_k, (2, M)
    side: Tensor  # w and h
    slope: Tensor  # d0 and d1
    place: Tensor  # where the parameters of d0 and d1 lie among all of them, flat
    free: Tensor  # whether d0 and d1 have a parameter


def _find_bin(t: Tensor, parameters: Tensor, spline: Spline, axis: int) -> _Bin:
    """Find the bin of t (M,) in [0, 1] among the widths (axis 0) or the heights (axis 1).

    Knot j lies at MIN_SHARE j + scale (sum of the shares before j).
    """
    m, bins = len(t), spline.bins
    scale = 1 - MIN_SHARE * bins
    shares = torch.softmax(parameters[: 2 * bins].view(2, bins, m), 1)
    before = torch.zeros_like(shares)
    share_of, before_of = shares.unbind(1), before.unbind(1)
    for i in range(bins - 1):
        torch.add(before_of[i], share_of[i], out=before_of[i + 1])
    j = torch.arange(1, bins, device=t.device, dtype=t.dtype)[:, None]
    passed = t >= before[axis, 1:].mul(scale).add_(j, alpha=MIN_SHARE)
    k = passed.view(torch.uint8).sum(0, dtype=torch.uint8).long()
    here = torch.arange(m, device=t.device).add_(k, alpha=m)  # row k of each column
    both = torch.cat([here, here + bins * m])
    corner = before.view(-1).index_select(0, both).view(2, m).mul_(scale).add_(k, alpha=MIN_SHARE)
    side = shares.view(-1).index_select(0, both).view(2, m).mul_(scale).add_(MIN_SHARE)
    # rows of the slopes follow; with tails the end knots have none, and row 0 is that of knot 1
    row = 2 * bins - spline.tails
    place = torch.cat([here + row * m, here + (row + 1) * m]).clamp_(max=parameters.numel() - 1)
    free = torch.stack([k > 0, k < bins - 1]) if spline.tails else here.new_ones(1)
    slope = parameters.reshape(-1).index_select(0, place).view(2, m).mul_(free)
    slope = softplus(slope.add_(UNIT_SLOPE)).add_(MIN_SLOPE)
    return _Bin(k, shares, corner, side, slope, place, free)


class _Ratio(NamedTuple):
    """The terms of the formula."""

    v: Tensor
    s: Tensor
    q: Tensor  # d0 + d1 - 2 s
    d: Tensor  # D
    n: Tensor  # N


def _ratio(u: Tensor, b: _Bin) -> _Ratio:
    d0, d1 = b.slope
    v, s = u * (1 - u), b.side[1] / b.side[0]
    q = d0 + d1 - 2 * s
    return _Ratio(v, s, q, s + q * v, d1 * u * u + 2 * s * v + d0 * (1 - u) ** 2)


def _log_slope(f: _Ratio) -> Tensor:
    return torch.log((f.s / f.d) ** 2 * f.n)


def _invert(y: Tensor, parameters: Tensor, spline: Spline) -> tuple[Tensor, Tensor]:
    """Solve y - y_k = h r(u), which is a u^2 + b u + c = 0 with b and c of opposite sign."""
    t = spline.to_unit(y)
    i = _find_bin(t, parameters.flatten(1), spline, axis=1)
    (w, h), (d0, d1) = i.side, i.slope
    s, rise = h / w, t - i.corner[1]
    turn = rise * (d0 + d1 - 2 * s)
    a, b, c = h * (s - d0) + turn, h * d0 - turn, -s * rise
    root = torch.sqrt((b * b - 4 * a * c).clamp_(min=0))
    u = (2 * c / (-b - root)).clamp_(0, 1)
    return spline.from_unit(i.corner[0] + u * w, _log_slope(_ratio(u, i)), y)


class _Forward(torch.autograd.Function):
    """The spline with its derivatives written out.

    Automatic differentiation of softmax, cumulative sum and selection would walk over all K bins
    a dozen times; these formulas do so twice.
    """

    @staticmethod
    def forward(ctx, x, parameters, spline):
        t = spline.to_unit(x)
        b = _find_bin(t, parameters.flatten(1), spline, axis=0)
        u = ((t - b.corner[0]) / b.side[0]).clamp_(0, 1)
        f = _ratio(u, b)
        r = (f.s * u * u + b.slope[0] * f.v) / f.d
        ctx.save_for_backward(x, u, r, *b, *f)
        ctx.spline, ctx.shape = spline, parameters.shape
        return spline.from_unit(b.corner[1] + b.side[1] * r, _log_slope(f), x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_log):
        x, u, r, *saved = ctx.saved_tensors
        b, f, spline = _Bin(*saved[:7]), _Ratio(*saved[7:]), ctx.spline
        g, g_log = (grad_y * (2 * spline.bound)).flatten(), grad_log.flatten()
        if spline.tails:
            inside = x.abs() < spline.bound
            g, g_log = g * inside.flatten(), g_log * inside.flatten()
        to_u, to_s, to_slope = _partials(u, r, b, f, g, g_log)
        w = b.side[0]
        to_x, to_s = to_u / w, to_s / w
        corner = torch.stack([-to_x, g])
        side = torch.stack([-(to_x * u + to_s * f.s), g * r + to_s])
        grad = torch.zeros(ctx.shape, device=x.device, dtype=x.dtype)
        _to_shares(grad[: 2 * spline.bins], b, corner, side)
        # the derivative of softplus is 1 - exp(-softplus)
        to_slope *= torch.expm1(MIN_SLOPE - b.slope).neg_().mul_(b.free)
        grad.view(-1).index_add_(0, b.place, to_slope.view(-1))
        to_x = (to_x / (2 * spline.bound)).view(x.shape)
        return torch.where(inside, to_x, grad_y) if spline.tails else to_x, grad, None


def _partials(u, r, b: _Bin, f: _Ratio, g, g_log) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients with respect to u, s and (d0, d1), at fixed x_k, y_k and h.

    ``g`` is the gradient with respect to y, ``g_log`` that with respect to log dy/dx.
    """
    v, s, q, d, n = f
    d0, d1 = b.slope
    to_r, to_n, to_d = g * b.side[1] / d, g_log / n, -2 * g_log / d  # to_r: of r's numerator
    turn, other = 1 - 2 * u, 1 - u  # turn = dv/du
    to_u = to_r * s * n / d + 2 * to_n * (d1 * u + s * turn - d0 * other) + to_d * q * turn
    bend = 1 - 2 * v
    to_s = to_r * (u * u - r * bend) + 2 * (g_log / s + to_n * v) + to_d * bend
    common = (to_d - to_r * r) * v
    return to_u, to_s, torch.stack([to_r * v + to_n * other**2, to_n * u * u]) + common


def _to_shares(grad: Tensor, b: _Bin, corner: Tensor, side: Tensor) -> None:
    """Fill the gradient of widths and heights before their softmax p, (2 K, ...).

    With P_k the sum of the p before bin k, dP_k / da_j = p_j (1[j < k] - P_k) and
    dp_k / da_j = p_j (1[j = k] - p_k).
    """
    _, bins, m = b.shares.shape
    scale = 1 - MIN_SHARE * bins
    before = b.corner - MIN_SHARE * b.k  # scale P_k
    here = side * (b.side - MIN_SHARE)  # side scale p_k
    grad = grad.view(2, bins, m)
    left = torch.arange(bins, device=grad.device)[:, None] < b.k
    torch.mul((corner * scale)[:, None], left, out=grad)
    grad -= (corner * before + here)[:, None]
    grad *= b.shares
    grad.scatter_add_(1, b.k.expand(2, 1, m), here[:, None])
