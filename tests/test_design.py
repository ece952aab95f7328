"""The expected information gain against closed forms and quadrature; what wrong ones would give.

Gates of 5 standard errors have a false-alarm probability of 6e-7.
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lfi_helpers.decisions import design as module
from lfi_helpers.decisions import expected_information_gain, maximise
from lfi_helpers.simulators import load

GRID = torch.linspace(-6, 6, 401, dtype=torch.float64)[:, None]
NORMAL = (-GRID[:, 0].square() / 2).exp()  # theta ~ N(0, 1)
DESIGNS = [(0.3, 1.0), (1.0, 1.0), (3.0, 1.0), (1.0, 0.2)]  # slope and noise


def simulate(theta, design, generator):
    """Draw slope theta + noise: the exact gain is log(1 + slope^2 / noise^2) / 2."""
    slope, noise = design
    like = {"dtype": theta.dtype, "device": theta.device}
    return slope * theta + noise * torch.randn(theta.shape, generator=generator, **like)


def log_likelihood(x, theta, design):
    slope, noise = design
    return -0.5 * ((x[:, None] - slope * theta) / noise).square().sum(-1)


def exact(slope, noise):
    return 0.5 * math.log1p((slope / noise) ** 2)


def linear(design, **settings):
    given = {"theta": GRID, "weight": NORMAL, "n_experiments": 2000, "seed": 1} | settings
    return expected_information_gain(design, simulate, log_likelihood, **given)


def far_off(gain, truth):
    """Return by how many standard errors an estimate misses the truth."""
    return abs(gain.mean - truth) / gain.error


@pytest.mark.parametrize("design", DESIGNS)
def test_the_gain_of_a_linear_gaussian_experiment_is_its_closed_form(design):
    gain = linear(design, n_experiments=500)
    assert gain.mean == pytest.approx(exact(*design), abs=1e-3)  # one width for all x: no noise
    # of log N(theta | posterior) - log N(theta | prior) the deviation is below 2
    assert abs(gain.log_score - exact(*design)) < 5 * 2 / 500**0.5
    assert gain.error < 1e-3


def test_draws_in_place_of_a_grid_in_two_dimensions():
    """With x = M theta + noise, log det(1 + M M^T / noise^2) / 2; 20 000 draws bias it by 1e-3."""
    matrix = torch.tensor([[1.0, 0.4], [-0.3, 2.0]], dtype=torch.float64)
    draws = torch.randn(
        20_000, 2, generator=torch.Generator("cpu").manual_seed(3), dtype=torch.float64
    )
    gain = expected_information_gain(
        (0.7,),
        lambda theta, design, generator: simulate(theta @ matrix.T, (1.0, *design), generator),
        lambda x, theta, design: -(torch.cdist(x, theta @ matrix.T) ** 2) / (2 * design[0] ** 2),
        draws,
        n_experiments=400,
    )
    truth = 0.5 * torch.logdet(torch.eye(2, dtype=torch.float64) + matrix @ matrix.T / 0.7**2)
    assert abs(gain.mean - truth.item()) < 5 * gain.error + 0.01


def collider(design):
    return load("weinberg", sqrt_s=design[0], electron_polarisation=design[1])


def cosines(n_events):
    def draw(theta, design, generator):
        each = theta.repeat_interleave(n_events, 0)
        return collider(design).sample(each, generator).reshape(len(theta), n_events)

    return draw


def sum_of_log_prob(x, theta, design):
    weinberg, x = collider(design), x.to(theta)
    rows = [weinberg.log_prob(x.reshape(-1, 1), t.expand(x.numel(), 1)) for t in theta]
    return torch.stack(rows, 1).reshape(*x.shape, len(theta)).sum(1)


THETA = torch.tensor([[0.20], [0.22], [0.26]], dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)


DESIGN = (84.4, -0.8)


def by_quadrature(design):
    """Sum over theta, integrate over the angle: p log(p / mean p)."""

    def integrand(c):
        p = sum_of_log_prob(torch.tensor([[c]], dtype=torch.float64), THETA, design)[0].exp()
        w = WEIGHT / 4
        return (w * p * (p / (w @ p)).log()).sum().item()

    return quad(integrand, -1, 1)[0]


def one_collision(design):
    settings = {"theta": THETA, "weight": WEIGHT, "n_experiments": 40_000}
    return expected_information_gain(design, cosines(1), sum_of_log_prob, **settings)


@pytest.mark.parametrize("design", [DESIGN, (91.19, 0.0), (80.0, 0.5)])
def test_the_gain_of_one_collision_is_its_quadrature(design):
    assert far_off(one_collision(design), by_quadrature(design)) < 5


def test_many_events_tell_which_point_it_is():
    settings = {"theta": THETA, "weight": WEIGHT, "n_experiments": 16}
    gain = expected_information_gain((84.4, -0.8), cosines(20_000), sum_of_log_prob, **settings)
    assert gain.mean == pytest.approx(1.5 * math.log(2), abs=1e-6)  # the entropy of 1/4, 1/2, 1/4


def test_a_constant_for_each_experiment_changes_nothing():
    def shifted(x, theta, design):
        return log_likelihood(x, theta, design) + 100 * x.sin()

    moved = expected_information_gain((1.0, 1.0), simulate, shifted, GRID, NORMAL, seed=1)
    still = linear((1.0, 1.0), n_experiments=64)
    assert moved.mean == pytest.approx(still.mean, abs=1e-9)


def test_designs_share_their_random_numbers():
    """The difference of two near designs scatters less than one design does."""

    def gain(energy, seed):
        settings = {"theta": THETA, "weight": WEIGHT, "n_experiments": 16, "seed": seed}
        return expected_information_gain((energy, -0.8), cosines(50), sum_of_log_prob, **settings)

    near, far = np.transpose([[gain(e, s).mean for e in (84.0, 84.1)] for s in range(20)])
    assert np.std(far - near) < 0.6 * np.std(near)  # without: 1.4
    assert gain(84.0, 0) == gain(84.0, 0)


def test_the_log_score_tells_an_overconfident_likelihood_without_the_truth():
    def doubled(x, theta, design):
        return 2 * log_likelihood(x, theta, design)

    gain = expected_information_gain(
        (3.0, 1.0), simulate, doubled, GRID, NORMAL, n_experiments=2000
    )
    assert gain.mean > exact(3.0, 1.0) + 0.2
    assert gain.log_score < gain.mean - 0.3


def test_the_most_informative_phase_is_found():
    """Twenty draws of N(theta, 2 + cos phi): the noise is least at pi."""

    def gain(phi):
        noise = math.sqrt((2 + math.cos(phi[0])) / 20)
        return linear((1.0, noise), n_experiments=32).mean

    best = maximise(gain, [(0, 2 * math.pi)], n_calls=14, n_initial=6).best_x
    assert abs(best[0] - math.pi) < 0.3


# Wrong implementations: what they are, and the part of the right one that they replace.
def at_the_most_probable(weight, n, generator):
    return weight.argmax().expand(n)


def from_a_flat_prior(weight, n, generator):
    return torch.randint(len(weight), (n,), generator=generator, device="cpu")


@pytest.mark.parametrize("wrong", [at_the_most_probable, from_a_flat_prior])
def test_theta_that_is_not_drawn_from_the_prior_is_seen(wrong, monkeypatch):
    monkeypatch.setattr(module, "_spread", wrong)
    assert abs(linear((3.0, 1.0)).log_score - exact(3.0, 1.0)) > 5 * 2 / 2000**0.5


def test_events_counted_twice_are_seen():
    """A likelihood of another number of data than was simulated: the gain of twice as many."""

    def twice(x, theta, design):
        return 2 * log_likelihood(x, theta, design)

    gain = expected_information_gain((1.0, 1.0), simulate, twice, GRID, NORMAL)
    assert gain.mean > exact(1.0, 1.0) + 0.1


def test_points_appear_as_often_as_their_weights_say():
    """Systematic draws: n w_g rounded down or up, and never where the weight is zero."""
    weight = torch.tensor([0.0, 0.25, 0.35, 0.0, 0.4, 0.0], dtype=torch.float64)
    for seed in range(20):
        drawn = module._spread(weight, 10, torch.Generator("cpu").manual_seed(seed))
        count = drawn.bincount(minlength=6)
        assert ((count - 10 * weight).abs() < 1).all()
        assert count[weight == 0].sum() == 0


def test_no_implicit_device(same_when_poisoned):
    def compute():
        gain = linear((1.0, 1.0), n_experiments=8, weight=None)
        return torch.tensor([gain.mean, gain.error, gain.log_score], device="cpu")

    same_when_poisoned(compute)


def nothing_possible(x, theta, design):
    return torch.full((len(x), len(theta)), -torch.inf)


def possible_where_the_prior_is_zero(x, theta, design):
    return torch.where(theta[:, 0] < 0, 0.0, -torch.inf).expand(len(x), -1)


BOX = [(80, 100), (-0.8, 0.8)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design": (79.9, 0.0), "bounds": BOX}, r"design: expected a point in the box .*79\.9"),
        ({"design": (90.0, 0.81), "bounds": BOX}, "design: expected a point in the box"),
        ({"design": (90.0,), "bounds": BOX}, r"design: expected 2 numbers, got \[90\.0\]"),
        ({"design": (90.0, math.nan)}, "design: expected K finite numbers"),
        ({"design": ()}, "design: expected K finite numbers"),
        ({"bounds": [(1, 0), (0, 1)]}, "bounds: expected finite low < high"),
        ({"theta": GRID[:, 0]}, r"theta: expected shape \(N, L\), got \(401,\)"),
        ({"theta": GRID[:0], "weight": None}, "theta: expected at least one point"),
        ({"weight": NORMAL[:7]}, r"weight: expected shape \(401,\), got \(7,\)"),
        ({"weight": -NORMAL}, "weight: expected numbers >= 0, not all 0"),
        ({"weight": 0 * NORMAL}, "weight: expected numbers >= 0, not all 0"),
        ({"weight": NORMAL * torch.nan}, "weight: expected finite numbers"),
        ({"n_experiments": 1}, "n_experiments: expected an integer >= 2, got 1"),
        ({"simulate": lambda theta, d, g: theta[1:]}, "simulate: expected 64 experiments, got 63"),
        ({"log_likelihood": lambda x, t, d: x}, r"expected shape \(64, 401\), got \(64, 1\)"),
        (
            {"log_likelihood": lambda x, t, d: log_likelihood(x, t, d) * torch.nan},
            "log_likelihood: expected numbers or -inf, got NaN",
        ),
        ({"log_likelihood": nothing_possible}, "got 64 of 64 that none does"),
        (
            {"log_likelihood": possible_where_the_prior_is_zero, "weight": (GRID[:, 0] > 0) * 1.0},
            "got 64 of 64 that none does",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"design": (1.0, 1.0), "simulate": simulate, "log_likelihood": log_likelihood}
    given |= {"theta": GRID, "weight": NORMAL} | change
    with pytest.raises(ValueError, match=message):
        expected_information_gain(**given)


@pytest.mark.parametrize(
    ("design", "message"),
    [((84.0, -1.2), "electron_polarisation: expected a number in"), ((0.0, 0.0), "sqrt_s: exp")],
)
def test_a_design_that_the_simulator_refuses_says_so(design, message):
    with pytest.raises(ValueError, match=message):
        expected_information_gain(design, cosines(1), sum_of_log_prob, THETA)
