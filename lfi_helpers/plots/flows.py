"""Pictures of densities in the plane, and of a mesh that bijections carry along.

Takes arrays only; must never compute a density or apply a bijection.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

from lfi_helpers.plots.style import COLOURS

NIGHT = "mako"
RADII, ANGLES = 31, 181  # of the polar mesh: from 0 to 3, and once around


def density_maps(
    x,
    y,
    surfaces: Mapping[str, object],
    *,
    levels,
    exact: str,
    columns: int = 3,
    xlabel: str,
    ylabel: str,
    reach: float = 3.6,
) -> np.ndarray:
    """Draw densities side by side, all at the same levels; return the Axes, (panels,).

    Every panel repeats the lowest and the middle level line of the exact density, dotted.

    Args:
        x, y: the grid's abscissae, (X,) and (Y,).
        surfaces: title -> values (Y, X), rows are y.
        levels: in increasing order; below the first one the panel stays dark.
        exact: the title of the truth among them.
        columns: panels in a row.
        xlabel, ylabel: with units.
        reach: the panels show the square from -reach to reach.
    """
    if exact not in surfaces:
        raise ValueError(f"exact: expected one of {list(surfaces)}, got {exact!r}")
    panels = _panels(len(surfaces), columns, 3.4)
    marks = [levels[0], levels[len(levels) // 2]]
    for ax, (title, surface) in zip(panels, surfaces.items(), strict=True):
        colours = plt.get_cmap(NIGHT)(np.linspace(0.12, 1, len(levels)))
        ax.contourf(x, y, surface, levels=levels, colors=colours, extend="max")
        if title != exact:
            look = {"colors": ["white"], "linestyles": [":"], "linewidths": [1.1]}
            ax.contour(x, y, surfaces[exact], levels=marks, **look)
        ax.set_facecolor(plt.get_cmap(NIGHT)(0.0))
        ax.set(title=title, aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
    _label_outer(panels, columns, xlabel, ylabel)
    return panels


def polar_mesh() -> np.ndarray:
    """Return the nodes of a polar mesh as columns (2, R * A), for ``carried`` to draw."""
    radius, angle = np.meshgrid(np.linspace(0, 3, RADII), np.linspace(0, 2 * np.pi, ANGLES))
    nodes = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    return nodes.reshape(2, -1).astype(np.float32)


def carried(
    stages: Mapping[str, object], *, xlabel: str, ylabel: str, reach: float = 3.6
) -> np.ndarray:
    """Draw points and a polar mesh at each stage of a chain of bijections; return the Axes.

    Every fifth circle and every fifteenth ray of the mesh is drawn, the first ray thick.

    Args:
        stages: title -> columns (2, N + R * A): points, then where ``polar_mesh`` has gone.
        xlabel, ylabel: with units.
        reach: the panels show the square from -reach to reach.
    """
    panels = _panels(len(stages), len(stages), 3.0)
    for ax, (title, columns) in zip(panels, stages.items(), strict=True):
        points, mesh = np.split(np.asarray(columns), [-RADII * ANGLES], axis=1)
        ax.plot(*points, ".", ms=1.2, color="0.6", zorder=0)
        across, up = mesh.reshape(2, ANGLES, RADII)
        rings, rays = slice(5, None, 5), slice(0, None, 15)
        ax.plot(across[:, rings], up[:, rings], color=COLOURS[0], lw=1.0)
        ax.plot(across[rays].T, up[rays].T, color=COLOURS[1], lw=1.0)
        ax.plot(across[0], up[0], color=COLOURS[1], lw=3.2)
        ax.set(title=title, aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
    _label_outer(panels, len(stages), xlabel, ylabel)
    return panels


def _panels(n: int, columns: int, side: float) -> np.ndarray:
    rows = -(-n // columns)
    size = (side * columns, side * 1.06 * rows)
    fig, panels = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True)
    panels = np.atleast_1d(panels).ravel()
    for ax in panels[n:]:
        ax.remove()
    return panels[:n]


def _label_outer(panels, columns: int, xlabel: str, ylabel: str) -> None:
    for k, ax in enumerate(panels):
        ax.set_xlabel(xlabel if k >= len(panels) - columns else "")
        ax.set_ylabel(ylabel if k % columns == 0 else "")
