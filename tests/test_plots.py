"""Figures: what is drawn is what was given, in colours and lines that everybody can tell apart."""

from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from lfi_helpers import plots

matplotlib.use("Agg")

X = np.linspace(0, 1, 50)
WORDS = {"xlabel": "x (m)", "ylabel": "y (s)", "title": "A title"}
# Machado, Oliveira, Fernandes 2009, full severity: linear RGB as seen without one kind of cone
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.fixture(autouse=True)
def clean():
    with matplotlib.rc_context():
        yield
    plt.close("all")


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour, blindness):
    """Return CIE L*a*b* (D65) of a colour as seen with a kind of colour blindness."""
    rgb = np.clip(np.array(BLINDNESS[blindness]) @ linear(colour), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(np.maximum(to_xyz @ rgb / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def line_of(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_exact_and_the_first_learned_curves_differ_for_every_eye(blindness):
    colours = [plots.EXACT["color"], *(plots.learned(k)["color"] for k in range(3))]
    seen = [lab(colour, blindness) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20
    red_green = [lab(colour, "deutan") for colour in ("red", "green")]
    assert np.linalg.norm(red_green[0] - red_green[1]) < 80  # the measure does see blindness


def test_curves_differ_without_colour_too():
    looks = [plots.EXACT, *(plots.learned(k) for k in range(3))]
    assert len({look["linestyle"] for look in looks}) == 4
    everyone = [(plots.learned(k)["color"], plots.learned(k)["linestyle"]) for k in range(12)]
    assert len(set(everyone)) == 12
    assert plots.learned(0) == plots.LEARNED
    white = lab("white", "none")[0]
    assert all(white - lab(plots.learned(k)["color"], "none")[0] > 25 for k in range(6))


def test_overlay_draws_what_it_is_given_the_exact_first():
    curves = {"net": X**2, "truth": X, "other": np.sqrt(X)}
    ax = plots.overlay(X, curves, exact="truth", **WORDS)
    assert legend_of(ax) == ["truth", "net", "other"]
    for label, values in curves.items():
        np.testing.assert_array_equal(line_of(ax, label).get_xydata(), np.stack([X, values], 1))
    assert to_hex(line_of(ax, "truth").get_color()) == "#000000"
    assert line_of(ax, "truth").get_linestyle() == "-"
    assert to_hex(line_of(ax, "net").get_color()) == plots.LEARNED["color"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x (m)", "y (s)", "A title")
    assert list(curves) == ["net", "truth", "other"]
    assert [*line_of(plots.overlay(X, {"a": X}, **WORDS), "a").get_xdata()] == [*X]


def test_contours_follow_the_surface():
    y = np.linspace(-2, 2, 41)
    plane = X + 0 * y[:, None]  # (Y, X): grows along x alone
    surfaces = {"truth": plane, "net": plane + y[:, None]}
    ax = plots.contours(X, y, surfaces, levels=[0.25, 0.5], exact="truth", **WORDS)
    assert legend_of(ax) == ["truth", "net"]
    truth, net = ax.collections
    assert to_hex(truth.get_edgecolor()[0]) == "#000000"
    for level, path in zip([0.25, 0.5], truth.get_paths(), strict=True):
        np.testing.assert_allclose(path.vertices[:, 0], level, atol=1e-12)
        assert np.ptp(path.vertices[:, 1]) == pytest.approx(4)
    for level, path in zip([0.25, 0.5], net.get_paths(), strict=True):
        np.testing.assert_allclose(path.vertices.sum(1), level, atol=1e-12)
    with pytest.raises(ValueError, match=r"surfaces: expected shape \(41, 50\) for 'net', got \("):
        plots.contours(X, y, {"net": plane.T}, levels=[0.5], **WORDS)


def test_histograms_share_bins_and_are_densities():
    rng = np.random.default_rng(0)
    samples = {"a": rng.normal(size=1000), "b": rng.normal(3, 1, size=(50, 10))}
    ax = plots.histograms(samples, bins=20, xlabel="x (m)", title="t")
    a, b = (patch.get_data() for patch in ax.patches)
    np.testing.assert_array_equal(a.edges, b.edges)
    every = np.concatenate([np.ravel(v) for v in samples.values()])
    assert (a.edges[0], a.edges[-1]) == (every.min(), every.max())
    for data in (a, b):
        assert (data.values * np.diff(data.edges)).sum() == pytest.approx(1)
    counted = plots.histograms(samples, bins=20, xlabel="x", title="t", density=False)
    assert [p.get_data().values.sum() for p in counted.patches] == [1000, 500]
    assert (ax.get_ylabel(), counted.get_ylabel()) == ("probability density", "events per bin")


def test_a_density_counts_what_lies_outside_its_bins():
    sample = np.concatenate([np.full(30, 0.5), np.full(70, 5.0)])
    ax = plots.histograms({"a": sample}, bins=np.array([0.0, 1.0, 2.0]), xlabel="x", title="t")
    np.testing.assert_allclose(ax.patches[0].get_data().values, [0.3, 0.0])
    uneven = plots.histograms({"a": sample}, bins=[0.0, 1.0, 6.0], xlabel="x", title="t")
    np.testing.assert_allclose(uneven.patches[0].get_data().values, [0.3, 0.7 / 5])
    same = plots.histograms({"a": np.ones(5)}, bins=4, xlabel="x", title="t")  # of no width
    data = same.patches[0].get_data()
    assert (data.values * np.diff(data.edges)).sum() == pytest.approx(1)


def test_agreement_counts_every_event_around_the_diagonal():
    exact = np.random.default_rng(1).normal(size=500)
    ax = plots.agreement(exact, exact + 0.1, quantity="log r")
    hexagons = ax.collections[0]
    assert hexagons.get_array().sum() == 500
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("exact log r", "learned log r")
    centre = hexagons.get_offsets()
    counts = hexagons.get_array()
    assert np.average(centre[:, 0], weights=counts) == pytest.approx(exact.mean(), abs=0.05)
    assert np.average(centre[:, 1], weights=counts) == pytest.approx(exact.mean() + 0.1, abs=0.05)
    assert ax.lines[0].get_slope() == 1


def test_history_draws_losses_against_steps():
    ax = plots.history([10, 20, 30], {"training": [3, 2, 1], "validation": [3, 2.5, 2]})
    assert line_of(ax, "training").get_xydata().tolist() == [[10, 3], [20, 2], [30, 1]]
    assert legend_of(ax) == ["training", "validation"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("gradient step", "loss")


DRAW = {
    "overlay": lambda **ax: plots.overlay(X, {"a": X}, **WORDS, **ax),
    "contours": lambda **ax: plots.contours(
        X, X, {"a": X + X[:, None]}, levels=[1], **WORDS, **ax
    ),
    "histograms": lambda **ax: plots.histograms({"a": X}, bins=5, xlabel="x", title="t", **ax),
    "agreement": lambda **ax: plots.agreement(X, X, quantity="y", **ax),
    "history": lambda **ax: plots.history([1, 2], {"a": [1, 2]}, **ax),
}


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_has_words_and_returns_its_axes(name):
    ax = DRAW[name]()
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title()
    ax.figure.canvas.draw()  # no warning on the way
    n_figures = len(plt.get_fignums())
    mine = plt.figure().add_subplot()
    assert DRAW[name](ax=mine) is mine
    assert len(plt.get_fignums()) == n_figures + 1


def test_tensors_are_drawn_like_arrays_and_left_alone():
    x = torch.linspace(0, 1, 50, dtype=torch.float64)
    before = x.clone()
    ax = plots.overlay(x, {"a": x**2}, **WORDS)
    np.testing.assert_array_equal(line_of(ax, "a").get_ydata(), (x**2).numpy())
    plots.histograms({"a": x}, bins=torch.linspace(0, 1, 6), xlabel="x", title="t")
    plots.contours(x, x, {"a": x + x[:, None]}, levels=[1], **WORDS)
    plots.agreement(x, x, quantity="y")
    assert torch.equal(x, before)


@pytest.mark.parametrize("draw", [plots.overlay, plots.contours])
def test_a_truth_that_is_not_there_is_refused(draw):
    arguments = (X, {"a": X}) if draw is plots.overlay else (X, X, {"a": X + X[:, None]})
    levels = {} if draw is plots.overlay else {"levels": [1]}
    with pytest.raises(ValueError, match=r"exact: expected one of \['a'\], got 'b'"):
        draw(*arguments, exact="b", **levels, **WORDS)
    assert not plt.get_fignums()


def test_style_sets_the_same_look_every_time():
    plots.style()
    first = dict(plt.rcParams)
    plt.rcParams["axes.titlesize"] = 40
    plots.style()
    assert dict(plt.rcParams) == first
    assert plt.rcParams["figure.dpi"] <= 120
    assert [to_hex(c["color"]) for c in plt.rcParams["axes.prop_cycle"]] == plots.COLOURS
    assert not plt.get_fignums()
