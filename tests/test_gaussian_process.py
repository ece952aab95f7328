"""The Gaussian process against scikit-learn's, against closed forms and finite differences."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from lfi_helpers.decisions import GaussianProcess
from lfi_helpers.decisions import gaussian_process as module


def data(n=25, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, d))
    return x, 3 + 40 * (np.sin(5 * x[:, 0]) + x[:, -1] ** 2) + rng.normal(0, 2, n)


def scales(d, seed=1):
    return np.random.default_rng(seed).uniform(0.2, 2, d)


def theirs(x, y, length_scale, noise):
    kernel = Matern(length_scale, nu=2.5) + WhiteKernel(noise)
    target = (y - y.mean()) / y.std()
    return GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(x, target)


@pytest.mark.parametrize("d", [1, 2, 6])
@pytest.mark.parametrize("noise", [1e-4, 0.1])
def test_predictions_and_evidence_are_those_of_scikit_learn(d, noise):
    x, y = data(d=d)
    ours, other = GaussianProcess(x, y, scales(d), noise), theirs(x, y, scales(d), noise)
    new = np.random.default_rng(2).random((50, d)) * 2 - 0.5
    mean, sd = ours.predict(new)
    wanted, wanted_sd = other.predict(new, return_std=True)
    np.testing.assert_allclose(mean, wanted * y.std() + y.mean(), rtol=1e-8)
    latent = np.sqrt(wanted_sd**2 - noise)  # theirs adds the noise of a new measurement
    np.testing.assert_allclose(sd / y.std(), latent, rtol=1e-8, atol=1e-8)
    evidence = other.log_marginal_likelihood_value_
    assert ours.log_marginal_likelihood() == pytest.approx(evidence, rel=1e-8)


def test_one_point_is_the_closed_form():
    """With y in units of one: mean k / (1 + noise) of it, variance 1 - k^2 / (1 + noise)."""
    process = GaussianProcess([[0.5], [0.5]], [1.0, 3.0], [1.0], 0.5)
    r = np.array([0.0, 0.3])
    k = (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r)
    mean, sd = process.predict(0.5 + r[:, None])
    np.testing.assert_allclose(mean, 2.0)  # values +1 and -1 at one place say nothing of the mean
    np.testing.assert_allclose(sd, np.sqrt(1 - k**2 / 1.25))  # two measurements: noise / 2
    alone = GaussianProcess([[0.5]], [7.0], [1.0], 0.5)
    assert alone.predict([[0.5]])[0] == 7.0


def test_the_evidence_is_a_multivariate_normal_density():
    x, y = data()
    process = GaussianProcess(x, y, scales(3), 0.01)
    k = module._matern(module._distance(x, x, scales(3))) + 0.01 * np.eye(len(x))
    target = (y - y.mean()) / y.std()
    wanted = multivariate_normal(np.zeros(len(x)), k).logpdf(target)
    assert process.log_marginal_likelihood() == pytest.approx(wanted, rel=1e-10)


def cost_arguments(d=3):
    x, y = data(d=d)
    target = (y - y.mean()) / y.std()
    return (x[:, None] - x[None]) ** 2, target, *module._prior(d)


def test_the_gradient_of_the_cost_is_that_of_finite_differences(monkeypatch):
    arguments = cost_arguments()
    for seed in range(5):
        hyper = arguments[2] + np.random.default_rng(seed).normal(0, 0.7, 4)

        def error(hyper=hyper):
            def slope(h):
                return module._cost(h, *arguments)[1]

            difference = check_grad(lambda h: module._cost(h, *arguments)[0], slope, hyper)
            return difference / np.linalg.norm(slope(hyper))

        assert error() < 1e-5
        with monkeypatch.context() as patch:  # a decay without its polynomial
            patch.setattr(module, "_decay", lambda r: 5 / 3 * np.exp(-module.SQRT5 * r))
            assert error() > 1e-2


def test_the_gradient_of_a_prediction_is_that_of_finite_differences():
    x, y = data()
    process = GaussianProcess(x, y, scales(3), 1e-3)
    for point in np.random.default_rng(4).random((5, 3)):
        mean, sd, d_mean, d_sd = process.gradient(point)
        predicted = process.predict(point[None])
        np.testing.assert_allclose((mean, sd), (predicted[0][0], predicted[1][0]))
        step = 1e-5 * np.eye(3)
        (up, up_sd), (down, down_sd) = process.predict(point + step), process.predict(point - step)
        np.testing.assert_allclose(d_mean, (up - down) / 2e-5, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(d_sd, (up_sd - down_sd) / 2e-5, rtol=1e-4, atol=1e-4)


def test_the_fit_is_the_most_probable_of_a_dense_search():
    arguments = cost_arguments()
    x, y = data()
    found = GaussianProcess.fit(x, y)
    cost = module._cost(np.log([*found.length_scale, found.noise]), *arguments)[0]
    rng, bounds = np.random.default_rng(5), [module.LENGTH_BOUNDS] * 3 + [module.NOISE_BOUNDS]
    starts = rng.uniform(*np.transpose(bounds), (30, 4))
    others = [minimize(lambda h: module._cost(h, *arguments)[0], s, bounds=bounds) for s in starts]
    assert cost < min(run.fun for run in others) + 1e-3


def test_noise_is_found():
    """Of 150 values with noise of deviation 1/2, the variance is known to 12 %: 5 sd are 60 %."""
    rng = np.random.default_rng(6)
    x = rng.random((150, 1))
    y = np.sin(6 * x[:, 0]) + rng.normal(0, 0.3, 150)
    noise = GaussianProcess.fit(x, y).noise * y.var()
    assert 0.4 < noise / 0.09 < 1.6


@pytest.mark.parametrize("bound", [1.0, 0.1])
def test_noise_may_be_most_of_what_is_seen(bound, monkeypatch):
    """Nine tenths of the variance are noise; a smaller bound makes the process follow it."""
    monkeypatch.setattr(module, "NOISE_BOUNDS", (module.NOISE_BOUNDS[0], np.log(bound)))
    rng = np.random.default_rng(7)
    x = rng.random((100, 1))
    y = x[:, 0] + rng.normal(0, 0.9, 100)
    process = GaussianProcess.fit(x, y)
    grid = np.linspace(0, 1, 201)[:, None]
    bends = (np.diff(np.sign(np.diff(process.predict(grid)[0]))) != 0).sum()
    assert (bends < 5) == (bound == 1.0)
    assert (process.noise > 0.6) == (bound == 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [1, 2], [1], 0.1), r"x: expected shape \(N, D\), got \(2,\)"),
        (([[0.1], [np.nan]], [1, 2], [1], 0.1), "x: expected finite numbers"),
        (([[0.1], [0.2]], [1], [1], 0.1), r"y: expected shape \(2,\), got \(1,\)"),
        (([[0.1], [0.2]], [1, np.inf], [1], 0.1), "y: expected at least one value, all finite"),
        ((np.empty((0, 1)), [], [1], 0.1), "y: expected at least one value"),
        (([[0.1], [0.2]], [1, 2], [1, 2], 0.1), r"length_scale: expected shape \(1,\), all > 0"),
        (([[0.1], [0.2]], [1, 2], [-1], 0.1), "length_scale: expected shape"),
        (([[0.1], [0.2]], [1, 2], [1], 0.0), "noise: expected a variance > 0, got 0.0"),
    ],
)
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianProcess(*arguments)


def test_predictions_are_refused_elsewhere_than_in_the_inputs_space():
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 1\), got \(3, 2\)"):
        GaussianProcess([[0.1], [0.2]], [1, 2], [1], 0.1).predict(np.zeros((3, 2)))
