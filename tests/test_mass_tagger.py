"""The resonance and its features: laws of the mass, scipy's integrals, decorrelation at a mass.

Each random gate fails by chance with a probability of at most 1e-6, for any seed.
"""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import ks_2samp, kstest, norm, truncexpon

from lfi_helpers.run import generator
from lfi_helpers.simulators import load

ALARM = 1e-6
N = 40_000
SIMULATOR = load("mass_tagger")
FALLING = truncexpon(b=250 / 60, loc=50, scale=60)


def share(f, n=N):
    return torch.full((n, 1), float(f), device="cpu")


def features_given(m, y):
    """Return scipy's laws of the four features, in the docstring's letters."""
    u = np.log(m / 125)
    means = (u / 0.35, -1.2 * y + 0.8 * u, 0.9 * y + 0.6 - 0.6 * u, 0.7 * y)
    return [norm(mean, sd) for mean, sd in zip(means, (0.6, 1, 0.8 if y else 1, 1), strict=True)]


@pytest.mark.parametrize("kind", [0, 1])
def test_mass_and_features_have_their_laws(kind):
    x, y = (part.double().numpy() for part in SIMULATOR.labelled(share(kind), generator(kind)))
    assert (y == kind).all()
    law, other = (FALLING, norm(125, 10)) if kind == 0 else (norm(125, 10), FALLING)
    assert kstest(x[:, 0], law.cdf).pvalue > ALARM
    assert kstest(x[:, 0], other.cdf).pvalue < ALARM
    laws = features_given(x[:, 0], kind)
    z = np.stack([(x[:, k + 1] - law.mean()) / law.std() for k, law in enumerate(laws)])
    assert min(kstest(row, norm.cdf).pvalue for row in z) > ALARM / 4
    correlation = np.corrcoef(z)[np.triu_indices(4, 1)] * N**0.5
    assert abs(correlation).max() < norm.isf(ALARM / 12)


def test_the_share_of_signal_is_the_fraction():
    y = SIMULATOR.labelled(share(0.3), generator(2))[1]
    assert abs(y.mean() - 0.3) < norm.isf(ALARM / 2) * (0.21 / N) ** 0.5


def test_density_is_that_of_scipy():
    x = SIMULATOR.sample(share(0.5, 100), generator(3)).double()
    m = x[:, 0].numpy()
    parts = []
    for y, law in ((0, FALLING), (1, norm(125, 10))):
        laws = features_given(m, y)
        features = np.prod([one.pdf(x[:, k + 1]) for k, one in enumerate(laws)], 0)
        parts.append(features * law.pdf(m))
    for f in (0.0, 0.4, 1.0):
        found = SIMULATOR.log_prob(x, share(f, 100).double())
        with np.errstate(divide="ignore"):
            expected = np.log((1 - f) * parts[0] + f * parts[1])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_ratio_at_a_mass_is_the_density_ratio_without_the_spectra():
    x = SIMULATOR.sample(share(0.0, 100), generator(4)).double()
    s, b = (SIMULATOR.log_prob(x, share(f, 100).double()).numpy() for f in (1, 0))
    spectra = norm(125, 10).logpdf(x[:, 0]) - FALLING.logpdf(x[:, 0])
    np.testing.assert_allclose(
        SIMULATOR.log_ratio_at_mass(x), s - b - spectra, rtol=1e-6, atol=1e-6
    )


def test_ratio_without_mass_is_the_integral():
    x = SIMULATOR.sample(share(0.5, 6), generator(5)).double()[:, 1:]
    for row, found in zip(x.numpy(), SIMULATOR.log_ratio_without_mass(x), strict=True):

        def joint(m, y, law, row=row):
            laws = features_given(m, y)
            return law.pdf(m) * np.prod([one.pdf(v) for one, v in zip(laws, row, strict=True)])

        s = quad(joint, 60, 190, args=(1, norm(125, 10)), points=[125], epsabs=1e-14)[0]
        b = quad(joint, 50, 300, args=(0, FALLING), points=[100, 200], epsabs=1e-14)[0]
        assert abs(np.log(s / b) - found) < 1e-6


def test_ratio_at_a_mass_has_one_law_for_background_of_every_mass():
    x = SIMULATOR.sample(share(0.0), generator(6))
    low, high = x[:, 0] < 75, x[:, 0] > 110
    for score, one_law in (
        (SIMULATOR.log_ratio_at_mass(x), True),
        (SIMULATOR.log_ratio_without_mass(x[:, 1:]), False),
    ):
        assert (ks_2samp(score[low], score[high]).pvalue > ALARM) == one_law


def test_the_default_device_is_not_used(same_when_poisoned):
    def everything():
        x, y = SIMULATOR.labelled(share(0.5, 20), generator(7))
        ratios = SIMULATOR.log_ratio_at_mass(x), SIMULATOR.log_ratio_without_mass(x[:, 1:])
        return x, y, *ratios, SIMULATOR.log_prob(x, share(0.5, 20))

    same_when_poisoned(everything)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="theta: expected a share 0 <= f <= 1"):
        SIMULATOR.sample(share(1.1, 3))
    with pytest.raises(ValueError, match="x: expected masses > 0 GeV"):
        SIMULATOR.log_ratio_at_mass(torch.zeros(3, 5, device="cpu"))
    with pytest.raises(ValueError, match=r"features: expected shape \(N, 4\)"):
        SIMULATOR.log_ratio_without_mass(torch.zeros(3, 5, device="cpu"))
