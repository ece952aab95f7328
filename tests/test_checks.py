"""check(): it passes inside the band, fails outside it; NaN and empty bounds do not fool it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lfi_helpers import checks
from lfi_helpers.checks import ClaimFailed, check

numbers = st.floats(-1e6, 1e6)


@given(value=numbers, near=numbers, within=st.floats(0, 1e6))
def test_near_and_within_mean_their_inequality(value, near, within):
    if abs(value - near) <= within:
        check("a number", value, near=near, within=within)
    else:
        with pytest.raises(ClaimFailed):
            check("a number", value, near=near, within=within)


@given(value=numbers, bound=numbers)
def test_below_and_above_are_strict(value, bound):
    for name, holds in {"below": value < bound, "above": value > bound}.items():
        if holds:
            check("a number", value, **{name: bound})
        else:
            with pytest.raises(ClaimFailed):
                check("a number", value, **{name: bound})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_never_holds(value):
    for bounds in ({"near": 0, "within": 1e300}, {"below": 1e300}, {"above": -1e300}):
        with pytest.raises(ClaimFailed, match="a number = "):
            check("a number", value, **bounds)


def test_the_line_has_both_numbers(capsys):
    check("the slope", 1.012, near=1.0, within=0.05)
    assert capsys.readouterr().out == "ok  the slope = 1.012 (want 1 +- 0.05)\n"
    with pytest.raises(ClaimFailed, match=r"the slope = 1.2 \(want 1 \+- 0.05\)"):
        check("the slope", 1.2, near=1.0, within=0.05)


@pytest.mark.parametrize(
    "value",
    [torch.tensor(1.0), torch.ones(1, requires_grad=True), np.float32(1.0), np.array(1.0), 1],
)
def test_scalars_of_every_kind_are_numbers(value):
    check("one", value, near=1, within=0)


@pytest.mark.parametrize("value", [None, True, "1", [1, 2], torch.ones(2), np.ones(2), 1j])
def test_other_things_are_not(value):
    with pytest.raises(TypeError, match="value: expected"):
        check("one", value, below=2)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "expected near and within, below, or above, got none"),
        ({"near": 1}, "near and within: expected both"),
        ({"within": 1}, "near and within: expected both"),
        ({"near": 1, "within": -1}, "within: expected a number >= 0"),
        ({"below": math.inf}, "expected finite numbers"),
        ({"above": 2, "below": 1}, "expected above < below"),
    ],
)
def test_bounds_that_check_nothing_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        check("one", 1, **bounds)


@pytest.mark.parametrize("claim", ["", "  ", None, 3])
def test_a_claim_needs_words(claim):
    with pytest.raises(TypeError, match="claim: expected a text"):
        check(claim, 1, below=2)


def test_the_record_is_emitted_before_a_failure_is_raised(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "publish", lambda mime, record, text: seen.append(record))
    with pytest.raises(ClaimFailed):
        check("one", math.nan, near=1, within=0.5)
    assert seen == [
        {"claim": "one", "value": "nan", "near": 1.0, "within": 0.5, "below": None}
        | {"above": None, "ok": False}
    ]
