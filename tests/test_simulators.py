"""The register, and simulate(): same numbers whoever works, nothing invalid passes unseen."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from lfi_helpers.simulators import Simulator, load, names, simulate
from lfi_helpers.simulators.base import box_uniform


class Faulty:
    """Give x = theta, but NaN where theta is below a threshold."""

    name, theta_dim, x_dim = "faulty", 1, 1

    def __init__(self, below=0.1):
        self.prior, self.below = box_uniform([0.0], [1.0]), below

    def sample(self, theta, generator=None):
        return torch.where(theta < self.below, torch.nan, theta)


class Client:
    """What dask's Client promises: map to futures, gather them in order."""

    def map(self, function, *columns):
        with ThreadPoolExecutor(4) as pool:
            return [pool.submit(function, *row) for row in zip(*columns, strict=True)]

    def gather(self, futures):
        return [future.result() for future in futures]


@pytest.mark.parametrize("name", names())
def test_every_simulator_keeps_the_promise(name):
    simulator = load(name)
    assert isinstance(simulator, Simulator)
    assert simulator.name == name
    assert simulator.prior.event_shape == (simulator.theta_dim,)
    theta, x = simulate(simulator, 64)
    assert theta.shape == (64, simulator.theta_dim)
    assert x.shape == (64, simulator.x_dim)
    assert theta.dtype == x.dtype == torch.float32
    if hasattr(simulator, "log_prob"):
        log_prob = simulator.log_prob(x, theta)
        assert log_prob.shape == (64,)
        assert torch.isfinite(log_prob).all()
    with pytest.raises(ValueError, match=r"theta: expected shape \(N, "):
        simulator.sample(torch.zeros(5))


@pytest.mark.parametrize("name", names())
def test_no_simulator_leans_on_the_default_device(name, same_when_poisoned):
    same_when_poisoned(lambda: simulate(load(name), 32, seed=1))


def test_an_unknown_name_names_the_close_ones():
    with pytest.raises(ValueError, match="name: .*got 'weinburg'; did you mean weinberg"):
        load("weinburg")


def test_an_unknown_setting_names_the_known_ones():
    with pytest.raises(TypeError, match=r"settings: weinberg expected some of \['sqrt_s'"):
        load("weinberg", energy=91.0)


def test_simulate_is_bitwise_the_same_for_any_workers():
    weinberg = load("weinberg")
    alone = simulate(weinberg, 25_001, seed=3)
    for workers in (1, 2, Client()):
        for got, expected in zip(
            simulate(weinberg, 25_001, seed=3, workers=workers), alone, strict=True
        ):
            assert torch.equal(got, expected)
    other = simulate(weinberg, 25_001, seed=4)
    assert not torch.equal(other[1], alone[1])


def test_simulate_uses_the_theta_it_is_given():
    theta = torch.full((12_345, 1), 0.23)
    got, x = simulate(load("weinberg"), 12_345, theta=theta)
    assert torch.equal(got, theta)
    assert x.unique().numel() > 12_000  # chunks have seeds of their own: no repeated draws


def test_x_that_is_not_finite_is_an_error_by_default():
    with pytest.raises(
        ValueError, match=r"x: .*got \d+ of 1000 simulations hold NaN.*first theta"
    ):
        simulate(Faulty(), 1000)


def test_x_that_is_not_finite_is_dropped_and_counted_on_request():
    with pytest.warns(UserWarning, match=r"x: (\d+) of 1000 simulations hold NaN"):
        theta, x = simulate(Faulty(), 1000, on_invalid="drop")
    assert len(theta) == len(x) < 1000
    assert (theta >= 0.1).all() and torch.equal(theta, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(simulate(Faulty(below=0.0), 1000, on_invalid="drop")[0]) == 1000


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_sim": 0}, ValueError, "n_sim: expected an integer >= 1, got 0"),
        ({"n_sim": 2.5}, ValueError, "n_sim: expected an integer"),
        ({"n_sim": 5, "theta": torch.zeros(4, 1)}, ValueError, "n_sim: expected the 4 rows"),
        ({"n_sim": 4, "theta": torch.zeros(4)}, ValueError, r"theta: expected shape \(N, 1\)"),
        ({"n_sim": 1, "theta": torch.full((1, 1), torch.nan)}, ValueError, "theta: .*finite"),
        ({"n_sim": 5, "workers": "two"}, TypeError, "workers: expected None, an integer"),
        ({"n_sim": 5, "on_invalid": "ignore"}, ValueError, "on_invalid: expected one of"),
    ],
)
def test_simulate_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        simulate(load("weinberg"), **arguments)


def test_a_simulator_that_returns_the_wrong_number_of_rows_is_caught():
    short = SimpleNamespace(
        theta_dim=1, prior=box_uniform([0.0], [1.0]), sample=lambda theta, generator: theta[1:]
    )
    with pytest.raises(ValueError, match="x: expected 7 rows from sample"):
        simulate(short, 7)
