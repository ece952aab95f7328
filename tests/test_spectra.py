"""Counted spectra: what is drawn is what was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lfi_helpers.plots.spectra import spectrum

TEXT = {"xlabel": "mass (GeV)", "title": "A peak"}


def draw(counts=(4, 0, 9)):
    x = np.linspace(0, 6, 7)
    parts = {"background": np.full(7, 2.0), "signal": x}
    return spectrum([0, 2, 4, 6], counts, x, parts, [5, 7, 9], **TEXT)


def test_points_have_poisson_bars_and_empty_bins_none():
    ax = draw()
    points, _, (bars,) = ax.containers[0]
    np.testing.assert_array_equal(points.get_xydata(), [[1, 4], [5, 9]])
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[2, 6], [6, 12]])
    plt.close(ax.figure)


def test_parts_are_stacked_and_named():
    ax = draw()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), 2 + np.linspace(0, 6, 7))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["background", "signal", "fit", "Asimov", "events"]
    np.testing.assert_array_equal(ax.patches[0].get_data().values, [5, 7, 9])
    assert ax.get_ylabel() == "events per 2 GeV"
    plt.close(ax.figure)


def test_counts_that_do_not_fit_the_edges_are_refused():
    with pytest.raises(ValueError, match=r"counts: expected shape \(3,\), got \(2,\)"):
        draw(counts=(1, 2))
