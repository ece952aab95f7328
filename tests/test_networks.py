"""Networks: shapes, seeds, devices, and standardisation that survives awkward data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lfi_helpers.networks import Standardise, mlp
from lfi_helpers.run import generator


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), max_size=3),
    st.integers(0, 3),
)
def test_shape_layers_and_number_of_weights(n_in, n_out, hidden, n):
    network = mlp(n_in, n_out, tuple(hidden))
    assert network(torch.zeros(n, n_in)).shape == (n, n_out)
    widths = [n_in, *hidden, n_out]
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    assert weights(network).numel() == sum((a + 1) * b for a, b in pairs)
    kinds = [type(layer) for layer in network]
    assert kinds == [nn.Linear, *[nn.SiLU, nn.Linear] * len(hidden)]  # none after the last


@pytest.mark.parametrize(
    ("activation", "function"),
    [("silu", nn.functional.silu), ("relu", torch.relu), ("tanh", torch.tanh)],
)
def test_it_computes_what_is_written_down(activation, function):
    network = mlp(3, 2, (7, 5), activation=activation, seed=1)
    h = x = torch.randn(11, 3, generator=generator(0))
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer in linear[:-1]:
        h = function(h @ layer.weight.T + layer.bias)
    expected = h @ linear[-1].weight.T + linear[-1].bias
    torch.testing.assert_close(network(x), expected)


def test_without_hidden_layers_it_is_linear():
    network = mlp(3, 1, ())
    x, y = torch.randn(2, 11, 3, generator=generator(1))
    middle = network((x + y) / 2)
    torch.testing.assert_close(middle, (network(x) + network(y)) / 2)


def test_the_seed_decides_the_weights(same_when_poisoned):
    assert torch.equal(weights(mlp(3, 2, seed=5)), weights(mlp(3, 2, seed=5)))
    assert not torch.equal(weights(mlp(3, 2, seed=5)), weights(mlp(3, 2, seed=6)))
    same_when_poisoned(lambda: weights(mlp(3, 2, seed=5)))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        disturbed = weights(mlp(3, 2, seed=5))
    assert torch.equal(disturbed, weights(mlp(3, 2, seed=5)))
    assert mlp(3, 2, device="meta")[0].weight.device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 1), ValueError, "in_features: expected a width >= 1, got 0"),
        ((2, -1), ValueError, "out_features: expected a width >= 1, got -1"),
        ((2, 1, (8, 0)), ValueError, "hidden: expected a width >= 1, got 0"),
        ((2, 1, (8.0,)), TypeError, "hidden: expected an integer, got 8.0"),
        ((2, 1, (True,)), TypeError, "hidden: expected an integer, got True"),
        ((2, 1, 64), TypeError, "hidden: expected a tuple of widths, got 64"),
    ],
)
def test_bad_widths_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mlp(*arguments)


def test_an_unknown_activation_names_the_close_ones():
    with pytest.raises(ValueError, match="activation: .*'rely'; did you mean relu"):
        mlp(2, 1, activation="rely")


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 100),
    st.floats(-1e4, 1e4),
    st.floats(1e-3, 1e3),
)
def test_standardised_data_have_mean_zero_and_deviation_one(seed, place, width):
    data = torch.randn(500, 2, generator=generator(seed)) * width + place
    if data.std(0).min() < 1e-5 * abs(place):
        return  # single precision has rounded the data themselves away
    z = Standardise(data)(data).double()
    rounding = 1e-6 * (1 + abs(place) / width)
    torch.testing.assert_close(z.mean(0), torch.zeros(2).double(), rtol=0, atol=rounding)
    deviation = z.std(0, unbiased=False)
    torch.testing.assert_close(deviation, torch.ones(2).double(), rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6, 1 / 3])
def test_a_constant_feature_is_shifted_only(constant, dtype):
    data = torch.randn(10_001, 2, generator=generator(2)).to(dtype)
    data[:, 1] = constant
    scale = Standardise(data)
    assert scale.deviation[1] == 1
    assert scale(data)[:, 1].abs().max() <= 1e-7 * abs(constant)
    # were the deviation of a constant tiny by rounding, such an event would go to infinity
    moved = scale(torch.tensor([[0.0, constant + 1]], dtype=dtype))
    assert abs(moved[0, 1] - 1) < 0.1


@pytest.mark.parametrize("rows", [1, 3, 1000, 99_999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_constant_gets_a_tiny_deviation_by_rounding(dtype, rows):
    constants = 10 * torch.randn(200, generator=generator(3), dtype=dtype)
    assert (Standardise(constants.expand(rows, 200)).deviation == 1).all()


def test_standardise_is_undone_by_its_buffers_and_travels_with_the_weights():
    data = torch.randn(100, 3, generator=generator(3)) * 5 + 2
    scale = Standardise(data)
    torch.testing.assert_close(scale(data) * scale.deviation + scale.mean, data)
    assert set(scale.state_dict()) == {"mean", "deviation"}
    assert not list(scale.parameters())
    other = Standardise(torch.zeros(1, 3))
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other(data), scale(data))
    assert scale(data.reshape(10, 10, 3)).shape == (10, 10, 3)  # any shape before the features
    assert Standardise(data.double())(data.double()).dtype == torch.float64


def test_standardise_does_not_lean_on_the_default_device(same_when_poisoned):
    data = torch.randn(20, 2, generator=generator(4))
    same_when_poisoned(lambda: Standardise(data)(data))


def test_a_wrong_width_is_refused_and_not_broadcast():
    scale = Standardise(torch.zeros(4, 2))
    for shape in [(5, 1), (5, 3), (2, 5), (1,), ()]:
        with pytest.raises(ValueError, match="x: expected 2 features, got"):
            scale(torch.zeros(shape))
    assert scale(torch.zeros(2)).shape == (2,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(5), r"data: expected shape \(N, L\), got \(5,\)"),
        (torch.zeros(0, 2), "data: expected at least one row, got none"),
        (torch.tensor([[0.0], [torch.nan]]), "data: expected finite numbers, got 1 NaN"),
    ],
)
def test_bad_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        Standardise(data)
