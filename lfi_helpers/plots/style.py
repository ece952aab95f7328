"""The look of every figure: sizes, the colour-blind-safe palette, line styles.

Draws nothing itself.
"""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes

COLOURS = sns.color_palette("colorblind").as_hex()
LINES = ("-", "--", ":", "-.")
EXACT = {"color": "black", "linestyle": "-", "linewidth": 2.2}  # the truth is always black
LEARNED = {"color": COLOURS[3], "linestyle": "--", "linewidth": 2.2}  # the first thing learned
_AFTER_LEARNED = (3, 0, 2, 1, 4, 9)  # far apart for every eye; no yellow on white


def learned(k: int) -> dict:
    """Return colour and line style of the k-th learned curve; the first looks like LEARNED."""
    colour = COLOURS[_AFTER_LEARNED[k % len(_AFTER_LEARNED)]]
    return LEARNED | {"color": colour, "linestyle": LINES[(k + 1) % len(LINES)]}


def style() -> None:
    """Set the style of all figures that follow in this process."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.figsize": (7.2, 4.2),
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "font.size": 11,
        }
    )


def axes(ax: Axes | None = None) -> Axes:
    """Return the axes given, or new ones in a figure of the course's size."""
    return plt.subplots()[1] if ax is None else ax
