"""Ratios of mixtures from pairwise classifiers, against the exact mixture of the CARL paper."""

import pytest
import torch

from lfi_helpers.classifiers import (
    LogRatio,
    PairwiseRatios,
    fit_log_ratio,
    fit_pairwise,
    mixture_log_ratio,
)
from lfi_helpers.run import generator
from lfi_helpers.simulators import load

GAMMA = 0.05
W = torch.tensor([(1 - GAMMA) / 2, (1 - GAMMA) / 2, GAMMA], dtype=torch.float64)
W_REF = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)


def pairwise(log_p):
    return log_p[:, :, None] - log_p[:, None, :]


def rms(a, b):
    return (a - b).square().mean().sqrt().item()


@pytest.fixture(scope="module")
def densities():
    """Return log p_c (N, 4) of four components that differ by hundreds in the logarithm."""
    return 30 * torch.randn(1000, 4, generator=generator(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("w", "w_ref"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.25, 0.25, 0.25, 0.25)),
        ((0.0, 0.5, 0.0, 0.5), (0.5, 0.0, 0.5, 0.0)),  # components of one of them only
        ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ((0.5, 0.5, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0)),
    ],
)
def test_the_decomposition_is_the_ratio_of_the_sums(densities, w, w_ref):
    w, w_ref = (torch.tensor(v, dtype=torch.float64) for v in (w, w_ref))
    exact = torch.logsumexp(densities + w.log(), 1) - torch.logsumexp(densities + w_ref.log(), 1)
    got = mixture_log_ratio(pairwise(densities), w, w_ref)
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10)
    turned = mixture_log_ratio(pairwise(densities), w_ref, w)
    torch.testing.assert_close(turned, -exact, rtol=1e-10, atol=1e-10)
    if not torch.equal(w, w_ref):
        inverted = mixture_log_ratio(-pairwise(densities), w, w_ref)  # log p_j / p_i
        assert rms(inverted, exact) > 0.5


def test_weights_may_differ_from_event_to_event(densities):
    w = torch.rand(1000, 4, generator=generator(1), dtype=torch.float64)
    w = w / w.sum(1, keepdim=True)
    w_ref = w.flip(0)
    exact = torch.logsumexp(densities + w.log(), 1) - torch.logsumexp(densities + w_ref.log(), 1)
    got = mixture_log_ratio(pairwise(densities), w, w_ref)
    torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-10)


def test_the_gradient_in_the_signal_fraction_is_exact_also_at_zero():
    mixture = load("carl_mixture")
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    pairs = pairwise(mixture.component_log_prob(x))
    for value in (0.0, GAMMA):
        gamma = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        w = torch.stack([(1 - gamma) / 2, (1 - gamma) / 2, gamma])
        (slope,) = torch.autograd.grad(mixture_log_ratio(pairs, w, W_REF).sum(), gamma)
        theta = torch.full_like(x, value).requires_grad_()
        (exact,) = torch.autograd.grad(mixture.log_prob(x, theta).sum(), theta)
        assert slope.item() == pytest.approx(exact.sum().item(), rel=1e-10)


def test_a_wrong_way_of_mixing_is_rejected():
    """sum_c w_c / w'_c p_c / p'_c, each component over its namesake, is no ratio of mixtures."""
    mixture = load("carl_mixture")
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    log_p = mixture.component_log_prob(x)
    exact = mixture.log_ratio(x, torch.full_like(x, GAMMA))
    assert rms(mixture_log_ratio(pairwise(log_p), W, W_REF), exact) < 1e-12
    average = (log_p * W).sum(1) - (log_p * W_REF).sum(1)  # of logarithms
    assert rms(average, exact) > 0.02


# --- learned


@pytest.fixture(scope="module")
def learned():
    """Return the mixture and three classifiers of 30 000 + 30 000 events each."""
    mixture, hand = load("carl_mixture"), generator(2)
    components = [mixture.draw_component(k, 30_000, hand) for k in range(3)]
    settings = {"hidden": (10, 10), "max_epochs": 8, "learning_rate": 3e-2, "progress": False}
    return mixture, fit_pairwise(components, seed=0, device="cpu", **settings), settings


def draws(mixture, n=20_000, seed=3):
    return mixture.sample(torch.full((n, 1), GAMMA), generator(seed))


def test_learned_pairs_make_the_exact_ratio(learned):
    mixture, ratios, _ = learned
    x = draws(mixture)
    exact = mixture.log_ratio(x, torch.full_like(x, GAMMA))
    assert rms(ratios.log_ratio(x, W, W_REF), exact) < 0.02
    for swapped in ((0, 2), (1, 2)):
        wrong = dict(ratios.ratios)
        wrong[swapped] = lambda x, right=ratios.ratios[swapped]: -right(x)
        assert rms(PairwiseRatios(3, wrong).log_ratio(x, W, W_REF), exact) > 0.05


def test_each_pair_is_the_first_over_the_second(learned):
    """Of a pair of equal weights the exchange cannot be seen in the mixture: look at the pair."""
    mixture, ratios, _ = learned
    x = draws(mixture)
    log_p, pairs = mixture.component_log_prob(x), ratios(x)
    assert sorted(ratios.ratios) == [(0, 1), (0, 2), (1, 2)]
    assert torch.equal(pairs, -pairs.transpose(1, 2))
    for i, j in ratios.ratios:
        exact = log_p[:, i] - log_p[:, j]
        bulk = (exact.abs() < 4) & (log_p[:, [i, j]].amax(1) > -4)  # where the pair has events
        assert rms(pairs[bulk, i, j], exact[bulk]) < 0.3
        assert rms(-pairs[bulk, i, j], exact[bulk]) > 1
    wrong = dict(ratios.ratios)
    wrong[0, 1] = lambda x: -ratios.ratios[0, 1](x)
    right, unseen = (r.log_ratio(x, W, W_REF) for r in (ratios, PairwiseRatios(3, wrong)))
    assert rms(right, unseen) < 0.05


def test_the_decomposition_beats_one_classifier_of_the_mixtures(learned):
    mixture, ratios, settings = learned
    hand = generator(4)
    x0, x1 = (mixture.sample(torch.full((45_000, 1), g), hand) for g in (GAMMA, 0.0))
    direct = fit_log_ratio(x0, x1, seed=0, device="cpu", **settings)
    x = draws(mixture)
    exact = mixture.log_ratio(x, torch.full_like(x, GAMMA))
    assert rms(ratios.log_ratio(x, W, W_REF), exact) < rms(direct(x), exact) / 1.5


def test_calibration_is_refused_on_training_data_and_reaches_every_pair(learned):
    mixture, ratios, _ = learned
    fresh = [mixture.draw_component(k, 5000, generator(5, k)) for k in range(3)]
    calibrated = ratios.calibrated(fresh, "platt")
    assert all(isinstance(r, LogRatio) and r.calibrator for r in calibrated.ratios.values())
    assert ratios.ratios[0, 1].calibrator is None
    again = [mixture.draw_component(0, 30_000, generator(2)), *fresh[1:]]
    with pytest.raises(ValueError, match="x0: expected rows that were not trained on"):
        ratios.calibrated(again)


# --- contracts


def test_no_default_device_is_used(same_when_poisoned):
    log_p = torch.randn(9, 3, generator=generator(6))
    same_when_poisoned(lambda: mixture_log_ratio(pairwise(log_p), [0.5, 0.5, 0.0], W_REF))
    components = [torch.randn(40, 2, generator=generator(7, k)) for k in range(3)]

    def train():
        ratios = fit_pairwise(components, max_epochs=1, device="cpu", progress=False)
        return ratios(components[0])

    same_when_poisoned(train)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p: mixture_log_ratio(p[0], W, W_REF), r"pairwise: expected shape \(N, K, K\)"),
        (lambda p: mixture_log_ratio(p / 0, W, W_REF), "pairwise: expected finite numbers"),
        (
            lambda p: mixture_log_ratio(p, W[:2], W_REF),
            r"weights: expected shape \(3,\) or \(5, 3",
        ),
        (lambda p: mixture_log_ratio(p, W, 2 * W_REF), "weights_ref: expected shares"),
        (lambda p: mixture_log_ratio(p, W - 0.1, W_REF), "weights: expected shares"),
        (lambda p: fit_pairwise([p[:, 0]]), "components: expected at least two samples, got 1"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(5, 3, 3))
