"""The leaderboard draws each score where it belongs, and published means beside them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from lfi_helpers import plots

METHODS = ["NPE", "ABC"]
SCORES = {
    "moons": {"NPE": (8.0, [0.5, 0.6, 0.7]), "ABC": (0.01, [0.9])},
    "plain": {"ABC": (0.1, [0.8, 0.9])},
    "third": {"NPE": (2.0, [0.55])},
}
PUBLISHED = {"moons": {"NPE": 0.606}}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def bars(ax):
    return [c for c in ax.containers if isinstance(c, ErrorbarContainer)]


def test_marks_stand_at_cost_and_mean_with_bars_from_smallest_to_largest():
    panels = plots.leaderboard(SCORES, PUBLISHED, methods=METHODS)
    assert [ax.get_title() for ax in panels] == list(SCORES)
    for ax, entries in zip(panels, SCORES.values(), strict=True):
        assert ax.get_xscale() == "log"
        for (point, _, (bar,)), (seconds, values) in zip(bars(ax), entries.values(), strict=True):
            assert np.allclose(point.get_xydata(), [[seconds, np.mean(values)]])
            ends = bar.get_segments()[0][:, 1]
            assert np.allclose(ends, [min(values), max(values)])
            low, high = ax.get_xlim()
            assert low < seconds < low * (high / low) ** 0.87  # left of the published column


def test_published_means_are_hollow_and_of_their_method_s_shape():
    ax = plots.leaderboard(SCORES, PUBLISHED, methods=METHODS)[0]
    npe = bars(ax)[0][0]
    (mark,) = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert mark.get_ydata()[0] == 0.606
    (strip,) = ax.patches  # both in shares of the panel's width
    assert 0.8 < strip.get_x() < mark.get_xdata()[0] < 1
    assert (mark.get_marker(), mark.get_color()) == (npe.get_marker(), npe.get_color())
    looks = {(point.get_marker(), point.get_color()) for point, _, _ in bars(ax)}
    assert len(looks) == 2  # a method is known by shape and by colour


def test_legend_names_every_method_once():
    panels = plots.leaderboard(SCORES, PUBLISHED, methods=METHODS)
    (legend,) = [ax.get_legend() for ax in panels[0].figure.axes if ax.get_legend()]
    said = [text.get_text() for text in legend.get_texts()]
    assert said == [*METHODS, "exact posterior", "published mean"]


@pytest.mark.parametrize(
    ("methods", "message"),
    [(["NPE"], r"methods: .* of 'moons' too, got no \['ABC'\]"), ("abcdefgh", "at most 7, got 8")],
)
def test_methods_without_a_look_are_refused(methods, message):
    with pytest.raises(ValueError, match=message):
        plots.leaderboard(SCORES, PUBLISHED, methods=list(methods))
