"""Pictures of densities and of carried meshes draw what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lfi_helpers import plots

WORDS = {"xlabel": "$x_1$ (m)", "ylabel": "$x_2$ (m)"}
X, Y = np.linspace(-2, 2, 41), np.linspace(-1, 1, 21)
HILL = np.exp(-(X**2) - 4 * Y[:, None] ** 2)  # (Y, X)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_densities_share_levels_and_carry_the_exact_lines():
    surfaces = {"exact": HILL, "learned": HILL / 2, "worse": HILL / 4}
    look = {"levels": [0.1, 0.3, 0.6], "exact": "exact", "columns": 2, "reach": 1.5}
    panels = plots.density_maps(X, Y, surfaces, **look, **WORDS)
    assert [ax.get_title() for ax in panels] == list(surfaces)
    filled = [ax.collections[0] for ax in panels]
    assert all(list(c.levels) == [0.1, 0.3, 0.6] for c in filled)
    brightness = filled[0].get_facecolors()[:, :3].sum(1)
    assert (np.diff(brightness) > 0).all()  # the denser the brighter, on a dark ground
    assert sum(panels[0].get_facecolor()[:3]) < brightness[0]
    dotted = [ax.collections[1] for ax in panels[1:]]
    assert len(panels[0].collections) == 1
    for lines in dotted:  # where the exact hill is 0.1 and 0.3, not where the learned one is
        assert list(lines.levels) == [0.1, 0.3]
        for level, path in zip(lines.levels, lines.get_paths(), strict=True):
            x, y = path.vertices.T
            assert np.allclose(np.exp(-(x**2) - 4 * y**2), level, atol=0.01)
    assert [ax.get_xlabel() for ax in panels] == ["", "$x_1$ (m)", "$x_1$ (m)"]
    assert [ax.get_ylabel() for ax in panels] == ["$x_2$ (m)", "", "$x_2$ (m)"]
    assert all(ax.get_xlim() == (-1.5, 1.5) for ax in panels)


def test_a_density_without_a_truth_is_refused():
    with pytest.raises(ValueError, match="exact: expected one of .*'learned'.*, got 'truth'"):
        plots.density_maps(X, Y, {"learned": HILL}, levels=[0.1], exact="truth", **WORDS)


def test_mesh_is_carried_with_its_circles_and_rays():
    mesh = plots.polar_mesh()
    assert mesh.shape == (2, 31 * 181)
    assert mesh.dtype == np.float32
    points = np.array([[0.5, 1.0], [2.0, 0.0]], dtype=np.float32)
    both = torch.tensor(np.concatenate([points, mesh], 1))
    stretched = both * torch.tensor([[2.0], [1.0]])
    panels = plots.carried({"before": both, "after": stretched}, **WORDS)
    for ax, stretch in zip(panels, (2.0**0, 2.0), strict=True):
        dots, *lines = ax.lines
        assert np.allclose(dots.get_xydata(), points.T * [stretch, 1])
        circles, rays, (first,) = lines[:6], lines[6:-1], lines[-1:]
        for k, circle in enumerate(circles, 1):  # radii 0.5, 1.0 ... 3.0
            x, y = circle.get_xydata().T
            assert np.allclose(np.hypot(x / stretch, y), k / 2, atol=1e-5)
            assert len(x) == 181
        assert len(rays) == 13  # every thirty degrees; the last lies on the first
        for k, ray in enumerate(rays):
            x, y = ray.get_xydata().T
            assert np.allclose(
                x / stretch * np.sin(k * np.pi / 6), y * np.cos(k * np.pi / 6), atol=1e-5
            )
        assert np.allclose(first.get_ydata(), 0)
        assert first.get_linewidth() > 3
    assert panels[0].get_ylabel() == "$x_2$ (m)"
    assert panels[1].get_ylabel() == ""
