"""Pictures of falling balls: boards of nails, worlds of bumpers.

Takes arrays only.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from lfi_helpers.plots.style import COLOURS, EXACT, axes

FLOW = "mako_r"


def _places(paths) -> np.ndarray:
    """Turn nails met, (N, R + 1), into horizontal places: odd rows sit half a nail to the left."""
    paths = np.asarray(paths, dtype=float)
    return paths - 0.5 * (np.arange(paths.shape[1]) % 2)


def nails(push, *, title: str, ax: Axes | None = None) -> Axes:
    """Draw a board of nails, coloured by ``push`` (R, N + 1), the probability to go left."""
    ax = axes(ax)
    n_rows, n_nails = np.shape(push)[0], np.shape(push)[1] - 1
    row, nail = np.indices((n_rows, n_nails + 1))
    on_board = (row % 2 == 1) | (nail < n_nails)
    colour = 1 - np.asarray(push)[on_board]
    dots = ax.scatter(
        (nail - 0.5 * (row % 2))[on_board],
        row[on_board],
        c=colour,
        cmap="PuOr",
        vmin=0,
        vmax=1,
        s=24,
        edgecolors="0.5",
        linewidths=0.4,
        zorder=3,
    )
    ax.figure.colorbar(dots, ax=ax, label="probability to go right", shrink=0.8)
    ax.set(xlabel="horizontal position (nails)", ylabel="row", title=title)
    ax.set(xlim=(-1, n_nails), ylim=(n_rows + 0.5, -0.8), yticks=[*range(0, n_rows + 1, 5)])
    return ax


def walks(paths, *, ax: Axes) -> Axes:
    """Draw single paths (N, R + 1), each in its own colour, on a board of nails."""
    for k, places in enumerate(_places(paths)):
        look = {"color": COLOURS[(k + 1) % len(COLOURS)], "lw": 2.2, "zorder": 4}
        ax.plot(places + 0.06 * (k - 1), np.arange(len(places)), label=f"ball {k + 1}", **look)
    ax.legend(loc="lower left", frameon=True, framealpha=0.95)
    return ax


def flow(paths, *, title: str, ax: Axes | None = None) -> Axes:
    """Draw every step between two nails as wide and dark as its share of the balls (N, R + 1)."""
    ax, places = axes(ax), _places(paths)
    steps, shares = [], []
    for row in range(places.shape[1] - 1):
        pairs, count = np.unique(places[:, row : row + 2], axis=0, return_counts=True)
        steps += [[(a, row), (b, row + 1)] for a, b in pairs]
        shares += list(count / len(places))
    shares = np.array(shares)
    order = shares.argsort()  # the busiest on top
    lines = LineCollection([steps[i] for i in order], cmap=FLOW, capstyle="round")
    widths = (0.3 + 45 * shares[order]).clip(max=6)
    lines.set(array=shares[order] ** 0.5, clim=(0.02, 0.5), linewidths=widths)
    ax.add_collection(lines)
    ax.set(title=title, ylim=(places.shape[1] - 1, -0.6), yticks=[*range(0, places.shape[1], 5)])
    ax.set(xlim=(places.min() - 0.5, places.max() + 0.5))
    return ax


def final_positions(x, pmf, counts, *, ax: Axes) -> Axes:
    """Draw the exact distribution as bars, counts of simulated balls as points with errors."""
    x, pmf, counts = (np.asarray(values, dtype=float) for values in (x, pmf, counts))
    ax.bar(x, pmf, width=0.85, color=COLOURS[0], alpha=0.45, label="exact sum over all paths")
    total = counts.sum()
    look = {"fmt": "o", "ms": 3.2, "color": EXACT["color"], "elinewidth": 1}
    ax.errorbar(x, counts / total, counts**0.5 / total, label="balls", **look)
    ax.set(xlabel="final position $x$ (nails)", ylabel="probability")
    return ax


def bumper_world(flights, centres, box, *, title: str, ax: Axes | None = None) -> Axes:
    """Draw the flights (20, T, 5) of one world, its bumpers (n, 2) and its box (left, right).

    Balls that land in the box are coloured, the others grey.
    """
    ax, flights = axes(ax), np.asarray(flights)
    for ball in flights:
        boxed = box[0] <= ball[-1, 1] < box[1]
        look = {"color": COLOURS[1], "lw": 1.6} if boxed else {"color": "0.7", "lw": 0.7}
        ax.plot(ball[:, 1], ball[:, 2], zorder=2 + boxed, **look)
    for x, y in np.asarray(centres):
        ax.plot([x - 0.5, x + 0.5], [y, y], color=COLOURS[0], lw=3.5, solid_capstyle="butt")
    left, right = box
    ax.plot([left, left, right, right], [0.7, 0, 0, 0.7], color="black", lw=2.5, zorder=4)
    ax.set(xlabel="$x$ (m)", ylabel="$y$ (m)", title=title, ylim=(-0.3, 10.3), xlim=(-5.5, 17))
    return ax
