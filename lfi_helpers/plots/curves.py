"""Curves, level lines and histograms over each other: learned against exact, loss against step.

Takes arrays only.
"""

import numpy as np
from matplotlib.axes import Axes

from lfi_helpers.plots.style import COLOURS, EXACT, LINES, axes, learned


def overlay(
    x,
    curves: dict[str, object],
    *,
    exact: str | None = None,
    xlabel: str,
    ylabel: str,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw curves over a common x; the one named ``exact`` is black and solid, drawn first.

    Args:
        x: common abscissa, (N,).
        curves: label -> values (N,).
        exact: the label of the truth among them.
        xlabel, ylabel, title: with units.
        ax: where to draw; a new figure if None.
    """
    looks = _looks(curves, exact)
    ax = axes(ax)
    for label, look in looks.items():
        ax.plot(x, curves[label], label=label, **look)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return ax


def contours(
    x,
    y,
    surfaces: dict[str, object],
    *,
    levels,
    exact: str | None = None,
    xlabel: str,
    ylabel: str,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw level lines of surfaces over the plane; the title should say at which levels.

    Args:
        x, y: the grid's abscissae, (X,) and (Y,).
        surfaces: label -> values (Y, X), rows are y: ``meshgrid`` with ``indexing="xy"``.
        levels: where the lines are drawn, in increasing order.
        exact: the label of the truth among them.
        xlabel, ylabel, title: with units.
        ax: where to draw; a new figure if None.
    """
    looks = _looks(surfaces, exact)
    for label, surface in surfaces.items():
        if np.shape(surface) != (len(y), len(x)):
            wanted, got = (len(y), len(x)), np.shape(surface)
            raise ValueError(f"surfaces: expected shape {wanted} for {label!r}, got {got}")
    ax = axes(ax)
    for label, look in looks.items():
        colour, line, width = look["color"], look["linestyle"], look["linewidth"]
        style = {"colors": [colour], "linestyles": [line], "linewidths": [width]}
        ax.contour(x, y, surfaces[label], levels=levels, **style)
        ax.plot([], [], label=label, **look)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return ax


def _looks(curves: dict[str, object], exact: str | None) -> dict[str, dict]:
    """Return how each curve is drawn, in the order of drawing: the exact one first."""
    if exact is not None and exact not in curves:
        raise ValueError(f"exact: expected one of {list(curves)}, got {exact!r}")
    others = {label: learned(k) for k, label in enumerate(c for c in curves if c != exact)}
    return others if exact is None else {exact: EXACT, **others}


def histograms(
    samples: dict[str, object],
    *,
    bins,
    xlabel: str,
    title: str,
    density: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw outlined histograms of several samples over common bins (their edges, or how many).

    A density counts the whole sample, also what lies outside the bins: it is the sample's own
    density, not that of its visible part.
    """
    values = {label: np.ravel(sample) for label, sample in samples.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins)
    ax = axes(ax)
    for k, (label, value) in enumerate(values.items()):
        height = np.histogram(value, edges)[0]
        if density:
            height = height / (len(value) * np.diff(edges))
        look = {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k % len(LINES)]}
        ax.stairs(height, edges, label=label, linewidth=2, **look)
    ylabel = "probability density" if density else "events per bin"
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    return ax


def agreement(
    exact, learned, *, quantity: str, title: str = "Event by event", ax: Axes | None = None
) -> Axes:
    """Draw learned against exact values (N,) as a map of how many events, with the diagonal."""
    ax = axes(ax)
    ax.hexbin(exact, learned, gridsize=70, bins="log", cmap="Blues", linewidths=0.1)
    ax.axline((0, 0), slope=1, **EXACT | {"linewidth": 1})
    ax.set(xlabel=f"exact {quantity}", ylabel=f"learned {quantity}", title=title, aspect="equal")
    return ax


def history(
    step, losses: dict[str, object], *, title: str = "Training", ax: Axes | None = None
) -> Axes:
    """Draw losses against gradient steps: ``history(h.step, {"training": h.train_loss, ...})``."""
    return overlay(step, losses, xlabel="gradient step", ylabel="loss", title=title, ax=ax)
