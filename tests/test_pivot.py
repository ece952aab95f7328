"""Pivots, their judge and distance correlation: closed forms, and games that go wrong.

Random gates are set at 5 or more standard errors: a false alarm is rarer than 1e-6.
"""

import copy
from math import asin, log, pi, sqrt

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from lfi_helpers.classifiers import (
    MixtureDensity,
    carl_loss,
    distance_correlation,
    fit_pivot,
    fresh_adversary,
    moving_cut,
)
from lfi_helpers.classifiers import pivot as module
from lfi_helpers.classifiers.pivot import score
from lfi_helpers.networks import mlp
from lfi_helpers.run import generator
from lfi_helpers.training import TrainingDiverged, fit

H = log(2 * pi) / 2 + 0.5  # entropy of N(0, 1), nat


def normals(n, stream=0, k=2, dtype=torch.float64):
    return torch.randn(k, n, generator=generator(11, stream), dtype=dtype)


def correlated(n, rho, stream=0):
    s, g = normals(n, stream)
    return s, rho * s + (1 - rho**2) ** 0.5 * g


def events(n, stream=0):
    """Return x (n, 2), label and nuisance: x_1 tells the label only, x_2 the nuisance as well."""
    y, z, g1, g2 = normals(n, stream, 4, torch.float32)
    y = (y > 0).float()
    return torch.stack([y + g1, 2 * y + z + 0.5 * g2], 1), y, z


def tagger(x, y, steps=300):
    network = mlp(2, 1, (16,), seed=3)
    settings = {"learning_rate": 1e-2, "batch_size": 256, "device": "cpu", "progress": False}

    def loss(network, rows):
        return carl_loss(network(rows[0])[:, 0], rows[1])

    fit(network, loss, (x, y), max_steps=steps, **settings)
    return network


def lift(reading, z):
    """Return the mean of -log r(z | s) + log p(z) on the rows held out, z ~ N(0, 1)."""
    return (reading.nll - z[reading.held].square() / 2 - log(2 * pi) / 2).mean().item()


# ---- the mixture density ----------------------------------------------------------------------


def test_mixture_density_integrates_to_one_and_is_torchs():
    z = 3 + 0.2 * normals(500)[0].float()
    adversary = MixtureDensity(z, components=4, hidden=(8,), seed=1)
    grid = torch.linspace(-7, 13, 20_001, device="cpu")
    for s in (-1.0, 0.3):
        density = adversary.log_prob(grid, torch.full_like(grid, s)).exp()
        assert abs(torch.trapezoid(density, grid).item() - 1) < 1e-4
    weight, mean, log_sd = adversary.network(torch.full((1, 1), 0.3))[0].chunk(3)
    sd = (5 * torch.tanh(log_sd / 5)).exp() * z.std(unbiased=False)
    parts = torch.distributions.Normal(z.mean() + mean * z.std(unbiased=False), sd)
    mixture = torch.distributions.Categorical(logits=weight)
    expected = torch.distributions.MixtureSameFamily(mixture, parts).log_prob(grid)
    near = (grid - 3).abs() < 1
    torch.testing.assert_close(density.log()[near], expected[near], rtol=1e-4, atol=1e-4)


# ---- distance correlation ---------------------------------------------------------------------


def test_distance_correlation_is_its_definition():
    a, b = correlated(60, 0.4)
    first, second = (squareform(pdist(v[:, None].numpy())) for v in (a, b))
    centre = np.eye(60) - 1 / 60
    first, second = centre @ first @ centre, centre @ second @ centre
    expected = (first * second).sum() / sqrt((first**2).sum() * (second**2).sum())
    assert abs(distance_correlation(a, b) - expected) < 1e-12
    assert abs(distance_correlation(a, -3 * a + 1) - 1) < 1e-12


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_distance_correlation_of_normals_is_the_closed_form(rho):
    top = rho * asin(rho) + sqrt(1 - rho**2) - rho * asin(rho / 2) - sqrt(4 - rho**2) + 1
    expected = top / (1 + pi / 3 - sqrt(3))  # Szekely, Rizzo and Bakirov 2007, theorem 7
    a, b = correlated(2_000, rho, 1)
    assert abs(distance_correlation(a, b) - expected) < 0.08  # > 5 sd of 0.015, bias 0.001
    uncentred = (a[:, None] - a).abs(), (b[:, None] - b).abs()  # the wrong form: no centring
    product = (uncentred[0] * uncentred[1]).mean()
    wrong = product / (uncentred[0].square().mean() * uncentred[1].square().mean()).sqrt()
    assert rho == 0.9 or abs(wrong - expected) > 0.3


def test_distance_correlation_sees_what_correlation_does_not():
    a = normals(1_000, 2)[0]
    assert abs(np.corrcoef(a, a.square())[0, 1]) < 0.3
    assert distance_correlation(a, a.square()) > 0.2


def test_distance_correlation_has_the_right_gradient():
    a, b = normals(8, 3)
    assert torch.autograd.gradcheck(distance_correlation, (a.requires_grad_(), b))


# ---- the fresh adversary ----------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_fresh_adversary_finds_the_information(rho):
    s, z = correlated(20_000, rho, 4)
    information = -log(1 - rho**2) / 2
    found = lift(fresh_adversary(s, z.float(), seed=1, max_steps=400), z)
    assert abs(found + information) < 0.015 + 5 * rho / sqrt(10_000)


def test_no_monotone_squeeze_hides_the_nuisance():
    s, z = correlated(4_000, 0.9, 5)
    plain = fresh_adversary(s, z, max_steps=100)
    squeezed = fresh_adversary(0.5 + 1e-9 * s, z, max_steps=100)
    assert torch.equal(plain.nll, squeezed.nll)
    assert lift(plain, z) < -0.4


def test_a_constant_score_tells_nothing():
    z = normals(20_000, 6)[0]
    reading = fresh_adversary(torch.full_like(z, 0.5), z, max_steps=200)
    assert abs(lift(reading, z)) < 0.01


def test_moving_cut_passes_its_share_everywhere():
    s, z = correlated(20_000, 0.8, 7)
    level = moving_cut(s, z, 0.1, slices=40)
    fresh, at = correlated(20_000, 0.8, 8)
    for low, high in ((-1.5, -0.5), (-0.5, 0.5), (0.5, 1.5)):
        rows = (at > low) & (at < high)
        se = (0.09 / rows.sum() + 0.09 * 40 / 20_000 / 10).sqrt()
        assert abs(((fresh - level(at))[rows] > 0).double().mean() - 0.1) < 5 * se + 0.01
        fixed = (fresh[rows] > np.quantile(s, 0.9)).double().mean()  # a cut that stands still
        assert low == -0.5 or abs(fixed - 0.1) > 0.05
    with pytest.raises(ValueError, match="s, z, keep: expected"):
        moving_cut(s, z, 1.5)


# ---- the game ---------------------------------------------------------------------------------

SHORT = {"n_outer": 120, "n_inner": 6, "warm_up": 150, "batch_size": 256, "device": "cpu"}


def information_left(network, stream=1, only=None):
    x, y, z = events(20_000, stream)
    keep = torch.ones_like(y, dtype=torch.bool) if only is None else y == only
    with torch.no_grad():
        s = score(network, x[keep])
    return -lift(fresh_adversary(s, z[keep], max_steps=200), z[keep])


@pytest.fixture(scope="module")
def before():
    x, y, z = events(10_000)
    return tagger(x, y), (x, y, z)


def copied(network):
    twin = mlp(2, 1, (16,))
    twin.load_state_dict(network.state_dict())
    return twin


def test_the_adversary_makes_the_score_independent(before):
    network, rows = before
    plain = information_left(network)
    pivot, untouched, reversed_sign = (copied(network) for _ in range(3))
    kept = fit_pivot(pivot, *rows, weight=20.0, learning_rate=5e-3, **SHORT)
    fit_pivot(untouched, *rows, weight=0.0, **SHORT)
    assert plain > 0.05
    assert information_left(pivot) < plain / 4
    assert abs(information_left(untouched) - plain) < plain / 3  # lambda = 0 is plain training
    assert len(kept.classifier_loss) == len(kept.adversary_loss) == 120
    assert kept.adversary_loss[-1] > kept.adversary_loss[0]
    rows_seen = module._Rows(*rows, None, 256, 0, torch.device("cpu"))
    game = module._Game(reversed_sign, kept.adversary, rows_seen, -20.0)  # the wrong sign
    slow = torch.optim.Adam(reversed_sign.parameters(), lr=5e-3)
    for _ in range(60):
        game.classifier_step(slow)
    assert information_left(reversed_sign) > plain / 2


def test_independence_can_be_demanded_of_one_class(before):
    network, rows = copied(before[0]), before[1]
    plain = information_left(network, only=0)
    fit_pivot(network, *rows, weight=20.0, within=0, learning_rate=5e-3, **SHORT)
    assert information_left(network, only=0) < plain / 3


def test_same_seed_same_game_on_a_poisoned_device(same_when_poisoned):
    x, y, z = events(300)
    few = {"n_outer": 3, "n_inner": 2, "warm_up": 2, "batch_size": 32, "device": "cpu"}

    def play():
        network = mlp(2, 1, (4,), seed=1)
        kept = fit_pivot(network, x, y, z, weight=1.0, seed=5, **few)
        reading = fresh_adversary(score(network, x).detach(), z, max_steps=3)
        return kept.adversary_loss, list(network.parameters()), reading.nll

    same_when_poisoned(play)


@pytest.mark.parametrize("rates", [{"adversary_rate": 1e3}, {"learning_rate": 1e30}])
def test_divergence_is_named_and_the_state_kept(rates, before):
    network = copied(before[0])
    with pytest.raises(
        TrainingDiverged, match="step .*learning rate .*last finite loss"
    ) as caught:
        fit_pivot(network, *before[1], weight=10.0, **SHORT, **rates)
    assert caught.value.step < 120
    assert np.isfinite(caught.value.last_loss)
    assert caught.value.learning_rate in (1e3, 2e-3)
    x = before[1][0]
    assert torch.equal(network(x), before[0](x))


def test_the_best_state_of_a_game_that_diverges_late_is_kept(before, monkeypatch):
    judge, states = module._Game.judge, []

    def recording(game, rate):
        judge(game, rate)
        states.append(copy.deepcopy(game.classifier))

    monkeypatch.setattr(module._Game, "judge", recording)
    exact, calls = MixtureDensity.log_prob, []

    def fails_late(self, z, s):
        calls.append(0)
        return exact(self, z, s) * (torch.nan if len(calls) > 150 + 55 * 7 else 1)

    monkeypatch.setattr(MixtureDensity, "log_prob", fails_late)
    network = copied(before[0])
    with pytest.raises(TrainingDiverged) as caught:
        fit_pivot(network, *before[1], weight=10.0, **SHORT)
    assert 50 < caught.value.step < 60
    x = before[1][0]
    assert len(states) == 2
    assert any(torch.equal(network(x), kept(x)) for kept in states)


def test_wrong_input_is_named():
    x, y, z = events(100)
    with pytest.raises(ValueError, match="weight: expected a number >= 0"):
        fit_pivot(mlp(2, 1), x, y, z, weight=-1.0)
    with pytest.raises(ValueError, match="z and label: expected shape"):
        fit_pivot(mlp(2, 1), x, y, z[:, None], weight=1.0)
    with pytest.raises(ValueError, match="x and label and z: expected equally many rows"):
        fit_pivot(mlp(2, 1), x, y[:5], z, weight=1.0)
    with pytest.raises(ValueError, match="within: expected at least 10 rows"):
        fit_pivot(mlp(2, 1), x, 0 * y, z, weight=1.0, within=1)
    with pytest.raises(ValueError, match="s and z: expected one shape"):
        fresh_adversary(z[:, None], z)
    with pytest.raises(ValueError, match="a and b: expected one shape"):
        distance_correlation(z, z[:5])
    with pytest.raises(ValueError, match="a and b: expected samples that vary"):
        distance_correlation(z, 0 * z)
