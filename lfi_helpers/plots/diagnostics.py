"""Pictures of diagnostics: which test objects to which posterior.

Takes p-values only.
"""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from lfi_helpers.plots.style import axes

DARKEST = 30  # of -log10 p


def verdicts(
    p_values: dict[str, dict[str, float]], *, alpha: float, title: str, ax: Axes | None = None
) -> Axes:
    """Draw a table of p-values, posterior by diagnostic; cells below alpha say "seen".

    Args:
        p_values: posterior -> diagnostic -> p-value; the same diagnostics in every row.
        alpha: the threshold.
        title: what was tested.
        ax: where to draw; a new figure if None.
    """
    columns = list(next(iter(p_values.values())))
    p = np.array([[row[column] for column in columns] for row in p_values.values()])
    words = np.where(p < alpha, "seen", "")
    ax = axes(ax)
    sns.heatmap(
        -np.log10(np.clip(p, 10.0**-DARKEST, 1)),
        annot=words,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=DARKEST,
        linewidths=1,
        xticklabels=columns,
        yticklabels=list(p_values),
        cbar_kws={"label": f"-log10 p, at most {DARKEST}"},
        ax=ax,
    )
    ax.set(title=title, xlabel="diagnostic")
    ax.tick_params(axis="x", rotation=15)
    return ax
