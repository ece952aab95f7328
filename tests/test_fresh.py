"""Rows that were trained on are recognised, and independent ones are not, however they repeat."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from lfi_helpers.classifiers import fit_log_ratio
from lfi_helpers.classifiers.fresh import ALARM, demand_fresh, fingerprint
from lfi_helpers.run import generator


def normal(n, width=1, seed=0):
    return torch.randn(n, width, generator=generator(seed))


def dice(n, faces, seed=0):
    return torch.randint(faces, (n, 2), generator=generator(seed)).float()


def shared(rows, others):
    """Count the values that both have: the naive test is that there is none."""
    return len(np.intersect1d(fingerprint(rows), fingerprint(others)))


def test_equal_rows_have_equal_fingerprints_and_others_do_not():
    rows = normal(50_000, 3)
    assert len(np.unique(fingerprint(rows))) == 50_000
    order = torch.randperm(50_000, generator=generator(1))
    np.testing.assert_array_equal(fingerprint(rows[order]), fingerprint(rows)[order])
    np.testing.assert_array_equal(fingerprint(rows[7:8]), fingerprint(rows)[7:8])
    np.testing.assert_array_equal(fingerprint(rows.double()), fingerprint(rows))
    assert len(np.unique(fingerprint(torch.eye(3)))) == 3  # the same numbers in other columns


@pytest.mark.parametrize("width", [1, 16])
def test_copies_are_refused_whole_in_part_and_shuffled(width):
    trained = normal(20_000, width)
    copies = [
        trained,
        trained.flip(0),
        trained[:300],
        torch.cat([trained[:5000], normal(4000, width, seed=1)]),
    ]
    for rows in copies:
        with pytest.raises(ValueError, match="x0: expected rows that were not trained on, got"):
            demand_fresh("x0", rows, fingerprint(trained))


@pytest.mark.parametrize("n", [(200_000, 200_000), (200_000, 20_000), (20_000, 200_000)])
def test_independent_samples_pass_although_floats_collide(n):
    rows, trained = normal(n[0], seed=1), normal(n[1], seed=2)
    assert shared(rows, trained) > 5  # on the line, single precision repeats itself
    demand_fresh("x0", rows, fingerprint(trained))


@pytest.mark.parametrize("faces", [2, 20, 200, 2000])
def test_independent_samples_of_discrete_events_pass(faces):
    rows, trained = dice(20_000, faces, seed=1), dice(50_000, faces, seed=2)
    assert shared(rows, trained) > 0
    demand_fresh("x0", rows, fingerprint(trained))


def test_samples_of_different_densities_pass():
    """2 a b / (a + b)^2 <= 1/2 for any rates: a sample may be drawn for another parameter."""
    for scale in (0.2, 0.5, 3.0):
        rows, trained = scale * normal(200_000, seed=1), normal(200_000, seed=2)
        rows, trained = ((v * 2**14).round() for v in (rows, trained))  # many rows twice
        demand_fresh("x0", rows, fingerprint(trained))


def test_thirty_copies_are_the_fewest_that_can_be_seen():
    assert binom.sf(29, 30, 0.5) < ALARM < binom.sf(28, 29, 0.5)
    trained = normal(1000, 4)
    demand_fresh("x0", trained[:29], fingerprint(trained))
    with pytest.raises(ValueError, match="got 30 of 30 that were"):
        demand_fresh("x0", trained[:30], fingerprint(trained))


def test_the_false_alarm_rate_is_bounded_where_it_is_largest():
    """Two samples of one density and size: of the doubles one half is shared, not more."""
    alarms = [
        binom.sf(
            int((np.bincount(place[:400], minlength=len(count))[count == 2] == 1).sum()) - 1,
            int((count == 2).sum()),
            0.5,
        )
        < 0.01
        for place, count in (
            np.unique(np.random.default_rng(k).integers(5000, size=800), True, True, True)[2:]
            for k in range(2000)
        )
    ]
    assert sum(alarms) <= binom.isf(1e-6, 2000, 0.01)


def test_a_ratio_refuses_to_be_calibrated_on_what_trained_it():
    x0, x1 = normal(400, 2), normal(300, 2, seed=1) + 1
    ratio = fit_log_ratio(x0, x1, max_epochs=1, device="cpu", progress=False)
    fresh0, fresh1 = normal(400, 2, seed=2), normal(300, 2, seed=3) + 1
    for method in ("histogram", "isotonic", "platt", "kde"):
        calibrated = ratio.calibrated(fresh0, fresh1, method)
        assert torch.isfinite(calibrated(fresh0)).all()
        assert ratio.calibrator is None
    with pytest.raises(ValueError, match="x0: expected rows that were not trained on"):
        ratio.calibrated(x0, fresh1)
    with pytest.raises(ValueError, match="x1: expected rows that were not trained on"):
        ratio.calibrated(fresh0, x1[100:])
    with pytest.raises(ValueError, match="x0: expected rows that were not trained on"):
        ratio.calibrated(fresh0, fresh1).calibrated(x0, fresh1)  # nor a second time


def test_a_second_calibration_replaces_the_first():
    x0, x1 = normal(400), normal(400, seed=1) + 1
    ratio = fit_log_ratio(x0, x1, max_epochs=1, device="cpu", progress=False)
    samples = normal(300, seed=2), normal(300, seed=3) + 1
    once, twice = ratio.calibrated(*samples), ratio.calibrated(*samples[::-1], "platt")
    twice = twice.calibrated(*samples)
    torch.testing.assert_close(twice(x0), once(x0), rtol=0, atol=0)


def test_no_default_device_is_used(same_when_poisoned):
    rows, others = normal(100), normal(100, seed=1)

    def compute():
        demand_fresh("x0", others, fingerprint(rows))
        return torch.from_numpy(fingerprint(rows))

    same_when_poisoned(compute)
