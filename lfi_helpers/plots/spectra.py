"""Counted spectra: events in bins over the stacked parts of a fit, as particle physics draws them.

Takes arrays only.
"""

import numpy as np
from matplotlib.axes import Axes

from lfi_helpers.plots.style import COLOURS, LEARNED, axes


def spectrum(
    edges,
    counts,
    x,
    parts: dict[str, object],
    expected,
    *,
    xlabel: str,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw counts over a fit, whose parts are stacked, and over the Asimov histogram.

    A bin's error bar is sqrt(n); empty bins have neither point nor bar.

    Args:
        edges: of the bins, (B + 1,).
        counts: events seen in each bin, (B,).
        x: where the parts are given, (X,).
        parts: label -> fitted rate in events per bin, (X,); the first one lies at the bottom.
        expected: the histogram without fluctuations, (B,).
        xlabel, title: with units.
        ax: where to draw; a new figure if None.
    """
    edges, counts, x = (np.asarray(a) for a in (edges, counts, x))
    if counts.shape != (len(edges) - 1,):
        raise ValueError(f"counts: expected shape ({len(edges) - 1},), got {counts.shape}")
    ax = axes(ax)
    total = np.zeros_like(x)
    for k, (label, part) in enumerate(parts.items()):
        top = total + np.asarray(part)
        ax.fill_between(x, total, top, color=COLOURS[k], alpha=0.4, linewidth=0, label=label)
        total = top
    ax.plot(x, total, label="fit", **LEARNED)
    ax.stairs(np.asarray(expected), edges, color="black", linewidth=1, label="Asimov")
    full = counts > 0
    centre, seen = ((edges[1:] + edges[:-1]) / 2)[full], counts[full]
    ax.errorbar(centre, seen, np.sqrt(seen), fmt="ko", ms=5, lw=1.5, label="events")
    width = np.diff(edges).mean()
    unit = "GeV" if np.isclose(width, 1) else f"{width:g} GeV"
    ax.set(xlabel=xlabel, ylabel=f"events per {unit}", title=title)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    ax.legend()
    return ax
