"""Profiles of a nuisance: a Gaussian likelihood, where everything is a matrix inverse."""

import pytest
import torch

from lfi_helpers.likelihoods import extended_log_likelihood, profile


def gaussian():
    """Return -x H x / 2 around (1, 0.3) on nodes, the nodes, and the profiled variance of mu."""
    precision = torch.tensor([[40.0, 25.0], [25.0, 30.0]], dtype=torch.float64)
    mu = torch.linspace(0, 2, 31, dtype=torch.float64)
    nu = torch.linspace(-2, 2, 33, dtype=torch.float64)
    x = torch.stack(torch.meshgrid(mu - 1, nu - 0.3, indexing="ij"), -1)
    log_l = -(x @ precision * x).sum(-1) / 2
    return log_l[None], mu, nu, precision


def test_profile_of_a_gaussian_is_the_parabola_of_the_inverse():
    log_l, mu, nu, precision = gaussian()
    curve = profile(log_l, mu, nu, mu)[0]
    exact = (mu - 1) ** 2 / precision.inverse()[0, 0]
    assert (curve - exact)[exact < 9].abs().max() < 0.02
    held = profile(log_l[:, :, 18:19], mu, nu[18:19], mu)[0]  # a nuisance that is not profiled
    assert (held - exact)[exact < 9].abs().max() > 3


def test_extended_likelihood_of_events_is_that_of_bins():
    log_ratio = torch.tensor([[[0.3], [1.0], [-2.0], [1.0], [torch.nan]]])
    mu = torch.tensor([0.5, 2.0])
    events = extended_log_likelihood(log_ratio, mu, 10, 50)
    exact = [[(1 + m / 5 * torch.tensor([0.3, 1, -2, 1]).exp()).log().sum() - 10 * m] for m in mu]
    torch.testing.assert_close(events[0], torch.tensor(exact).double(), rtol=1e-6, atol=0)
    bins, count = torch.tensor([[0.3], [1.0], [-2.0]]), torch.tensor([[1, 2, 1]])
    binned = extended_log_likelihood(bins, mu, 10, 50, weight=count)
    torch.testing.assert_close(binned, events, rtol=1e-6, atol=0)


def test_nodes_of_another_table_are_named():
    log_l, mu, nu, _ = gaussian()
    with pytest.raises(ValueError, match="strength and log_l"):
        profile(log_l, mu[1:], nu, mu)
    with pytest.raises(ValueError, match="nuisance and log_l"):
        profile(log_l, mu, nu[1:], mu)
