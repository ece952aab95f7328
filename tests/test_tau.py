"""The tau: closed forms, quadrature against runs, a program of the same law, its addresses."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.inference.compilation import compile_program
from lfi_helpers.inference.programs import weighted
from lfi_helpers.inference.tracing import Recorder
from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.tau import (
    A1,
    EDGES,
    ELECTROMAGNETIC,
    HADRONIC,
    NOISE,
    PER_GEV,
    PROBABILITIES,
    RHO,
    TRACK,
    decay,
    program,
    shower,
)

ALARM = 1e-6  # probability that one statistical test fails although all is right
NOTHING = {"readout": [0.0] * 5}


@pytest.fixture(scope="module")
def tau():
    return load("tau")


@pytest.fixture(scope="module")
def traces():
    recorder = Recorder(program, NOTHING, 1)
    return [recorder.run(simulate=True) for _ in range(1500)]


def lepton_cdf(x):
    return (5 * x - 3 * x**3 + x**4) / 3


VISIBLE = [
    lepton_cdf,
    lepton_cdf,
    stats.uniform(0, 1).cdf,
    stats.uniform(RHO, 1 - RHO).cdf,
    stats.uniform(A1, 1 - A1).cdf,
]


def test_the_prior_against_its_densities(tau):
    theta = draw(tau.prior, 20_000, generator(1)).double().numpy()
    channel = theta[:, 0].astype(int)
    expected = 20_000 * np.array(PROBABILITIES)
    assert stats.chisquare(np.bincount(channel, minlength=5), expected).pvalue > ALARM
    assert stats.kstest(theta[:, 1], stats.uniform(20, 40).cdf).pvalue > ALARM
    for c, cdf in enumerate(VISIBLE):
        assert stats.kstest(theta[channel == c, 2], cdf).pvalue > ALARM
    assert (theta[channel < 3, 3] == 1).all()
    assert stats.kstest(theta[channel == 3, 3], stats.uniform().cdf).pvalue > ALARM
    assert stats.kstest(theta[channel == 4, 3], stats.beta(1, 2).cdf).pvalue > ALARM


def test_the_density_of_the_prior_is_normalised(tau):
    """A midpoint sum over both shares at one energy; the energy is uniform."""
    u = (torch.arange(400).double() + 0.5) / 400
    x, z = (part.flatten() for part in torch.meshgrid(u, u, indexing="ij"))
    for c, p in enumerate(PROBABILITIES):
        share = torch.ones_like(z) if c < 3 else z
        theta = torch.stack([torch.full_like(x, c), torch.full_like(x, 33.0), x, share], 1)
        total = float(tau.prior.log_prob(theta).exp().mean()) * 40
        assert total == pytest.approx(p, rel=1e-5)
    outside = torch.tensor(
        [[5, 30, 0.5, 1], [0.5, 30, 0.5, 1], [0, 70, 0.5, 1], [0, 30, 0.5, 0.2]]
    )
    assert (tau.prior.log_prob(outside) == -math.inf).all()


def slow_means(channel, energy, x, z):
    """Return the charged energy and the mean quanta of the layers, from scipy's beta laws."""
    em, had = (
        np.diff(stats.beta(a + 1, b + 1).cdf(EDGES)) for a, b in (ELECTROMAGNETIC, HADRONIC)
    )
    charged, neutral = energy * x * z, energy * x * (1 - z)
    if channel == 1:
        return charged, 3.0 * np.diff(EDGES)
    return charged, PER_GEV * (charged * (em if channel == 0 else had) + neutral * em)


def test_the_density_against_scipy(tau):
    theta = draw(tau.prior, 12, generator(2)).double()
    y = tau.sample(theta, generator(3))
    n = np.arange(200)
    for row, seen, got in zip(
        theta.numpy(), y.numpy(), tau.log_prob(y, theta).tolist(), strict=True
    ):
        charged, means = slow_means(int(row[0]), *row[1:])
        slow = stats.norm(charged, TRACK).logpdf(seen[0])
        for mean, value in zip(means, seen[1:], strict=True):
            slow += np.log((stats.poisson(mean).pmf(n) * stats.norm(n, NOISE).pdf(value)).sum())
        assert got == pytest.approx(slow, abs=1e-8)


def test_samples_have_the_mean_and_the_width_of_the_layers(tau):
    theta = torch.tensor([[4.0, 50.0, 0.9, 0.4]]).double().expand(40_000, -1)
    y = tau.sample(theta, generator(4)).numpy()
    charged, means = slow_means(4, 50.0, 0.9, 0.4)
    center = np.array([charged, *means])
    variance = np.array([TRACK**2, *(means + NOISE**2)])
    assert (np.abs(y.mean(0) - center) < 4.9 * np.sqrt(variance / 40_000)).all()
    assert (np.abs(y.var(0) / variance - 1) < 4.9 * math.sqrt(2.2 / 40_000)).all()
    off_diagonal = np.corrcoef(y.T)[~np.eye(5, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5.5 / math.sqrt(40_000)  # thinning: independent layers


def test_the_quadrature_against_runs_and_against_a_finer_one(tau):
    theta = draw(tau.prior, 2, generator(5))
    y = tau.sample(theta, generator(6))
    joint = tau.log_joint(y)
    evidence = joint.flatten(1).logsumexp(1)
    finer = tau.log_joint(y, 160).flatten(1).logsumexp(1)
    assert (evidence - finer).abs().max() < 5e-4
    prior = draw(tau.prior, 20_000, generator(7))
    for k in range(2):
        w = tau.log_prob(y[k : k + 1].expand(20_000, -1), prior).double().exp()
        channel = (prior[:, 0, None] == torch.arange(5)).double()
        middle = tau.energies()
        exact = torch.cat([joint[k].exp().sum(1), (joint[k].exp().sum(0) @ middle)[None]])
        runs = w[:, None] * torch.cat([channel, prior[:, 1:2].double()], 1)
        error = runs.std(0) / math.sqrt(20_000)
        assert ((runs.mean(0) - exact).abs() < 4.9 * error + 1e-3 * exact + 1e-12).all()


# --- the program


def test_the_program_has_the_law_of_the_simulator(tau, traces):
    results = np.array([t.result for t in traces])
    seen = np.array([[d.value for d in t.observed.values()] for t in traces])
    expected = len(traces) * np.array(PROBABILITIES)
    assert stats.chisquare(np.bincount(results[:, 0].astype(int)), expected).pvalue > ALARM
    assert stats.kstest(results[:, 1], stats.uniform(20, 40).cdf).pvalue > ALARM
    theta = draw(tau.prior, 20_000, generator(8))
    y = tau.sample(theta, generator(9)).numpy()
    for channel in range(5):
        mine, theirs = seen[results[:, 0] == channel], y[theta[:, 0].numpy() == channel]
        for layer in range(5):
            assert stats.ks_2samp(mine[:, layer], theirs[:, layer]).pvalue > ALARM
        assert stats.ks_2samp(mine.sum(1), theirs.sum(1)).pvalue > ALARM


def test_rejection_gives_the_profile_of_a_shower():
    layers, rng = np.zeros(4), np.random.default_rng(1)
    shower(rng, 4000.0, HADRONIC, layers)
    share = np.diff(stats.beta(3, 2).cdf(EDGES))
    assert stats.chisquare(layers, layers.sum() * share).pvalue > ALARM
    shares = [decay(rng)[2:] for _ in range(300)]
    assert all(charged >= 0 and neutral >= 0 for charged, neutral in shares)


def test_few_of_many_choices_are_of_interest(traces):
    count = np.array([[len(t.draws), sum("decay@" in a for a in t.draws)] for t in traces])
    assert set(count[:, 1]) == {3, 4}
    assert count[:, 0].mean() > 10 * count[:, 1].mean()
    assert count[:, 0].max() > 3 * count[:, 0].mean()  # without bound


# --- addresses of interest


def noisy(rng):
    """A coin that is seen, among numbers that nobody sees."""
    coin = hidden(rng)
    while rng.random() < 0.7:
        rng.normal()
    meter(rng, 2.0 * coin)
    return coin


def hidden(rng):
    return int(rng.choice(2, p=[0.9, 0.1]))


def meter(rng, mean):
    rng.normal(mean, 1.0)


def test_other_addresses_come_from_the_program_and_cancel():
    """Exact by hand: two outcomes. Counted without their proposals they ruin the evidence."""
    compiled = compile_program(
        noisy, {"meter": 2.0}, n_traces=2000, n_steps=15, only="hidden@", progress=False
    )
    assert len(compiled.places) == 1
    found = compiled.traces({"meter": 2.0}, 2000, seed=1)
    rest = [d for t in found for a, d in t.draws.items() if "hidden@" not in a]
    assert len(rest) > 4000 and all(d.log_prob == d.log_proposal for d in rest)
    assert any(d.log_prob != d.log_proposal for t in found for d in t.draws.values())
    exact = math.log(0.9 * math.exp(-2) + 0.1) - 0.5 * math.log(2 * math.pi)
    right = weighted(found)
    assert abs(right.log_evidence - exact) < 4.9 * right.log_evidence_error
    for sign in (1, -1):  # p without q, and p divided out once more
        wrong = torch.tensor(
            [
                t.log_weight
                + sign * sum(d.log_prob for a, d in t.draws.items() if "hidden" not in a)
                for t in found
            ]
        )
        assert abs(torch.logsumexp(wrong, 0) - math.log(2000) - exact) > 0.3


def test_an_address_that_the_program_does_not_have():
    with pytest.raises(ValueError, match="only: expected part of an address.*got 'shadow@'"):
        compile_program(noisy, {"meter": 2.0}, n_traces=20, n_steps=1, only="shadow@")
