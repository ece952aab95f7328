"""A campaign of experiments round by round: what was to gain where, what was chosen and learned.

Takes arrays only.
"""

import matplotlib.pyplot as plt
import numpy as np

from lfi_helpers.plots.curves import overlay
from lfi_helpers.plots.style import COLOURS


def campaign(
    x,
    y,
    maps,
    tried,
    chosen,
    theta,
    curves: list[dict],
    *,
    truth: float,
    exact: str,
    xlabel: str,
    ylabel: str,
    zlabel: str,
    label: str,
) -> np.ndarray:
    """Draw a column per round: a map of the gain with the designs judged, and below the curves.

    Args:
        x, y: the maps' abscissae, (X,) and (Y,).
        maps: for each round the gain, (Y, X).
        tried: for each round the designs judged, (N, 2).
        chosen: for each round the design chosen (a star), (2,).
        theta: abscissa of the curves, (G,).
        curves: for each round label -> density after it, (G,).
        truth: where a vertical line marks what is to be found.
        exact: the label of the truth among the curves.
        xlabel, ylabel, zlabel, label: of the designs, the gain and theta, with units.

    Returns:
        The axes, (2, rounds).
    """
    n = len(maps)
    fig, panels = plt.subplots(2, n, figsize=(3 * n, 5.6), sharex="row", sharey="row", squeeze=0)
    for k, (top, low) in enumerate(panels.T):
        shade = top.pcolormesh(*map(np.asarray, (x, y, maps[k])), cmap="Blues", shading="gouraud")
        fig.colorbar(shade, ax=top, location="bottom", label=zlabel)
        top.plot(*np.transpose(tried[k]), "o", ms=4, mfc="none", color=COLOURS[1], clip_on=False)
        top.plot(*chosen[k], "*", ms=15, color=COLOURS[3], mec="white", clip_on=False, zorder=5)
        top.set(title=f"round {k + 1}: {xlabel}", ylabel=ylabel)
        look = {"xlabel": label, "ylabel": "posterior density", "title": ""}
        overlay(theta, curves[k], exact=exact, ax=low, **look)
        low.axvline(truth, color="grey", linestyle=":")
        if k:
            low.get_legend().remove()
        for panel in (top, low):
            panel.label_outer()
        top.tick_params(labelbottom=True)
    return panels
