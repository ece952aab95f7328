"""The classifier two-sample test against the best possible classifier, and its networks.

Bands hold for any seed: exact ones with a false-alarm probability below 1e-5; those around
trained networks are 6.2 standard deviations of a 20-seed study wide, which is the same.
"""

from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exact_bank import EXACT, MEAN, MIX, WRONG, Gaussian
from scipy.stats import t as student

from lfi_helpers.diagnostics import c2st
from lfi_helpers.diagnostics.ensemble import Ensemble, train
from lfi_helpers.run import generator

module, networks = (import_module(f"lfi_helpers.diagnostics.{n}") for n in ("c2st", "ensemble"))
ALARM = 1e-5
X_OBS = torch.stack([MIX @ MEAN + torch.tensor([2.5, -0.5, 0.3], **EXACT), MIX @ MEAN])
# Over 20 seeds at 4000 rows the accuracy differs from the best possible one by -.003 to .001 on
# average, posterior by posterior, with standard deviations up to .0055.
BAND = 0.04


def at_x_obs(posterior, n, seed=0, row=0):
    """Draw n theta of the posterior at a row of X_OBS (whose order "permuted" exchanges)."""
    return posterior.sample_batch(n, X_OBS, seed)[:, row]


def best_accuracy(posterior, n=100_000, row=0):
    """Return the accuracy of the exact likelihood ratio between it and the exact posterior."""
    hits = 0
    for k, drawn in enumerate((Gaussian(), posterior)):
        theta = at_x_obs(drawn, n, 50 + k, row)[:, None].expand(n, 2, 2)
        p, q = (m.log_prob_batch(theta, X_OBS)[:, row] for m in (Gaussian(), posterior))
        hits += int(((q > p) == bool(k)).sum())
    return hits / (2 * n)


def excess(repeats=20, n=500):
    """Return Student's t of the accuracy above 1/2 where both samples are from one posterior."""
    found = [
        c2st(at_x_obs(Gaussian(), n, 2 * k), at_x_obs(Gaussian(), n, 2 * k + 1), k)
        for k in range(repeats)
    ]
    return (np.mean(found) - 0.5) / (np.std(found, ddof=1) / np.sqrt(repeats))


def judged_on_what_was_learned(n, draws):
    """Give every fold the same rows to learn from, to stop by and to be judged on."""
    every = torch.arange(2 * n, device="cpu").expand(5, -1)
    return every, every, every


def test_equal_samples_are_not_told_apart(monkeypatch):
    critical = student.isf(ALARM / 2, 19)
    assert abs(excess()) < critical
    monkeypatch.setattr(module, "_folds", judged_on_what_was_learned)
    monkeypatch.setattr(module, "MAX_EPOCHS", 20)
    assert excess() > critical


@pytest.mark.parametrize("name", WRONG)
def test_the_accuracy_is_the_best_possible_one(name):
    found = c2st(at_x_obs(Gaussian(), 4000, 1), at_x_obs(WRONG[name], 4000, 2))
    best = best_accuracy(WRONG[name])
    assert best > 0.5 + 2 * BAND, "far enough from 1/2 to be seen"
    assert abs(found - best) < BAND


def test_a_network_that_hardly_learns_misses_widths(monkeypatch):
    monkeypatch.setattr(module, "MAX_EPOCHS", 1)
    for name in ("narrow", "wide"):
        found = c2st(at_x_obs(Gaussian(), 4000, 1), at_x_obs(WRONG[name], 4000, 2))
        assert found < best_accuracy(WRONG[name]) - BAND


def test_one_observation_may_hide_what_is_wrong():
    """Where x is what the prior expects, the flipped posterior is the exact one."""
    flipped = at_x_obs(WRONG["sign flipped"], 4000, 2, row=1)
    assert best_accuracy(WRONG["sign flipped"], 1000, row=1) == 0.5
    assert abs(c2st(at_x_obs(Gaussian(), 4000, 1, row=1), flipped) - 0.5) < BAND


def raw(sample, p):
    return sample.float()


def test_units_do_not_matter(monkeypatch):
    p, q = at_x_obs(Gaussian(), 1000, 1), at_x_obs(WRONG["prior"], 1000, 2)
    units = torch.tensor([1024.0, 1 / 1024], **EXACT)
    assert c2st(p * units, q * units) == c2st(p, q)
    monkeypatch.setattr(module, "_standardised", raw)
    assert c2st(p * units, q * units) != c2st(p, q)


def test_the_seed_alone_decides():
    p, q = at_x_obs(Gaussian(), 300, 1), at_x_obs(WRONG["wide"], 300, 2)
    assert c2st(p, q, 3) == c2st(p, q, 3)
    assert len({c2st(p, q, seed) for seed in range(4)}) > 1


def test_each_row_is_judged_once_by_networks_that_never_saw_it():
    test, fit, held = module._folds(103, generator(0))
    assert test.shape == (5, 40) and (test < 103).sum(1).eq(20).all()  # both labels equally often
    assert test.flatten().unique().numel() == 200
    for row in zip(test, fit, held, strict=True):
        assert torch.cat(row).unique().numel() == 200


# --- the networks -------------------------------------------------------------------------------


def random_ensemble(members=3, features=4, hidden=6):
    size = sum(a * b for a, b in networks._shapes(features, hidden))
    flat = torch.randn(members, size, generator=generator(0), **EXACT)
    return Ensemble(flat, features, hidden)


def gradients(ensemble):
    """Return the hand-written gradient and autograd's, of the mean cross-entropies."""
    g = generator(1)
    x = torch.randn(3, 50, 4, generator=g, **EXACT)
    label = torch.randint(2, (3, 50), generator=g, device="cpu").double()
    into = Ensemble(torch.zeros_like(ensemble.flat), 4, 6)
    ensemble.write_gradient(into, x, label)
    flat = ensemble.flat.clone().requires_grad_()
    logit = DifferentiableEnsemble(flat, 4, 6)(x)
    F.binary_cross_entropy_with_logits(logit, label, reduction="none").mean(1).sum().backward()
    return into.flat, flat.grad


class DifferentiableEnsemble(Ensemble):
    """The same networks without operations in place."""

    def _forward(self, x):
        w1, b1, w2, b2, w3, b3 = self.layers
        first = torch.relu(x @ w1 + b1)
        second = torch.relu(first @ w2 + b2)
        return first, second, second @ w3 + b3


def test_the_gradient_is_that_of_autograd():
    torch.testing.assert_close(*gradients(random_ensemble()), rtol=0, atol=1e-12)


class Forgetful(Ensemble):
    """Forgets where the second layer is flat: all of its units pass every error on."""

    def _forward(self, x):
        first, second, logit = super()._forward(x)
        return first, second + 1e-300, logit


def test_a_forgotten_kink_is_rejected():
    ensemble = random_ensemble()
    ours, exact = gradients(Forgetful(ensemble.flat, 4, 6))
    assert (ours - exact).abs().max() > 1e-3


def learned(labels):
    """Train two networks side by side and return their weights."""
    g = generator(2)
    x = torch.randn(400, 2, generator=g, device="cpu")
    rows = torch.arange(360, device="cpu").expand(2, -1)
    held = torch.arange(360, 400, device="cpu").expand(2, -1)
    labels = torch.stack([label(x) for label in labels]).float()
    sizes = {"hidden": 8, "max_epochs": 3, "patience": None}
    return train(x, labels, rows, held, generator=g, **sizes).flat


def test_networks_side_by_side_do_not_meet():
    one, other = lambda x: x[:, 0] > 0, lambda x: x[:, 1] > 0
    assert torch.equal(learned([one, one])[0], learned([one, other])[0])
    assert not torch.equal(learned([one, one])[1], learned([one, other])[1])


# --- wrong input --------------------------------------------------------------------------------

GOOD = np.random.default_rng(0).normal(size=(60, 2))


@pytest.mark.parametrize(
    ("p", "q", "error", "message"),
    [
        (GOOD, GOOD[:, :1], ValueError, r"q: expected shape \(N, 2\), got \(60, 1\)"),
        (GOOD[:, 0], GOOD, ValueError, r"p: expected shape \(N, L\), got \(60,\)"),
        (GOOD, GOOD[:55], ValueError, "p and q: expected equally many rows.*got 60 and 55"),
        (GOOD[:9], GOOD[:9], ValueError, "at least 50, got 9 and 9"),
        (GOOD, GOOD * np.nan, ValueError, "q: expected finite numbers, got 120"),
        (GOOD * [1, 0] + 0.1, GOOD, ValueError, "p: expected features that vary"),
        (GOOD, None, TypeError, "q: expected a tensor, got NoneType"),
    ],
)
def test_wrong_samples_are_refused(p, q, error, message):
    with pytest.raises(error, match=message):
        c2st(p, q)


def test_no_default_device_is_used(same_when_poisoned):
    p, q = at_x_obs(Gaussian(), 60, 1), at_x_obs(WRONG["wide"], 60, 2)
    same_when_poisoned(lambda: c2st(p, q))
