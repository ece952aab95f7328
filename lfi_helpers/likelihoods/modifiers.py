"""Expected counts: nominal templates and the modifiers that bend them. Knows no data and no fit.

A *cell* is one bin of one sample of one channel. Its count is (nominal + sum of shifts) times a
product of factors; a bin's count is the sum over its cells.
"""

from itertools import zip_longest

import torch
from torch import Tensor


def code4(alpha: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    r"""Interpolate a factor between lo at -1, 1 at 0 and hi at +1 (pyhf's code 4).

    :math:`hi^\alpha` for :math:`\alpha \ge 1`, :math:`lo^{-\alpha}` for :math:`\alpha \le -1`, and
    between them the polynomial of degree six that has their values, slopes and curvatures at
    :math:`\pm 1` and is 1 at 0. Source: CERN-OPEN-2012-016.

    Args:
        alpha: the nuisance parameter, (B, E).
        lo: factor at -1, above 0, (E,).
        hi: factor at +1, above 0, (E,).
    """
    up, down = hi.log(), lo.log()
    at_hi, at_lo = (torch.stack([v, v * u, v * u**2]) for v, u in ((hi, up), (lo, down)))  # (3, E)
    one = torch.tensor([[1.0], [0], [0]], dtype=hi.dtype, device=hi.device)
    even, odd = (at_hi + at_lo) / 2 - one, (at_hi - at_lo) / 2  # value, slope, curvature at 1
    a2, a4, a6 = _solve([[24, -9, 1], [-24, 14, -2], [8, -5, 1]], even)
    a1, a3, a5 = _solve([[15, -7, 1], [-10, 10, -2], [3, -3, 1]], odd)
    square = alpha**2
    inside = (
        1
        + alpha * (a1 + square * (a3 + square * a5))
        + square * (a2 + square * (a4 + square * a6))
    )
    exponent = alpha.abs().clamp(min=1) * torch.where(alpha > 0, up, down)
    return torch.where(alpha.abs() < 1, inside, exponent.exp())


def _solve(inverse: list[list[int]], right: Tensor) -> Tensor:
    """Return coefficients of powers 1, 3, 5 or 2, 4, 6 from value, slope, curvature at 1."""
    return torch.tensor(inverse, dtype=right.dtype, device=right.device) / 8 @ right


def code4p(alpha: Tensor, lo: Tensor, nominal: Tensor, hi: Tensor) -> Tensor:
    r"""Interpolate a shift between lo - nominal at -1, 0 at 0 and hi - nominal at +1 (code 4p).

    Linear beyond :math:`\pm 1`; between them the polynomial of degree six that has the values,
    slopes and curvatures of the two lines there. Source: arXiv:2103.12091 (pyhf).

    Args:
        alpha: the nuisance parameter, (B, J).
        lo, nominal, hi: counts at -1, 0, +1, (J,).
    """
    up, down = hi - nominal, nominal - lo
    square = alpha**2
    inside = alpha * (up + down) / 2 + (up - down) / 16 * square * (
        15 + square * (3 * square - 10)
    )
    return torch.where(alpha > 1, alpha * up, torch.where(alpha < -1, alpha * down, inside))


class Rates:
    """Expected counts of all bins, channel after channel, as a function of the parameters.

    Args:
        channels: the list ``channels`` of a valid pyhf specification.
        config: the ``config`` of pyhf's model of the same specification: it says the order.
        device: where the tensors live.
    """

    def __init__(self, channels: list[dict], config, device: torch.device):
        self._nominal, self._bin, self._factors, self._norm, self._shift = [], [], [], [], []
        self._config, self.n_bins = config, sum(config.channel_nbins.values())
        tree = {c["name"]: {s["name"]: s for s in c["samples"]} for c in channels}
        self._staterror = _staterror_bins(tree, config)
        start = 0
        for channel in config.channels:
            for sample in config.samples:
                if sample in tree[channel]:
                    self._add(tree[channel][sample], start)
            start += config.channel_nbins[channel]
        self._finish(device)

    def _add(self, sample: dict, start: int) -> None:
        """Add the cells of one sample, whose first bin is number ``start`` of all."""
        first, nominal = len(self._nominal), sample["data"]
        self._nominal += nominal
        self._bin += range(start, start + len(nominal))
        factors = [[] for _ in nominal]
        modifiers = {(m["type"], m["name"]): m["data"] for m in sample["modifiers"]}
        for (kind, name), data in modifiers.items():
            place = self._config.par_slice(name)
            if kind == "histosys":
                cells = range(first, first + len(nominal))
                columns = zip(cells, data["lo_data"], nominal, data["hi_data"], strict=True)
                self._shift += [(place.start, *column) for column in columns]
                continue
            index = self._indices(kind, name, data, range(start, start + len(nominal)))
            for cell, i in zip(factors, index, strict=True):
                cell.append(i)
        self._factors += factors

    def _indices(self, kind: str, name: str, data, bins: range) -> list[int]:
        """Return which parameter, or which interpolated factor, multiplies each bin."""
        place = self._config.par_slice(name)
        if kind == "normsys":
            self._norm.append((place.start, data["lo"], data["hi"]))
            return [self._config.npars + len(self._norm) - 1] * len(bins)
        if kind in ("normfactor", "lumi"):
            return [place.start] * len(bins)
        if kind == "staterror":
            return [place.start + self._staterror[name].index(b) for b in bins]
        if len(bins) > place.stop - place.start:
            raise ValueError(
                f"{kind} {name}: expected at most {place.stop - place.start} bins in each channel "
                f"that shares it, got {len(bins)}"
            )
        return [place.start + k for k in range(len(bins))]  # shapesys, shapefactor

    def _finish(self, device):
        """Turn the lists into tensors; missing factors point at a constant 1."""
        constant = self._config.npars + len(self._norm)
        table = zip_longest(*self._factors, fillvalue=constant)
        self.factors = [torch.tensor(row, dtype=torch.int64, device=device) for row in table]
        self.norm, self.norm_alpha = _columns(self._norm, 3, device)
        shift, self.shift_alpha = _columns(self._shift, 5, device)
        self.shift, self.shift_cell = shift[1:], shift[0].long()
        self.nominal = torch.tensor(self._nominal, dtype=torch.float64, device=device)
        self.bin = torch.tensor(self._bin, dtype=torch.int64, device=device)

    def __call__(self, parameters: Tensor) -> Tensor:
        """Return the expected counts: (B, P) -> (B, bins), float64."""
        rows = len(parameters)
        shift = code4p(parameters[:, self.shift_alpha], *self.shift)
        cells = self.nominal.expand(rows, -1).index_add(1, self.shift_cell, shift)
        norm = code4(parameters[:, self.norm_alpha], *self.norm)
        values = torch.cat([parameters, norm, torch.ones_like(parameters[:, :1])], 1)
        for index in self.factors:
            cells = cells * values[:, index]
        return cells.new_zeros(rows, self.n_bins).index_add(1, self.bin, cells)


def _columns(rows: list[tuple], width: int, device) -> tuple[Tensor, Tensor]:
    """Return the columns after the first as floats, (width - 1, n), and the first as indices."""
    table = torch.tensor(rows, dtype=torch.float64, device=device).reshape(-1, width).T
    return table[1:], table[0].long()


def _staterror_bins(tree: dict, config) -> dict[str, list[int]]:
    """List the bins that each staterror has a parameter for, in the order of its parameters."""
    found, start = {}, 0
    for channel in config.channels:
        bins = range(start, start + config.channel_nbins[channel])
        for sample in tree[channel].values():
            for modifier in sample["modifiers"]:
                if modifier["type"] == "staterror":
                    found.setdefault(modifier["name"], set()).update(bins)
        start = bins.stop
    return {name: sorted(bins) for name, bins in found.items()}
