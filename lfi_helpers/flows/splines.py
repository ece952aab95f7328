"""Monotone rational-quadratic splines: many numbers, each through a spline of its own.

Must never know which network wrote the parameters, nor which feature a number belongs to.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, softplus

MIN_SHARE = 1e-4  # smallest width and height of a bin, as a share of the interval
MIN_SLOPE = 1e-4  # smallest slope at a knot
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # softplus of it + MIN_SLOPE = 1


class Spline:
    r"""Monotone piecewise rational-quadratic map of [-bound, bound] onto itself, K bins.

    In the bin with left lower corner :math:`(x_k, y_k)`, width w, height h, slopes
    :math:`d_0, d_1` at its ends, mean slope s = h / w, u = (x - x_k) / w and o = 1 - u:

    .. math::
        y = y_k + h \frac{a}{D}, \quad a = u f_0, \quad D = u f_0 + o f_1, \quad
        f_0 = s u + d_0 o, \quad f_1 = s o + d_1 u,

        \frac{dy}{dx} = \frac{s^2 N}{D^2}, \quad N = o f_0 + u f_1 .

    Every term is positive: nothing cancels. With ``tails`` the slope is one at both ends, and
    outside the map is the identity: continuous with its derivative. Without, the slopes at the
    ends are free, and numbers outside are taken for the nearer end.

    Parameters come as (n_parameters, \*S) for numbers of shape S: K widths and K heights before
    a softmax, then the slopes before a softplus; zeros everywhere give the identity. Source:
    arXiv:1906.04032.
    """

    def __init__(self, bins: int, bound: float, tails: bool):
        self.bins, self.bound, self.tails = bins, bound, tails
        self.n_parameters = 3 * bins + (-1 if tails else 1)
        self.scale = 2 * bound * (1 - MIN_SHARE * bins)  # what the softmax divides

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

    def outside(self, x: Tensor, y: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log_slope in x's shape; in the tails x itself, and 0."""
        y, log_slope = y.view(x.shape), log_slope.view(x.shape)
        if not self.tails:
            return y, log_slope
        inside = x.abs() < self.bound
        return torch.where(inside, y, x), log_slope * inside


class _Bin(NamedTuple):
    """The bin of each of M numbers, measured from the lower end of the interval."""

    left: Tensor  # which bins lie left of it, (K - 1, M)
    knots: Tensor  # k and k + 1, (2, M)
    shares: Tensor  # softmax of the widths and of the heights, (2, K, M)
    corner: Tensor  # x_k and y_k, (2, M)
    side: Tensor  # w and h
    slope: Tensor  # d0 and d1
    raw: Tensor  # d0 and d1 before their softplus


def _find_bin(t: Tensor, parameters: Tensor, spline: Spline, axis: int) -> _Bin:
    """Find the bin of t (M,) among the widths (axis 0) or the heights (axis 1).

    The parameters are (n_parameters, M), or (n_parameters, 1) for one spline for all.
    """
    bins, raw = spline.bins, parameters[2 * spline.bins :]
    shares = torch.softmax(parameters[: 2 * bins].view(2, bins, -1), 1)
    sides = shares.mul(spline.scale).add_(2 * spline.bound * MIN_SHARE)
    ends = sides.cumsum(1)
    left = t >= ends[axis, :-1]
    k = left.sum(0)
    knots, here = torch.stack([k, k + 1]), k.expand(2, 1, -1)
    side = sides.expand(-1, -1, len(t)).gather(1, here).squeeze(1)
    corner = ends.expand(-1, -1, len(t)).gather(1, here).squeeze(1).sub_(side)
    raw = (pad(raw, (0, 0, 1, 1)) if spline.tails else raw).expand(-1, len(t))
    raw = raw.gather(0, knots).add_(UNIT_SLOPE)
    return _Bin(left, knots, shares, corner, side, softplus(raw).add_(MIN_SLOPE), raw)


class _Ratio(NamedTuple):
    """The terms of the formula."""

    u: Tensor
    o: Tensor
    s: Tensor
    f0: Tensor
    f1: Tensor
    a: Tensor
    d: Tensor  # D
    n: Tensor  # N


def _ratio(u: Tensor, b: _Bin) -> _Ratio:
    (w, h), (d0, d1) = b.side, b.slope
    s, o = h / w, 1 - u
    f0, f1 = torch.addcmul(d0 * o, s, u), torch.addcmul(d1 * u, s, o)
    a = u * f0
    return _Ratio(u, o, s, f0, f1, a, torch.addcmul(a, o, f1), torch.addcmul(o * f0, u, f1))


def _log_slope(f: _Ratio) -> Tensor:
    q = f.s / f.d
    return torch.log(q * q * f.n)


def _invert(y: Tensor, parameters: Tensor, spline: Spline) -> tuple[Tensor, Tensor]:
    """Solve y - y_k = h a / D, which is a u^2 + b u + c = 0 with b and c of opposite sign."""
    t = y.flatten() + spline.bound
    i = _find_bin(t, parameters.flatten(1), spline, axis=1)
    (w, h), (d0, d1) = i.side, i.slope
    s = h / w
    rise = torch.minimum((t - i.corner[1]).clamp_(min=0), h)
    turn = rise * (d0 + d1 - 2 * s)
    a, b, c = h * (s - d0) + turn, h * d0 - turn, -s * rise
    root = torch.sqrt((b * b - 4 * a * c).clamp_(min=0))
    u = (2 * c / (-b - root)).clamp_(0, 1)
    x = torch.addcmul(i.corner[0], u, w).sub_(spline.bound)
    return spline.outside(y, x, _log_slope(_ratio(u, i)))


class _Forward(torch.autograd.Function):
    """The spline with its derivatives written out.

    Automatic differentiation of softmax, cumulative sum and selection would walk over all K bins
    a dozen times; these formulas do so twice.
    """

    @staticmethod
    def forward(ctx, x, parameters, spline):
        t = x.flatten() + spline.bound
        b = _find_bin(t, parameters.flatten(1), spline, axis=0)
        f = _ratio(t.sub_(b.corner[0]).div_(b.side[0]).clamp_(0, 1), b)
        r = f.a / f.d
        ctx.save_for_backward(x, r, *b, *f)
        ctx.spline, ctx.shape = spline, parameters.shape
        y = torch.addcmul(b.corner[1], b.side[1], r).sub_(spline.bound)
        return spline.outside(x, y, _log_slope(f))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_log):
        x, r, *saved = ctx.saved_tensors
        b, f, spline = _Bin(*saved[:7]), _Ratio(*saved[7:]), ctx.spline
        g, g_log = grad_y.flatten(), grad_log.flatten()
        if spline.tails:
            inside = x.abs() < spline.bound
            g, g_log = g * inside.flatten(), g_log * inside.flatten()
        to_u, to_s, to_slope = _partials(r, b, f, g, g_log)
        to_x, to_s = to_u / b.side[0], to_s / b.side[0]
        to_w = torch.addcmul(to_x * f.u, to_s, f.s).neg_()
        to_bin = torch.stack([-to_x, g, to_w, torch.addcmul(to_s, g, r)])
        grad = torch.zeros(3 * spline.bins + 1, len(r), device=r.device, dtype=r.dtype)
        shares, slopes = grad.split([2 * spline.bins, spline.bins + 1])
        _to_shares(shares.view_as(b.shares), b, to_bin.mul_(spline.scale))
        slopes.scatter_(0, b.knots, torch.sigmoid(b.raw).mul_(to_slope))
        to_x = to_x.view(x.shape)
        if spline.tails:
            to_x = torch.where(inside, to_x, grad_y)
            grad = torch.cat([shares, slopes[1:-1]])
        return to_x, grad.view(ctx.shape), None


def _partials(r, b: _Bin, f: _Ratio, g, g_log) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients with respect to u, s and (d0, d1), at fixed x_k, y_k and h.

    ``g`` is the gradient with respect to y, ``g_log`` that with respect to log dy/dx. Both are
    functions of s, of u f0 and o f1 (whose sum is D) and of N.
    """
    u, o, s, f0, f1, _, d, n = f
    d0, d1 = b.slope
    to_r = g * b.side[1]
    less = torch.addcmul(g_log + g_log, to_r, r)
    to_uf0, to_of1, to_n = (to_r - less) / d, -less / d, g_log / n
    to_f0 = torch.addcmul(to_uf0 * u, to_n, o)
    to_f1 = torch.addcmul(to_of1 * o, to_n, u)
    to_u = torch.addcmul((to_uf0 - to_n) * f0, to_n - to_of1, f1)
    to_u.addcmul_(to_f0, s - d0).addcmul_(to_f1, d1 - s)
    to_s = torch.addcmul(to_f0 * u, to_f1, o).add_(g_log / s, alpha=2)
    return to_u, to_s, torch.stack([to_f0 * o, to_f1 * u])


def _to_shares(grad: Tensor, b: _Bin, to_bin: Tensor) -> None:
    """Fill the gradient of widths and heights before their softmax p, (2, K, M), zeros so far.

    The corner is the sum of the shares left of the bin, the side is the share of the bin itself;
    with G_j the gradient with respect to p_j, that before the softmax is p_j (G_j - sum p G).
    """
    corner, side = to_bin[:, None].split(2)
    torch.mul(corner, b.left, out=grad[:, :-1])
    grad.scatter_(1, b.knots[0].expand(2, 1, -1), side)
    grad.mul_(b.shares)
    grad.addcmul_(b.shares, grad.sum(1, keepdim=True), value=-1)
