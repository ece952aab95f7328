"""Pictures of falling balls draw what they are given."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lfi_helpers.plots import COLOURS, boards
from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load

PATHS = np.array([[1, 1, 0], [1, 1, 1], [1, 2, 1], [1, 2, 1]])  # nails of two rows, then x


@pytest.fixture
def ax():
    return Figure().subplots()


def test_odd_rows_sit_half_a_nail_to_the_left(ax):
    boards.walks(PATHS[:1], ax=ax)
    (line,) = ax.lines
    assert np.allclose(np.diff(line.get_xdata()), [-0.5, -0.5])
    assert line.get_ydata().tolist() == [0, 1, 2]


def test_flow_draws_each_step_once_with_its_share(ax):
    assert boards.flow(PATHS, title="flow", ax=ax) is ax
    (lines,) = ax.collections
    drawn = {
        tuple(map(tuple, segment)): share
        for segment, share in zip(lines.get_segments(), lines.get_array() ** 2, strict=True)
    }
    half, quarter = pytest.approx(0.5), pytest.approx(0.25)
    assert drawn == {
        ((1, 0), (0.5, 1)): half,
        ((1, 0), (1.5, 1)): half,
        ((0.5, 1), (0, 2)): quarter,
        ((0.5, 1), (1, 2)): quarter,
        ((1.5, 1), (1, 2)): half,
    }
    widths = lines.get_linewidths()
    assert (np.diff(widths) >= 0).all()  # the busiest are drawn last and widest


def test_nails_leave_out_the_last_of_even_rows(ax):
    push = np.tile(np.linspace(1, 0, 5), (4, 1))
    assert boards.nails(push, title="nails", ax=ax) is ax
    (dots,) = ax.collections
    places = dots.get_offsets()
    assert len(places) == 4 + 5 + 4 + 5
    assert places[places[:, 1] == 1][:, 0].tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert dots.get_array()[:4].tolist() == [0, 0.25, 0.5, 0.75]  # probability to go right


def test_final_positions_have_poisson_errors(ax):
    assert boards.final_positions([3, 4], [0.4, 0.6], [25, 75], ax=ax) is ax
    assert [bar.get_height() for bar in ax.patches] == [0.4, 0.6]
    points, _, (bars,) = ax.containers[1]
    assert points.get_ydata().tolist() == [0.25, 0.75]
    low, high = bars.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(0.05)


def test_balls_in_the_box_are_coloured(ax):
    bumpers = load("bumpers")
    theta = draw(bumpers.prior, 200, generator(1))
    count = bumpers.sample(theta)[:, 0]
    world = theta[count > 2][:1]
    n = int(world[0, 0])
    centres = world[0, 1:].reshape(40, 2)[:n]
    flights = bumpers.trajectories(world)
    before = flights.clone()
    assert boards.bumper_world(flights, centres, (11, 14), title="world", ax=ax) is ax
    assert len(ax.lines) == 20 + n + 1
    coloured = [line for line in ax.lines[:20] if to_rgba(line.get_color()) == to_rgba(COLOURS[1])]
    assert len(coloured) == int(count[count > 2][0])
    assert torch.equal(flights, before)  # drawing changes nothing
