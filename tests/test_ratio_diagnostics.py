"""The two tests of a learned ratio: exact ratios pass, each planted fault is seen by its own."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lfi_helpers.diagnostics import reference_independence, reweighting_test
from lfi_helpers.run import generator, spawn_seeds
from lfi_helpers.simulators import load

ALARM = 1e-6  # false-alarm probability of each statistical gate below
REFERENCES = ((0.0, -1.0), (1.0, -1.0), (0.0, 1.0))
SCAN = torch.linspace(0.7, 1.3, 13, dtype=torch.float64)


def at(theta, n):
    return torch.tensor([theta], dtype=torch.float64).expand(n, 2)


def curves(log_ratio, n=500):
    """Sum log r(x; (alpha, -1), reference) of the same events: (references, scan)."""
    box = load("carl5d")
    x = box.sample(at((1.0, -1.0), n), generator(0))
    rows = [
        [log_ratio(box, x, (alpha, -1.0), reference).sum().item() for alpha in SCAN.tolist()]
        for reference in REFERENCES
    ]
    best = box.latent(x)[:, 0].mean().item()
    return best, torch.tensor(rows, dtype=torch.float64)


def exact(box, x, theta, reference):
    return box.log_ratio(x, at(theta, len(x)), at(reference, len(x)))


def stretched_by_reference(box, x, theta, reference):
    """A calibration that is off by some per cent, for each pair of parameters in its own way."""
    return (1 + 0.3 * (theta[0] - reference[0])) * exact(box, x, theta, reference)


def test_exact_curves_do_not_depend_on_the_reference():
    best, log_likelihood = curves(exact)
    scan = reference_independence(SCAN, log_likelihood)
    assert np.abs(scan.estimate - best).max() < 1e-9
    assert scan.spread < 1e-9 and scan.difference < 1e-9
    shifted = log_likelihood + torch.tensor([[5.0], [-100.0], [0.0]])
    assert reference_independence(SCAN, shifted).difference < 1e-9


def test_curves_that_depend_on_the_reference_are_seen():
    _, log_likelihood = curves(stretched_by_reference)
    scan = reference_independence(SCAN, log_likelihood)
    assert scan.spread > 0.03 and scan.difference > 20


def test_a_fault_common_to_all_references_is_not_seen():
    """The blind spot: every curve is wrong in the same way."""

    def tilted(box, x, theta, reference):
        return exact(box, x, theta, reference) + 0.1 * (theta[0] - reference[0])

    best, log_likelihood = curves(tilted)
    scan = reference_independence(SCAN, log_likelihood)
    assert scan.spread < 1e-9 and scan.difference < 1e-9
    assert np.abs(scan.estimate - best).min() > 0.05


def test_a_curve_without_a_maximum_counts_as_failed():
    scan = reference_independence(SCAN, torch.stack([SCAN, -((SCAN - 1) ** 2)]))
    assert np.isnan(scan.estimate[0]) and scan.estimate[1] == pytest.approx(1)
    assert scan.spread == np.inf


def gaussians(seed, n=8000):
    """Return draws of N((1, 0), 1) and N(0, 1) in two dimensions, and the exact log r of these."""
    hand = generator(seed)
    x0, x1 = (torch.randn(n, 2, generator=hand, dtype=torch.float64) for _ in range(2))
    return x0 + torch.tensor([1.0, 0.0]), x1, x1[:, 0] - 0.5


def test_exact_weights_make_the_samples_equal_whatever_the_seed():
    pulls = []
    for seed in spawn_seeds(1, 4):
        result = reweighting_test(*gaussians(seed), seed=seed)
        pulls.append((result.auc - 0.5) / result.error)
        # Var(r) = e - 1
        assert abs(result.mean_weight - 1) < norm.isf(ALARM / 8) * 1.72**0.5 / 8000**0.5
        assert result.unweighted == pytest.approx(norm.cdf(0.5**0.5), abs=0.03)
        # N / E[r^2] = N / e; the mean square of lognormal weights has a heavy tail
        assert result.effective == pytest.approx(4000 / np.e, rel=0.5)
    assert np.abs(pulls).max() < norm.isf(ALARM / 8)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x1, r: -r,  # upside down
        lambda x1, r: 0.5 * r,  # poorly trained: half of the separation
        lambda x1, r: r + 0.5 * x1[:, 1],  # a feature that is none
    ],
)
def test_wrong_weights_are_seen(wrong):
    x0, x1, log_ratio = gaussians(2)
    result = reweighting_test(x0, x1, wrong(x1, log_ratio))
    assert result.auc - 0.5 > norm.isf(ALARM) * result.error


def test_a_wrong_factor_is_seen_by_the_mean_weight_only():
    x0, x1, log_ratio = gaussians(3)
    right, wrong = (reweighting_test(x0, x1, log_ratio + shift) for shift in (0.0, np.log(4)))
    assert wrong.auc == pytest.approx(right.auc, abs=1e-3)
    assert wrong.mean_weight == pytest.approx(4 * right.mean_weight)


def test_no_default_device_is_used(same_when_poisoned):
    x0, x1, log_ratio = gaussians(4, 200)
    same_when_poisoned(lambda: torch.tensor(reweighting_test(x0, x1, log_ratio), device="cpu"))
    table = torch.stack([-(SCAN**2), -SCAN.abs()])
    same_when_poisoned(
        lambda: torch.tensor(reference_independence(SCAN, table).difference, device="cpu")
    )


ONES = torch.ones(200, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: reference_independence(SCAN[:2], torch.ones(2, 2)), "theta: expected at least 3"),
        (lambda: reference_independence(SCAN.flip(0), torch.ones(2, 13)), "theta: .* increasing"),
        (lambda: reference_independence(SCAN, torch.ones(2, 12)), r"log_likelihood: .*\(R, 13\)"),
        (lambda: reference_independence(SCAN, torch.ones(1, 13)), "with R >= 2"),
        (lambda: reference_independence(SCAN, torch.ones(2, 13) / 0), "log_likelihood: .* finite"),
        (lambda: reweighting_test(ONES, ONES[:, :1], ONES[:, 0]), r"x1: expected shape \(N, 2\)"),
        (lambda: reweighting_test(ONES, ONES, ONES[:9, 0]), "x1 and log_ratio: expected equally"),
        (lambda: reweighting_test(ONES, ONES, ONES), r"x0, x1 and log_ratio: expected \(N, L\)"),
        (lambda: reweighting_test(ONES[:50], ONES, ONES[:, 0]), "at least 100 rows"),
        (lambda: reweighting_test(ONES, ONES, ONES[:, 0] / 0), "log_ratio: expected finite"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
