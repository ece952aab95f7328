"""Physics kernels: positive, with the right gradients, and at home in scikit-learn."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from lfi_helpers.decisions.physics_kernels import Gibbs, Localised, PoissonNoise, Profile

X = np.random.default_rng(0).uniform(1, 5, (30, 1))
Y = np.random.default_rng(1).uniform(1, 5, (20, 1))


def falling(x):
    return 1e3 * x**-3


def tilt(x):
    return x - 3  # of either sign


KERNELS = {
    "noise": PoissonNoise(falling),
    "profile": Profile(tilt),
    "gibbs": Gibbs(0.3, 0.2),
    "localised": Localised(2.5, 0.4, 0.3),
    "peak": Localised(2.5, 0.4, 1e6),
    "scaled": ConstantKernel(0.1) * Gibbs(0.3, 0.2) * Profile(falling),
    "sum": PoissonNoise(falling) + 2.0 * Profile(tilt) + Profile(falling) * Localised(3, 0.5, 1),
}
each = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@each
def test_the_covariance_is_symmetric_and_has_no_negative_eigenvalue(kernel):
    k = kernel(X)
    np.testing.assert_array_equal(k, k.T)
    assert np.linalg.eigvalsh(k).min() > -1e-12 * np.trace(k)


@each
def test_the_diagonal_in_closed_form_is_the_covariance_s(kernel):
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-12)


@each
def test_two_sets_of_masses_give_a_block_of_the_covariance_of_both(kernel):
    """But for the noise, which two predictions never share."""
    both = kernel(np.vstack([X, Y]))
    np.testing.assert_allclose(kernel(X, Y), both[:30, 30:], rtol=1e-12, atol=1e-300)


def slope_error(kernel):
    """Return the largest error of dk / d log theta against central differences, relative."""
    k, slopes = kernel(X, eval_gradient=True)
    theta, errors = kernel.theta, []
    assert slopes.shape == (30, 30, len(theta))
    for i, step in enumerate(1e-5 * np.eye(len(theta))):
        up, down = kernel.clone_with_theta(theta + step), kernel.clone_with_theta(theta - step)
        difference = (up(X) - down(X)) / 2e-5
        errors.append(np.abs(slopes[:, :, i] - difference).max() / np.abs(k).max())
    return max(errors, default=0.0)


@each
def test_the_gradient_is_that_of_finite_differences(kernel):
    """The third derivative, some thousands, times step^2 / 6 is what the difference leaves."""
    assert slope_error(kernel) < 1e-6


@pytest.mark.parametrize("kernel", [KERNELS["gibbs"], KERNELS["localised"]], ids=["gibbs", "peak"])
def test_a_gradient_by_theta_instead_of_its_logarithm_is_seen(kernel, monkeypatch):
    right = type(kernel)._covariance

    def by_theta(self, x, y, same):
        k, slopes = right(self, x, y, same)
        return k, {name: slope / getattr(self, name) for name, slope in slopes.items()}

    monkeypatch.setattr(type(kernel), "_covariance", by_theta)
    assert slope_error(kernel) > 1e-2


def test_gibbs_of_a_constant_length_is_the_squared_exponential():
    np.testing.assert_allclose(Gibbs(1e-12, 0.7)(X, Y), RBF(0.7)(X, Y), rtol=1e-9)


def test_gibbs_is_the_overlap_of_two_bells():
    """It is the scalar product of two normalised Gaussians of widths l / sqrt 2: positive."""
    t = np.linspace(-20, 30, 20_001)

    def bell(x):
        width = (0.3 * x + 0.2) / np.sqrt(2)
        height = np.exp(-0.5 * ((t - x) / width) ** 2)
        return height / np.sqrt((height**2).sum())

    wanted = [[bell(a) @ bell(b) for b in Y[:4, 0]] for a in X[:4, 0]]
    np.testing.assert_allclose(Gibbs(0.3, 0.2)(X[:4], Y[:4]), wanted, rtol=1e-9, atol=1e-12)


def test_a_localised_kernel_of_great_length_is_one_peak_of_unknown_height():
    def peak(x):
        return np.exp(-0.5 * ((x - 2.5) / 0.4) ** 2)

    np.testing.assert_allclose(KERNELS["peak"](X, Y), Profile(peak)(X, Y), rtol=1e-9)


def test_poisson_noise_is_a_variance_of_its_own_in_each_bin():
    ours = GaussianProcessRegressor(PoissonNoise(falling) + RBF(), alpha=0, optimizer=None)
    y = np.random.default_rng(2).poisson(falling(X[:, 0]))
    other = GaussianProcessRegressor(RBF(), alpha=falling(X[:, 0]), optimizer=None)
    ours, other = ours.fit(X, y), other.fit(X, y)
    np.testing.assert_allclose(ours.predict(Y), other.predict(Y), rtol=1e-10)
    variance = ours.predict(Y, return_std=True)[1] ** 2  # of a new count
    wanted = other.predict(Y, return_std=True)[1] ** 2 + falling(Y[:, 0])
    np.testing.assert_allclose(variance, wanted, rtol=1e-10)
    flat = PoissonNoise(lambda x: np.full(len(x), 2.5))
    np.testing.assert_array_equal(flat(X), WhiteKernel(2.5)(X))


def test_a_profile_is_one_normal_number_times_a_shape():
    """Regression on one column, in closed form: Bayes with prior N(0, 4) for its coefficient."""
    y = np.random.default_rng(3).normal(size=30)
    kernel = ConstantKernel(4.0) * Profile(tilt)
    process = GaussianProcessRegressor(kernel, alpha=1.0, optimizer=None).fit(X, y)
    g = tilt(X[:, 0])
    coefficient, variance = g @ y / (g @ g + 1 / 4), 1 / (g @ g + 1 / 4)
    mean, sd = process.predict(Y, return_std=True)
    np.testing.assert_allclose(mean, coefficient * tilt(Y[:, 0]), rtol=1e-10)
    np.testing.assert_allclose(sd, np.sqrt(variance) * np.abs(tilt(Y[:, 0])), rtol=1e-6)


def test_the_library_finds_the_hyperparameters_of_the_generating_kernel():
    """At the maximum the gradient vanishes and no truth is more probable; 2 log L is chi2(2)."""
    true = PoissonNoise(falling) + ConstantKernel(0.04) * Gibbs(0.5, 0.1) * Profile(falling)
    names = {"k2__k1__k2__offset_bounds": "fixed"}
    true.set_params(**names)
    x = np.linspace(1, 3, 40)[:, None]
    y = (
        np.random.default_rng(4)
        .multivariate_normal(np.zeros(40), true(x), 20, method="cholesky")
        .T
    )
    process = GaussianProcessRegressor(true, alpha=0).fit(x, y)
    found, slope = process.log_marginal_likelihood(process.kernel_.theta, eval_gradient=True)
    normal = multivariate_normal(np.zeros(40), true(x))
    gain = found - normal.logpdf(y.T).sum()
    assert 0 <= 2 * gain < 23.1  # chi2 with two degrees of freedom: exceeded with 1e-5
    assert np.abs(slope).max() < 1e-2 * 20 * 40
    assert process.log_marginal_likelihood(true.theta) == pytest.approx(found - gain, rel=1e-9)


@each
def test_kernels_are_cloned_compared_and_printed_like_the_library_s(kernel):
    assert clone(kernel) == kernel
    assert not kernel.is_stationary()
    assert "lambda" not in repr(kernel)
    fixed = clone(kernel).clone_with_theta(kernel.theta + 0.1)
    assert (fixed == kernel) == (len(kernel.theta) == 0)


def test_fixed_hyperparameters_have_no_gradient():
    kernel = Localised(2.5, 0.4, 0.3, mass_bounds="fixed", length_bounds="fixed")
    assert kernel.theta == pytest.approx(np.log([0.4]))
    slopes = kernel(X, eval_gradient=True)[1]
    assert slopes.shape == (30, 30, 1)
    whole = KERNELS["localised"](X, eval_gradient=True)[1]
    np.testing.assert_array_equal(slopes[:, :, 0], whole[:, :, 2])  # length, mass, width
    assert repr(kernel) == "Localised(mass=2.5, width=0.4, length=0.3)"
    assert repr(PoissonNoise(falling)) == "PoissonNoise(rate=falling)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Gibbs(0, 1), "slope: expected a number > 0, got 0"),
        (lambda: Gibbs(1, -1), "offset: expected a number > 0, got -1"),
        (lambda: Localised(width=float("nan")), "width: expected a number > 0, got nan"),
        (lambda: Localised(mass=-1), "mass: expected a number > 0"),
        (lambda: Localised(length=0), "length: expected a number > 0"),
        (lambda: Gibbs()(X[:, 0]), r"X: expected masses of shape \(N, 1\), got \(30,\)"),
        (lambda: Gibbs()(X, np.ones((3, 2))), r"Y: expected masses of shape \(N, 1\)"),
        (lambda: Gibbs()([[np.nan]]), "X: expected finite masses"),
        (lambda: Gibbs()(-X), "masses: expected >= 0, got -"),
        (lambda: Gibbs()(X, Y, eval_gradient=True), "Y: expected None where the gradient"),
        (lambda: PoissonNoise(tilt)(X), "rate: expected numbers >= 0, got -"),
        (lambda: PoissonNoise(lambda x: 5.0)(X), "rate: expected 30 finite values"),
        (lambda: Profile(lambda x: x / 0 if len(x) else x)(X), "shape: expected 30 finite"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        call()
