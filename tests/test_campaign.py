"""A campaign of experiments: it finds the best design, learns, and resumes from its record."""

import json
import math

import matplotlib.pyplot as plt
import pytest
import torch

from lfi_helpers import plots
from lfi_helpers.decisions import belief, campaign

GRID = torch.linspace(-4, 4, 161, dtype=torch.float64)[:, None]
BOX = [(0.0, 2 * math.pi)]


def noise(design):
    """Return the deviation of one datum, least at pi."""
    return math.sqrt(2 + math.cos(design[0]))


def simulate(theta, design, generator):
    epsilon = torch.randn(len(theta), 20, generator=generator, dtype=theta.dtype, device="cpu")
    return theta + noise(design) * epsilon


def log_likelihood(x, theta, design):
    return -0.5 * ((x[:, None] - theta) / noise(design)).square().sum(-1)


def measure(design, round):
    generator = torch.Generator("cpu").manual_seed(round)
    return simulate(torch.ones(1, 1, dtype=torch.float64, device="cpu"), design, generator)


def steps(**settings):
    given = {"bounds": BOX, "n_rounds": 2, "n_tries": 9, "n_initial": 5, "n_experiments": 24}
    given["seed"] = 4
    return list(campaign(measure, simulate, log_likelihood, GRID, **given | settings))


@pytest.fixture(scope="module")
def whole():
    return steps()


def test_it_chooses_the_least_noise_and_learns(whole):
    record = whole[-1]
    assert len(whole) == 2 * (9 + 1)
    assert all(abs(done["chosen"][0] - math.pi) < 0.6 for done in record)
    weight = belief(record, log_likelihood, GRID)
    # conjugate: the posterior's precision is the sum of 20 / noise^2 over both experiments
    parts = [
        (torch.tensor(d["events"]).mean().item(), 20 / noise(d["chosen"]) ** 2) for d in record
    ]
    precision = sum(p for _, p in parts)
    mean = weight @ GRID[:, 0]
    assert mean.item() == pytest.approx(sum(m * p for m, p in parts) / precision, abs=1e-6)
    variance = (weight @ (GRID[:, 0] - mean) ** 2).item()
    assert variance == pytest.approx(1 / precision, rel=1e-3)


@pytest.mark.parametrize("cut", [0, 3, 9, 10, 12, 18])
def test_it_goes_on_from_any_step_as_if_never_interrupted(whole, cut):
    saved = json.loads(json.dumps(whole[cut - 1] if cut else []))
    assert steps(record=saved) == whole[cut:]


def test_a_campaign_with_a_memory_of_its_own_would_not_resume(whole):
    """Another seed stands for a state that the record lacks: the rest differs."""
    assert steps(record=whole[3], seed=5)[-1] != whole[-1]


def test_a_complete_record_is_yielded_as_it_is(whole):
    assert steps(record=whole[-1]) == [whole[-1]]


DONE = {"designs": [[3.0]], "gains": [1.0], "chosen": [3.0], "events": [[0.0]]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_rounds": 0}, "n_rounds: expected an integer >= 1, got 0"),
        ({"bounds": [(1.0, 0.0)]}, "bounds: expected finite low < high"),
        ({"record": [DONE] * 3}, "record: expected at most 2 rounds, got 3"),
        ({"record": [{"designs": [], "gains": []}, DONE]}, "in round 0, got"),
        ({"record": [{"designs": [[3.0]], "gains": []}]}, "as many gains as designs"),
        ({"record": [DONE | {"chosen": [7.0]}]}, "design: expected a point in the box"),
        ({"record": [{"design": [[3.0]]}]}, r"in round 0, got \['design'\]"),
    ],
)
def test_bad_input_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        steps(**settings)


def test_the_figure_has_a_column_for_every_round(whole):
    record, angle = whole[-1], torch.linspace(0, 1, 5)
    weights = [belief(record[: k + 1], log_likelihood, GRID) for k in range(2)]
    designs = [[(d[0], 0.5) for d in done["designs"]] for done in record]
    panels = plots.campaign(
        angle,
        angle,
        torch.rand(2, 5, 5, generator=torch.Generator("cpu").manual_seed(0)),
        designs,
        [(done["chosen"][0], 0.5) for done in record],
        GRID[:, 0],
        [{"exact": w, "learned": w} for w in weights],
        truth=1.0,
        exact="exact",
        xlabel="phase",
        ylabel="other",
        zlabel="gain (nat)",
        label="theta",
    )
    assert panels.shape == (2, 2)
    star = panels[0, 1].lines[1].get_xydata()
    assert star == pytest.approx(torch.tensor([[record[1]["chosen"][0], 0.5]]).numpy())
    assert panels[1, 0].get_xlabel() == "theta"
    plt.close("all")
