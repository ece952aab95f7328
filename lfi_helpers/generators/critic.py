"""Critics of a Wasserstein game and the gradient of their loss, written out by hand.

Knows two samples; must never know how either of them was made.
"""

import torch
from torch import Tensor, nn

from lfi_helpers.arguments import positive
from lfi_helpers.run import generator

LEAK = 0.1  # slope of the activation below zero


class Critics(nn.Module):
    r"""K critics d_k(x) = w \cdot a(V a(U x + b) + c), each with weights of its own.

    a is the leaky ReLU. A constant added to d changes neither its loss nor what it teaches, so
    there is none. All weights are one tensor ``flat`` (K, P): one step of one optimiser moves
    every critic, and since Adam treats each number by itself, each as if it were alone.

    Args:
        n: K, how many.
        x_dim: width of x.
        hidden: width of the two hidden layers.
        seed: of the initial weights (Glorot's normal, biases zero).
        device, dtype: where and how they live; they stay there.

    Raises:
        ValueError: for a size below 1.
    """

    def __init__(
        self,
        n: int,
        x_dim: int,
        hidden: int = 10,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        for name, size in (("n", n), ("x_dim", x_dim), ("hidden", hidden)):
            positive(name, size)
        self.shapes = ((hidden, x_dim), (hidden,), (hidden, hidden), (hidden,), (hidden,))
        widths = (x_dim + hidden, None, 2 * hidden, None, hidden + 1)
        hand, parts = generator(seed), []
        for shape, width in zip(self.shapes, widths, strict=True):
            part = torch.randn(n, *shape, generator=hand, device="cpu").flatten(1)
            parts.append(part * (0.0 if width is None else (2 / width) ** 0.5))
        self.flat = nn.Parameter(torch.cat(parts, 1).to(device, dtype))  # (K, P)
        self.flat.grad = torch.zeros_like(self.flat)
        self.weights, self.slopes = map(self._views, (self.flat.detach(), self.flat.grad))

    def _views(self, flat: Tensor) -> list[Tensor]:
        """Return U (K, H, L), b (K, H), V (K, H, H), c (K, H), w (K, H) as views of ``flat``."""
        sizes = [shape[0] * (shape[1] if len(shape) == 2 else 1) for shape in self.shapes]
        parts = flat.split(sizes, 1)
        return [p.view(len(flat), *s) for p, s in zip(parts, self.shapes, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Return d_k of the rows that belong to critic k: (K, N, L) -> (K, N)."""
        u, b, v, c, w = self._views(self.flat)
        first = nn.functional.leaky_relu(torch.baddbmm(b[:, None], x, u.mT), LEAK)
        second = nn.functional.leaky_relu(torch.baddbmm(c[:, None], first, v.mT), LEAK)
        return (second @ w[:, :, None])[:, :, 0]

    @torch.no_grad()
    def set_gradient(self, x: Tensor, penalty: float) -> None:
        r"""Write into ``flat.grad`` the gradient of every critic's own loss.

        .. math:: L = \langle d(x_{sim})\rangle - \langle d(x_{obs})\rangle
            + \lambda\,\langle(|\nabla d(x_{between})| - 1)^2\rangle

        Between its kinks d is linear, so its slope at x is
        :math:`g = U^T D_1 V^T D_2 w` with diagonal matrices D of ones and leaks that do not change
        with the weights. Then the gradient of the penalty is the outer product of what g was made
        of with what :math:`\partial L/\partial g` becomes on its way up the network: one pass, no
        derivative of a derivative. Source: arXiv:1704.00028 for the penalty.

        Args:
            x: M simulated, M observed and M events in between, as columns: (K, L, 3 M). Products
                of a small matrix with a wide one are fast. The last M are overwritten.
            penalty: lambda, >= 0.
        """
        m = x.shape[2] // 3
        u, _, v, _, _ = self.weights
        in_u, in_b, in_v, in_c, in_w = self.slopes
        first, second, slope_1, slope_2, down_1, down_2 = self._both_ways(x)
        between = slice(2 * m, None)
        g = u.mT @ down_1[:, :, between]  # (K, L, M)
        norm = torch.linalg.vector_norm(g, dim=1, keepdim=True).clamp(min=1e-12)
        x[:, :, between] = g * ((1 - 1 / norm) * (2 * penalty / m))  # d L / d g
        first[:, :, between] = (u @ x[:, :, between]).mul_(slope_1[:, :, between])
        second[:, :, between] = (v @ first[:, :, between]).mul_(slope_2[:, :, between])
        for half, share in ((slice(m), 1 / m), (slice(m, 2 * m), -1 / m)):
            down_1[:, :, half] *= share
            down_2[:, :, half] *= share
            second[:, :, half] *= share
        torch.bmm(down_1, x.mT, out=in_u)
        torch.sum(down_1[:, :, : 2 * m], 2, out=in_b)  # the penalty knows no bias
        torch.bmm(down_2, first.mT, out=in_v)
        torch.sum(down_2[:, :, : 2 * m], 2, out=in_c)
        torch.sum(second, 2, out=in_w)

    @torch.no_grad()
    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return d (K, N) and its slope in x, (K, L, N), for columns x (K, L, N)."""
        _, second, _, _, down_1, _ = self._both_ways(x)
        return (self.weights[4][:, None] @ second)[:, 0], self.weights[0].mT @ down_1

    @torch.no_grad()
    def set_gradient_of(self, x: Tensor, pulls) -> Tensor:
        r"""Write into ``flat.grad`` the gradient of any loss of the values and of the slopes.

        The same columns may feel both: one pass, as in ``set_gradient``.

        Args:
            x: events as columns, (K, L, N).
            pulls: ``pulls(d, g)`` takes the values (K, N) and the slopes (K, L, N) and returns
                what it calls the value of the game, and the derivatives of the loss
                :math:`\partial L/\partial d`, (K, N), and :math:`\partial L/\partial g`,
                (K, L, N).

        Returns:
            The value of the game.
        """
        u, _, v, _, w = self.weights
        in_u, in_b, in_v, in_c, in_w = self.slopes
        first, second, slope_1, slope_2, down_1, down_2 = self._both_ways(x)
        value, on_d, on_g = pulls((w[:, None] @ second)[:, 0], u.mT @ down_1)
        on_d = on_d[:, None]
        bent = (u @ on_g).mul_(slope_1)  # what on_g becomes on its way up
        torch.sum((v @ bent).mul_(slope_2).addcmul_(second, on_d), 2, out=in_w)
        torch.bmm(down_2, bent.addcmul_(first, on_d).mT, out=in_v)
        torch.bmm(down_1, torch.addcmul(on_g, x, on_d).mT, out=in_u)
        torch.sum(down_1 * on_d, 2, out=in_b)
        torch.sum(down_2 * on_d, 2, out=in_c)
        return value

    def _both_ways(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return both layers' outputs, their activations' slopes, and d's in what feeds them."""
        u, b, v, c, w = self.weights
        first = torch.baddbmm(b[:, :, None], u, x)  # (K, H, N)
        slope_1 = _slope(first)
        first *= slope_1
        second = torch.baddbmm(c[:, :, None], v, first)
        slope_2 = _slope(second)
        second *= slope_2
        down_2 = slope_2 * w[:, :, None]
        return first, second, slope_1, slope_2, (v.mT @ down_2).mul_(slope_1), down_2


def _slope(before: Tensor) -> Tensor:
    """Return the activation's slope, 1 or LEAK; on the kink their mean."""
    return torch.sign(before).mul_((1 - LEAK) / 2).add_((1 + LEAK) / 2)
