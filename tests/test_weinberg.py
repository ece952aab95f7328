"""Muon pairs: the sampler against its density, the physics against textbooks."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2

from lfi_helpers.run import generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.weinberg import Z_MASS

ALPHA = 1e-6  # false-alarm probability of each statistical gate below
SETTINGS = [
    {},
    {"sqrt_s": 82.0},
    {"sqrt_s": 94.0},
    {"sqrt_s": 84.4, "electron_polarisation": -0.8},
    {"electron_polarisation": 0.8, "positron_polarisation": -0.3},
]


def row(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def chi2_against(density, x, bins=20):
    """Return chi2 of a histogram of x against bin integrals of a density: bins - 1 degrees."""
    edges = np.linspace(-1, 1, bins + 1)
    pairs = zip(edges[:-1], edges[1:], strict=True)
    expected = len(x) * np.array([quad(density, low, high)[0] for low, high in pairs])
    observed = np.histogram(x, edges)[0]
    return ((observed - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_density_integrates_to_one(settings):
    weinberg = load("weinberg", **settings)
    for theta in (0.2, 0.2312, 0.26):
        norm = quad(lambda c, t=theta: weinberg.log_prob(row(c), row(t)).exp().item(), -1, 1)[0]
        assert norm == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_sampler_follows_the_density(settings):
    weinberg = load("weinberg", **settings)
    x = weinberg.sample(torch.full((200_000, 1), 0.2312), generator(0))[:, 0].numpy()
    statistic = chi2_against(lambda c: weinberg.log_prob(row(c), row(0.2312)).exp().item(), x)
    assert statistic < chi2.isf(ALPHA, 19)


def test_a_sampler_that_divides_by_the_maximum_twice_is_rejected():
    """The rejection step of a published toy clips the peak of p when its maximum is below one."""
    weinberg, n = load("weinberg"), 200_000

    def density(c):
        return weinberg.log_prob(row(c), row(0.2312)).exp().item()

    u = torch.rand(2, n, generator=generator(0), dtype=torch.float64)
    c = 2 * u[0] - 1
    p = weinberg.log_prob(c[:, None], torch.full((n, 1), 0.2312, dtype=torch.float64)).exp()
    highest = p.max()
    assert chi2_against(density, c[u[1] < p / highest].numpy()) < chi2.isf(ALPHA, 19)
    assert chi2_against(density, c[u[1] < p / highest / highest].numpy()) > chi2.isf(ALPHA, 19)


def test_the_density_is_never_negative():
    """|A_FB| <= 3/4 always; a toy density with a free slope can turn negative."""
    c = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    for settings in SETTINGS:
        for theta in (0.01, 0.2, 0.5, 0.99):
            log_prob = load("weinberg", **settings).log_prob(c, torch.full_like(c, theta))
            assert not torch.isnan(log_prob).any()


def test_outside_the_range_the_density_vanishes_with_finite_gradient():
    theta = row(0.23, 0.23, 0.23).requires_grad_()
    log_prob = load("weinberg").log_prob(row(-1.5, 0.0, 1.0001), theta)
    assert log_prob.isinf().tolist() == [True, False, True]
    log_prob[1].backward()
    assert torch.isfinite(theta.grad).all()


def test_the_score_has_mean_zero_and_matches_a_finite_difference():
    weinberg, step = load("weinberg", sqrt_s=82.0), 1e-5
    theta = torch.full((1000, 1), 0.2312, dtype=torch.float64).requires_grad_()
    x = weinberg.sample(theta.detach(), generator(1))
    score = torch.autograd.grad(weinberg.log_prob(x, theta).sum(), theta)[0][:, 0]
    high, low = (weinberg.log_prob(x, theta.detach() + s) for s in (step, -step))
    torch.testing.assert_close(score, (high - low) / (2 * step), rtol=1e-6, atol=1e-6)
    # E[score] = 0: |z| < 4.9 has false-alarm probability 1e-6
    assert abs(score.mean() / score.std() * 1000**0.5) < 4.9


def test_pure_photon_exchange_is_the_textbook_cross_section():
    """Far below the Z, sigma = 4 pi alpha^2 / (3 s): 86.85 nb / s at alpha = 1/137.036."""
    weinberg = load("weinberg", sqrt_s=1.0)
    assert weinberg.cross_section(row(0.23)).item() == pytest.approx(
        86.85 * (137.036 / 128) ** 2, rel=2e-3
    )
    assert abs(weinberg.asymmetry(row(0.23)).item()) < 1e-3


def test_at_the_z_the_asymmetry_is_that_of_its_couplings():
    """Without the photon A_FB = 3/4 A_e A_mu, A = 2 v a / (v^2 + a^2), v = -1/2 + 2 sin^2."""
    v, a = -0.5 + 2 * 0.2312, -0.5
    pole = 0.75 * (2 * v * a / (v**2 + a**2)) ** 2
    assert load("weinberg").asymmetry(row(0.2312)).item() == pytest.approx(pole, abs=2e-3)


def test_known_asymmetries_and_cross_section():
    """Tree-level values computed independently for sin^2 = 0.2312."""
    known = {88.0: -0.281, 89.4: -0.151, 91.19: 0.0167, 93.0: 0.176, 94.0: 0.256, 20.0: -0.027}
    for sqrt_s, expected in known.items():
        asymmetry = load("weinberg", sqrt_s=sqrt_s).asymmetry(row(0.2312)).item()
        assert asymmetry == pytest.approx(expected, abs=6e-4)
    assert load("weinberg").cross_section(row(0.2312)).item() == pytest.approx(2.01, abs=0.01)


def test_forward_events_minus_backward_events_measure_the_asymmetry():
    weinberg, n = load("weinberg", sqrt_s=82.0), 1_000_000
    x = weinberg.sample(torch.full((n, 1), 0.2312), generator(2))
    expected = weinberg.asymmetry(row(0.2312)).item()
    measured = (x > 0).double().mean().item() * 2 - 1
    assert abs(measured - expected) < 4.9 * np.sqrt((1 - expected**2) / n)


def test_a_flipped_sign_of_the_asymmetry_is_rejected():
    weinberg = load("weinberg", sqrt_s=82.0)
    x = -weinberg.sample(torch.full((20_000, 1), 0.2312), generator(0))[:, 0].numpy()
    statistic = chi2_against(lambda c: weinberg.log_prob(row(c), row(0.2312)).exp().item(), x)
    assert statistic > chi2.isf(ALPHA, 19)


def test_polarised_amplitudes_average_to_the_unpolarised_ones():
    theta = row(0.22, 0.24)
    mean = sum(
        load("weinberg", electron_polarisation=e, positron_polarisation=p).cross_section(theta)
        for e, p in [(1, -1), (-1, 1)]
    )
    unpolarised = load("weinberg").cross_section(theta)
    torch.testing.assert_close(mean / 4, unpolarised)  # the other two pairs do not annihilate


def test_momenta_are_massless_balanced_and_at_the_right_angle():
    weinberg = load("weinberg", sqrt_s=90.0)
    x = weinberg.sample(row(*[0.23] * 100), generator(3))
    pair = weinberg.momenta(x, generator(4))
    assert pair.shape == (100, 2, 4)
    torch.testing.assert_close(pair[..., 0] ** 2, pair[..., 1:].square().sum(-1))
    torch.testing.assert_close(pair.sum(1)[:, 0], torch.full((100,), 90.0, dtype=torch.float64))
    torch.testing.assert_close(pair.sum(1)[:, 1:], torch.zeros(100, 3, dtype=torch.float64))
    torch.testing.assert_close(pair[:, 0, 3] / pair[:, 0, 0], x[:, 0])


ROWS = {
    "sqrt_s": torch.tensor([82.0, 91.0, 94.0]),
    "electron_polarisation": torch.tensor([-0.8, 0.0, 0.5]),
}


def test_rows_with_settings_of_their_own_are_as_one_by_one():
    weinberg, theta, c = load("weinberg", **ROWS), row(0.21, 0.23, 0.25), row(-0.5, 0.1, 0.9)
    momenta = weinberg.momenta(c, generator(0))
    for k in range(3):
        alone = load("weinberg", **{name: value[k].item() for name, value in ROWS.items()})
        for name in ("asymmetry", "cross_section"):
            value = getattr(weinberg, name)(theta)[k : k + 1]
            torch.testing.assert_close(value, getattr(alone, name)(theta[k : k + 1]))
        log_prob = alone.log_prob(c[k : k + 1], theta[k : k + 1])
        torch.testing.assert_close(weinberg.log_prob(c, theta)[k : k + 1], log_prob)
        torch.testing.assert_close(momenta[k], alone.momenta(c, generator(0))[k])


def mean_in_bins(x, value, bins=20):
    """Return the mean of value in bins of x and its standard error."""
    k = ((x[:, 0] + 1) / 2 * bins).long().clamp(max=bins - 1)
    count = k.bincount(minlength=bins)
    mean = k.bincount(value, minlength=bins) / count
    return mean, (k.bincount((value - mean[k]) ** 2, minlength=bins) / count / count).sqrt()


def gold_of_100_000():
    weinberg = load("weinberg", sqrt_s=82.0, electron_polarisation=-0.8)
    theta = torch.full((100_000, 1), 0.23, dtype=torch.float64)
    return weinberg, theta, weinberg.mine_swapped(theta, generator(1))


def test_gold_against_swapped_charges_averages_to_score_and_ratio():
    """Over events at one angle E[t(x, z)] = t(x), over all E[1 / r(x, z)] = 1 and E[t] = 0.

    Of 20 bins the largest pull exceeds 5.5 in 8e-7 of all runs.
    """
    weinberg, theta, gold = gold_of_100_000()
    theta.requires_grad_()
    score = torch.autograd.grad(weinberg.log_prob(gold.x, theta).sum(), theta)[0][:, 0]
    gap, error = mean_in_bins(gold.x, gold.joint_score[:, 0] - score)
    assert (gap / error).abs().max() < 5.5
    for mean_zero in (gold.joint_score[:, 0], (-gold.joint_log_ratio).exp() - 1):
        assert abs(mean_zero.mean() / mean_zero.std()) * 100_000**0.5 < 4.9
    assert torch.equal(gold.x, weinberg.sample(theta.detach(), generator(1)))


def test_gold_that_takes_the_sign_of_the_angle_for_the_latent_choice_is_seen():
    weinberg, theta, gold = gold_of_100_000()
    theta.requires_grad_()
    score = torch.autograd.grad(weinberg.log_prob(gold.x, theta).sum(), theta)[0][:, 0]
    both = gold.joint_score[:, 0].unique()  # one value for each latent choice
    wrong = torch.where(gold.x[:, 0] > 0, both.min(), both.max())
    gap, error = mean_in_bins(gold.x, wrong - score)
    assert (gap / error).abs().max() > 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sqrt_s": torch.tensor([90.0, -1.0])}, "sqrt_s: expected numbers > 0, in GeV, got -1"),
        ({"sqrt_s": torch.tensor([90.0, torch.nan])}, "sqrt_s: expected finite numbers"),
        ({"sqrt_s": torch.tensor([[90.0]])}, r"sqrt_s: expected shape \(N,\), got \(1, 1\)"),
        ({"sqrt_s": float("inf")}, "sqrt_s: expected a number > 0"),
        ({"sqrt_s": 0.0}, "sqrt_s: expected a number > 0"),
        ({"electron_polarisation": 1.1}, r"electron_polarisation: expected a number in \[-1, 1\]"),
        ({"positron_polarisation": "up"}, "positron_polarisation: expected"),
        ({"electron_polarisation": 1, "positron_polarisation": 1}, "beams that annihilate"),
    ],
)
def test_impossible_beams_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        load("weinberg", **settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_information_is_the_integral_of_the_squared_score(settings):
    weinberg = load("weinberg", **settings)

    def integrand(c):
        theta = row(0.2312).requires_grad_()
        log_prob = weinberg.log_prob(row(c), theta)
        score = torch.autograd.grad(log_prob.sum(), theta)[0]
        return (score**2).item() * log_prob.exp().item()

    information = weinberg.information(row(0.2312)).item()
    assert information == pytest.approx(quad(integrand, -1, 1)[0], rel=1e-8)


def test_as_many_rows_as_settings_are_demanded():
    with pytest.raises(ValueError, match="settings and theta: expected equally many rows"):
        load("weinberg", **ROWS).sample(row(0.23))


def test_impossible_theta_and_shapes_are_refused():
    weinberg = load("weinberg", sqrt_s=Z_MASS)
    with pytest.raises(ValueError, match="theta: expected 0 < sin"):
        weinberg.sample(row(0.0))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 1\), got \(3,\)"):
        weinberg.log_prob(torch.zeros(3), row(0.2, 0.2, 0.2))
    with pytest.raises(ValueError, match="x and theta: expected equally many rows"):
        weinberg.log_prob(row(0.1, 0.2), row(0.2, 0.2, 0.2))
