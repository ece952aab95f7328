"""Figures that survive colour blindness and a projector; every function returns its Axes.

They take arrays; must never compute a result or import a simulator or an estimator.
"""

from lfi_helpers.plots.campaign import campaign
from lfi_helpers.plots.classifiers import reliability, roc
from lfi_helpers.plots.curves import agreement, contours, histograms, history, overlay
from lfi_helpers.plots.diagnostics import verdicts
from lfi_helpers.plots.flows import carried, density_maps, polar_mesh
from lfi_helpers.plots.leaderboard import leaderboard
from lfi_helpers.plots.style import COLOURS, EXACT, LEARNED, LINES, axes, learned, style

__all__ = [
    "COLOURS",
    "EXACT",
    "LEARNED",
    "LINES",
    "agreement",
    "axes",
    "campaign",
    "carried",
    "contours",
    "density_maps",
    "histograms",
    "history",
    "leaderboard",
    "learned",
    "overlay",
    "polar_mesh",
    "reliability",
    "roc",
    "style",
    "verdicts",
]
