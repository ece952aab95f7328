"""Errors name the argument, what was expected and what came."""

import numpy as np
import pytest
import torch

from lfi_helpers import arguments


@pytest.mark.parametrize(
    ("value", "came"),
    [(torch.zeros(100), r"\(100,\)"), (torch.zeros(5, 3), r"\(5, 3\)"), (0.5, r"\(\)")],
)
def test_a_wrong_shape_is_named(value, came):
    with pytest.raises(ValueError, match=rf"theta: expected shape \(N, 2\), got {came}"):
        arguments.batch("theta", value, 2)


def test_arrays_lists_and_integers_become_floating_tensors():
    for value in ([[1, 2]], np.ones((1, 2)), torch.ones(1, 2, dtype=torch.int64)):
        assert arguments.batch("x", value, 2).dtype == torch.float32
    double = torch.ones(1, 2, dtype=torch.float64)
    assert arguments.batch("x", double, 2) is double


@pytest.mark.parametrize("value", ["text", None, object(), torch.ones(1, 1) * 1j])
def test_what_is_no_real_tensor_is_refused(value):
    with pytest.raises(TypeError, match="x: expected"):
        arguments.floating("x", value)


def test_bad_numbers_are_counted():
    x = torch.tensor([[1.0, torch.nan], [torch.inf, 0.0]])
    with pytest.raises(ValueError, match="x: expected finite numbers, got 2 NaN or infinite of 4"):
        arguments.finite("x", x)


def test_unequal_lengths_are_listed():
    with pytest.raises(ValueError, match="theta and x: expected equally many rows.*3.*4"):
        arguments.same_length(theta=torch.zeros(3), x=torch.zeros(4))


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_positive_refuses_zero_and_below(value):
    with pytest.raises(ValueError, match="rate: expected a number > 0"):
        arguments.positive("rate", value)


def test_one_of_names_the_close_ones():
    with pytest.raises(ValueError, match="name: .*got 'galtn'; did you mean galton?"):
        arguments.one_of("name", "galtn", ["galton", "weinberg"])
