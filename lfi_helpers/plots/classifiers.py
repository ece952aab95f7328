"""Pictures of classifiers: reliability diagrams and receiver operating characteristics.

Takes arrays only.
"""

from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from lfi_helpers.plots.style import COLOURS, EXACT, LINES, axes

MARKERS = ("o", "s", "^", "D", "v")


def reliability(
    curves: dict[str, object],
    *,
    title: str = "Predicted probabilities against frequencies",
    ax: Axes | None = None,
) -> Axes:
    """Draw reliability curves (``diagnostics.Reliability``) with intervals and the diagonal."""
    ax = axes(ax)
    ax.plot([0, 1], [0, 1], color="black", linewidth=1, label="perfectly calibrated")
    for k, (label, curve) in enumerate(curves.items()):
        spread = [curve.observed - curve.low, curve.high - curve.observed]
        look = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        ax.errorbar(
            curve.predicted, curve.observed, spread, label=label, capsize=2, ls="none", **look
        )
    ax.set(xlabel="predicted probability", ylabel="observed frequency", title=title)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend()
    return ax


def roc(
    scores: dict[str, object],
    label,
    *,
    exact: str | None = None,
    title: str = "Power against false alarms",
    ax: Axes | None = None,
) -> Axes:
    """Draw the power of a cut on each score against its false-alarm rate; label is 0 or 1."""
    ax = axes(ax)
    for k, (name, score) in enumerate(scores.items()):
        false_alarm, power, _ = roc_curve(label, score)
        look = {"color": COLOURS[(k + 3) % len(COLOURS)], "linestyle": LINES[(k + 1) % len(LINES)]}
        look = EXACT if name == exact else {"linewidth": 2, **look}
        ax.plot(false_alarm, power, label=name, **look)
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":", label="guessing")
    ax.set(xlabel="false-alarm rate", ylabel="power", title=title, aspect="equal")
    ax.legend(loc="lower right")  # free: below guessing; to search a place takes seconds
    return ax
