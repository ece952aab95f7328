"""Leaderboards: how good against how dear, one panel for each task.

Takes numbers only; must never judge a posterior.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from lfi_helpers.plots.style import COLOURS

LOOKS = [
    {"color": COLOURS[colour], "marker": marker}
    for colour, marker in zip((3, 0, 2, 4, 1, 5, 7), "osD*^vP", strict=True)
]
GUTTER = 0.93  # where published marks stand: a share of the panel's width
BEST, WORST = 0.5, 1.0  # C2ST: of the exact posterior, and of one that has nothing of it


def leaderboard(
    scores: Mapping[str, Mapping[str, tuple[float, Sequence[float]]]],
    published: Mapping[str, Mapping[str, float]],
    *,
    methods: Sequence[str],
    columns: int = 3,
) -> np.ndarray:
    """Draw C2ST against CPU seconds, one panel a task, one mark a method; return the Axes.

    A mark stands at the mean over observations, a bar runs from the smallest to the largest.
    Open marks of the same shape in the column on the right are published means: they have no
    seconds. The legend stands beside the last panel.

    Args:
        scores: task -> method -> (CPU seconds, C2ST of each observation).
        published: task -> method -> mean C2ST.
        methods: all of them, in the order of the legend: at most seven.
        columns: panels in a row.
    """
    if len(methods) > len(LOOKS):
        raise ValueError(f"methods: expected at most {len(LOOKS)}, got {len(methods)}")
    looks = dict(zip(methods, LOOKS, strict=False))
    for task, entries in (*scores.items(), *published.items()):
        if unknown := sorted(set(entries) - set(looks)):
            raise ValueError(f"methods: expected those of {task!r} too, got no {unknown}")
    panels = _panels(len(scores), columns)
    for ax, (task, entries) in zip(panels, scores.items(), strict=False):
        for method, (seconds, values) in entries.items():
            mean = np.mean(values)
            reach = [[mean - np.min(values)], [np.max(values) - mean]]
            ax.errorbar(seconds, mean, reach, ms=9, lw=1.5, ls="none", **looks[method])
        _reference(ax, published.get(task, {}), looks)
        ax.set(title=task, xscale="log", ylim=(BEST - 0.05, WORST + 0.03))
    low, high = panels[0].get_xlim()
    panels[0].set_xlim(low / 1.3, low * (high / low) ** 1.3)
    for k, ax in enumerate(panels[: len(scores)]):
        ax.set_xlabel("CPU seconds" if k >= len(scores) - columns else "")
        ax.set_ylabel("C2ST (0.5: exact)" if k % columns == 0 else "")
    marks = [plt.Line2D([], [], ls="none", ms=9, label=name, **looks[name]) for name in methods]
    marks.append(plt.Line2D([], [], color="black", lw=1, label="exact posterior"))
    hollow = {"marker": "o", "color": "black", "mfc": "white"}
    marks.append(plt.Line2D([], [], ls="none", ms=8, label="published mean", **hollow))
    panels[-1].legend(handles=marks, loc="center")
    return panels[: len(scores)]


def _reference(ax, published: Mapping[str, float], looks: Mapping[str, dict]) -> None:
    """Draw the exact posterior's line, and published means in a column on the right."""
    ax.axhline(BEST, color="black", lw=1, zorder=0)
    if not published:
        return
    strip = Rectangle((GUTTER - 0.07, 0), 0.14, 1, transform=ax.transAxes, color="0.93", lw=0)
    strip.set_zorder(-1)
    ax.add_patch(strip)
    order = sorted(published, key=published.get)
    for k, method in enumerate(order):  # zigzag: neighbours do not hide each other
        look = {"mfc": "white", "mew": 1.8, "ms": 8, "ls": "none", **looks[method]}
        x = GUTTER + (0.025 if k % 2 else -0.025)
        ax.plot(x, published[method], transform=ax.get_yaxis_transform(), zorder=3, **look)


def _panels(n: int, columns: int) -> np.ndarray:
    """Return n axes with common limits and, behind them, an empty one for the legend."""
    rows = -(-(n + 1) // columns)
    size = (3.4 * columns, 3.1 * rows)
    fig, panels = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True)
    panels = panels.ravel()
    for ax in panels[n:]:
        ax.axis("off")
    return panels[: n + 1]
