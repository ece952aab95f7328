"""H -> ZZ* -> 4 leptons: conservation laws, line shapes, isotropy, the detector's moments."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import cauchy, chi2, expon, ks_2samp, kstest, norm, uniform

from lfi_helpers.run import generator
from lfi_helpers.simulators import h4l as module
from lfi_helpers.simulators import kinematics as kin
from lfi_helpers.simulators import load
from lfi_helpers.simulators.h4l import FEATURES, Z_MASS, Z_WIDTH, EventsLost, features

ALPHA = 1e-6  # false-alarm probability of each statistical gate below
SIGMAS = norm.isf(ALPHA / 2)
N = 40_000


def theta(n=N, higgs=125.0, scale=1.0):
    return torch.tensor([[higgs, scale]], dtype=torch.float64).repeat(n, 1)


@pytest.fixture(scope="module")
def record():
    return load("h4l").record(theta(), generator(0))


def closure(record, higgs=125.0):
    """Return the largest difference, in GeV, of sums of leptons from what was drawn."""
    motion = kin.lab_momentum(torch.full_like(record.motion[:, 0], higgs), *record.motion.T)
    pairs = torch.stack([record.leptons[:, :2].sum(1), record.leptons[:, 2:].sum(1)], 1)
    toward = kin.to_rest(pairs[:, 0], motion)[:, 1:]
    drawn = kin.direction(*record.angles[:, 0].T) * toward.norm(dim=1, keepdim=True)
    gaps = [
        kin.mass(record.leptons.sum(1)) - higgs,
        record.leptons.sum(1) - motion,
        kin.mass(pairs) - record.masses,
        kin.dot(record.leptons, record.leptons) / record.leptons[..., 0],
        toward - drawn,
    ]
    return max(gap.abs().max().item() for gap in gaps)


@pytest.mark.parametrize("higgs", [115.0, 125.0, 135.0, 200.0, 300.0])
def test_energy_and_momentum_are_conserved(higgs):
    made = load("h4l").record(theta(2000, higgs), generator(1))
    assert closure(made, higgs) < 1e-9
    assert (made.masses.sum(1) < higgs).all() and (made.masses > 0).all()


def galilean(p, frame):
    """Shift momenta by the frame's velocity, as if energies did not mix with them."""
    shift = frame[..., 1:] / frame[..., :1] * p[..., :1]
    return torch.cat([p[..., :1].expand(*shift.shape[:-1], 1), p[..., 1:] + shift], -1)


@pytest.mark.parametrize("wrong", [galilean, kin.to_rest])
def test_a_wrong_boost_breaks_the_closure(monkeypatch, wrong):
    """The reversed boost leaves every mass right: only the motion gives it away."""
    monkeypatch.setattr(module, "boost", wrong)
    made = load("h4l").record(theta(2000), generator(1))
    assert closure(made) > 1
    if wrong is kin.to_rest:
        assert (kin.mass(made.leptons.sum(1)) - 125).abs().max() < 1e-9


def line_shape(m, higgs=125.0):
    """Return the exact distribution function of m_1: m_1^2 is Cauchy between 0 and m_H^2."""
    law = cauchy(Z_MASS**2, Z_MASS * Z_WIDTH)
    low, high = law.cdf([0.0, higgs**2])
    return (law.cdf(np.asarray(m) ** 2) - low) / (high - low)


def second_given_first(masses, higgs=125.0, power=3):
    """Return F(m_2 | m_1) by a fine grid in m_2: uniform if the sampler is right."""
    grid = np.linspace(0, 1, 3001)
    u = []
    for first, second in masses:
        m = grid * (higgs - first)
        k = np.sqrt((higgs**2 - (first + m) ** 2) * (higgs**2 - (first - m) ** 2))
        density = k * m**power / ((m**2 - Z_MASS**2) ** 2 + (Z_MASS * Z_WIDTH) ** 2)
        steps = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        u.append(np.interp(second, m, steps / steps[-1]))
    return u


def test_the_first_mass_has_the_line_shape(record):
    first = record.masses[:, 0].numpy()
    assert kstest(first, line_shape).pvalue > ALPHA
    half = cauchy(Z_MASS, Z_WIDTH / 4)  # the full width, taken for twice the full width
    low, high = half.cdf([0.0, 125.0])
    wrong = kstest(first, lambda m: (half.cdf(m) - low) / (high - low))
    assert wrong.pvalue < ALPHA


@pytest.mark.parametrize("higgs", [125.0, 200.0])
def test_the_second_mass_has_its_conditional_density(higgs):
    masses = load("h4l").record(theta(4000, higgs), generator(2)).masses.numpy()
    assert kstest(second_given_first(masses, higgs), uniform.cdf).pvalue > ALPHA
    assert kstest(second_given_first(masses, higgs, power=1), uniform.cdf).pvalue < ALPHA


@pytest.mark.parametrize("higgs", [118.0, 125.0, 190.0])
@pytest.mark.parametrize("first", [40.0, 88.0, 91.2, 110.0])
def test_the_density_of_the_masses_integrates_to_the_line_shape(higgs, first):
    def density(second):
        masses = torch.tensor([[first, second]], dtype=torch.float64)
        return load("h4l").log_prob_masses(masses, torch.tensor([higgs])).exp().item()

    peak = [Z_MASS] if higgs - first > Z_MASS else None
    integral = quad(density, 0, higgs - first, points=peak, epsrel=1e-6)[0]
    law = cauchy(Z_MASS**2, Z_MASS * Z_WIDTH)
    expected = 2 * first * law.pdf(first**2) / (law.cdf(higgs**2) - law.cdf(0))
    assert integral == pytest.approx(expected, rel=1e-4)


def test_outside_phase_space_the_density_vanishes():
    masses = torch.tensor([[91.0, 34.5], [-1.0, 20.0], [91.0, 20.0]])
    log_prob = load("h4l").log_prob_masses(masses, torch.full((3,), 125.0))
    assert log_prob.isinf().tolist() == [True, True, False]


def test_decays_are_isotropic_and_the_motion_as_drawn(record):
    x = dict(zip(FEATURES, features(record.leptons).T.numpy(), strict=True))
    for name in ("cos_star", "cos_1", "cos_2"):
        assert kstest(x[name], uniform(-1, 2).cdf).pvalue > ALPHA
    assert kstest(x["phi"], uniform(-np.pi, 2 * np.pi).cdf).pvalue > ALPHA
    assert kstest(x["pt"], expon(scale=15).cdf).pvalue > ALPHA
    assert kstest(x["rapidity"], uniform(-1.5, 3).cdf).pvalue > ALPHA
    np.testing.assert_allclose(x["cos_star"], record.angles[:, 0, 0], atol=1e-9)
    np.testing.assert_allclose(x["rapidity"], record.motion[:, 2], atol=1e-9)
    # an angle drawn uniformly is not isotropic: its cosine piles up at the ends
    assert kstest(np.cos(np.pi * (x["cos_1"] + 1) / 2), uniform(-1, 2).cdf).pvalue < ALPHA


def test_the_noise_is_normal_and_only_scales_momenta(record):
    response = record.measured / record.leptons
    torch.testing.assert_close(response, response[..., :1].expand_as(response))
    z = (response[..., 0] - 1).flatten() / 0.02
    torch.testing.assert_close(z, record.noise.flatten())
    assert kstest(z.numpy(), norm.cdf).pvalue > ALPHA
    low, high = chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], len(z))
    assert low < (z**2).sum() < high


def squared_mass_moments(record, resolution=0.02):
    """Return m_4l^2 / m_H^2 standardised with its exact mean and variance, event by event.

    m_4l^2 = sum_{i<j} s_ij r_i r_j with independent r_i of mean 1 and variance e^2. Hence the
    mean is m_H^2, and the variance sum_i e^2 (sum_j s_ij)^2 + sum_{i<j} e^4 s_ij^2.
    """
    p = record.leptons
    s = 2 * kin.dot(p[:, :, None], p[:, None]) / 125**2
    s = s * (1 - torch.eye(4, dtype=s.dtype))
    e2 = resolution**2
    variance = e2 * s.sum(2).square().sum(1) + e2**2 * s.square().sum((1, 2)) / 2
    square = kin.mass(record.measured.sum(1)) ** 2 / 125**2
    return (square - 1) / variance.sqrt()


def test_the_squared_mass_has_its_exact_moments(record):
    pull = squared_mass_moments(record)
    assert abs(pull.mean()) * N**0.5 < SIGMAS
    error = (pull**4).mean().sub(1).div(N).sqrt()
    assert abs((pull**2).mean() - 1) < SIGMAS * error


@pytest.mark.parametrize("fault", ["one noise for all four", "quadratic bias", "energy only"])
def test_a_wrong_smearing_is_rejected(record, fault):
    noise = record.noise.clone()
    if fault == "one noise for all four":
        noise[:, 1:] = noise[:, :1]
    elif fault == "quadratic bias":
        noise += 0.05 * noise**2
    measured = (1 + 0.02 * noise)[..., None] * record.leptons
    if fault == "energy only":
        measured[..., 1:] = record.leptons[..., 1:]
    pull = squared_mass_moments(record._replace(measured=measured))
    far = abs(pull.mean()) * N**0.5 > SIGMAS
    error = (pull**4).mean().sub(1).div(N).sqrt()
    assert far or abs((pull**2).mean() - 1) > SIGMAS * error


def test_the_scale_scales_every_measured_mass(record):
    moved = load("h4l").record(theta(scale=1.005), generator(0))
    mass = kin.mass(record.measured.sum(1))
    torch.testing.assert_close(kin.mass(moved.measured.sum(1)), 1.005 * mass)
    torch.testing.assert_close(moved.leptons, record.leptons)


def test_only_accepted_events_are_sampled(record):
    x = load("h4l").sample(theta(), generator(3)).numpy()
    p = record.measured.numpy()
    pt = np.hypot(p[..., 1], p[..., 2])
    polar = np.arctan2(pt, p[..., 3])
    seen = ((pt > 5) & (abs(-np.log(np.tan(polar / 2))) < 2.5)).all(1)
    np.testing.assert_array_equal(record.accepted, seen)
    every = features(record.measured).numpy()
    for k in range(len(FEATURES)):
        assert ks_2samp(x[:, k], every[seen, k]).pvalue > ALPHA
    assert ks_2samp(x[:, 2], every[:, 2]).pvalue < ALPHA  # the cut on pT prefers heavy pairs


def test_features_under_symmetries(record):
    p = record.measured[:500]
    x = features(p)
    exchanged = features(p[:, [1, 0, 2, 3]])
    sign = torch.tensor([1.0, 1, 1, 1, -1, 1, 1, 1, 1], dtype=p.dtype)
    turned = torch.remainder(x[:, 6], 2 * torch.pi) - torch.pi
    expected = x * sign
    expected[:, 6] = turned
    torch.testing.assert_close(exchanged, expected)
    along = kin.lab_momentum(*torch.tensor([1.0, 0.0, 0.0, 0.7], dtype=p.dtype))
    shift = torch.tensor([0.0] * 8 + [0.7], dtype=p.dtype)
    lengthwise = features(kin.boost(p, along))
    keep = [0, 1, 2, 7, 8]
    torch.testing.assert_close(lengthwise[:, keep], (x + shift)[:, keep])


def test_boost_and_its_inverse_keep_every_product():
    g = generator(4)
    p, q, frame = torch.randn(3, 100, 4, generator=g, dtype=torch.float64)
    frame[:, 0] = frame[:, 1:].norm(dim=1) + 0.5
    torch.testing.assert_close(kin.to_rest(kin.boost(p, frame), frame), p)
    torch.testing.assert_close(kin.dot(kin.boost(p, frame), kin.boost(q, frame)), kin.dot(p, q))
    at_rest = torch.cat([kin.mass(frame)[:, None], torch.zeros(100, 3, dtype=p.dtype)], 1)
    torch.testing.assert_close(kin.to_rest(frame, frame), at_rest)


def test_same_seed_same_events_whatever_the_default_device(same_when_poisoned):
    h4l = load("h4l")
    first, again, other = (h4l.sample(theta(500), generator(s)) for s in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    rows = theta(200)
    masses = h4l.record(rows, generator(5)).masses
    same_when_poisoned(lambda: tuple(h4l.record(rows, generator(5))))
    same_when_poisoned(lambda: h4l.log_prob_masses(masses, rows[:, 0]))
    rounded = h4l.sample(theta(500).float(), generator(5))
    torch.testing.assert_close(rounded, first.float(), rtol=0, atol=0)


def test_impossible_events_and_arguments_are_refused(monkeypatch):
    h4l = load("h4l")
    with pytest.raises(ValueError, match=r"theta: expected shape \(N, 2\), got \(3,\)"):
        h4l.record(torch.ones(3))
    with pytest.raises(ValueError, match="theta: expected m_H > 0 and scale > 0"):
        h4l.sample(torch.tensor([[125.0, -1.0]]))
    with pytest.raises(ValueError, match="masses and higgs_mass: expected equally many rows"):
        h4l.log_prob_masses(torch.ones(2, 2), torch.ones(3))
    with pytest.raises(ValueError, match="resolution: expected a number > 0"):
        load("h4l", resolution=0)
    monkeypatch.setattr(module, "MAX_ROUNDS", 30)
    with pytest.raises(EventsLost, match="got 3 of 3 events refused in each of 30 rounds"):
        h4l.sample(theta(3, higgs=0.5, scale=0.01), generator(0))
