"""HistFactory is pyhf: densities, fits, CLs, limits; and pyhf's errors for what is malformed.

The truth is pyhf with its numpy backend, and for the errors of parameters iminuit. pyhf's default
optimiser stops early on harder workspaces, so its fits run with a tolerance of 1e-10 here.
"""

import copy
from types import SimpleNamespace

import iminuit
import numpy as np
import pyhf
import pytest
import torch
from histfactory_bank import known, modifier, random_workspace, sample, signal, workspace

from lfi_helpers.likelihoods import FitFailed, HistFactory, histfactory, modifiers, newton

KNOWN = known()
TWO_MINIMA = KNOWN.pop("coupled histosys")[0]
RANDOM = {f"random {seed}": random_workspace(seed) for seed in range(5)}
ALL = {name: spec for name, (spec, _) in KNOWN.items()} | RANDOM


@pytest.fixture(scope="module", autouse=True)
def precise_pyhf():
    """Let pyhf minimise to 1e-10; put its backend back afterwards."""
    backend, optimiser = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    yield
    pyhf.set_backend(backend, optimiser)


def both(spec):
    work = pyhf.Workspace(spec)
    model = work.model()
    return SimpleNamespace(
        ours=HistFactory.from_pyhf(spec),
        pyhf=model,
        data=torch.tensor(work.data(model), dtype=torch.float64),
    )


def points(ours, n, seed=0):
    """Return random parameters: alphas up to about 4, everything else between 0.3 and 2."""
    rng = np.random.default_rng(seed)
    alpha = (ours.bounds[:, 0] < 0).numpy()
    shape = n, len(ours.names)
    drawn = np.where(alpha, rng.normal(0, 1.4, shape), rng.uniform(0.3, 2, shape))
    return torch.from_numpy(drawn)


def worst_logpdf(spec):
    """Return the largest relative difference of logpdf from pyhf's at 200 random points."""
    at = both(spec)
    theta = points(at.ours, 200)
    with np.errstate(invalid="ignore"):
        exact = np.array([at.pyhf.logpdf(t, at.data.numpy())[0] for t in theta.numpy()])
    ours = at.ours.logpdf(theta, at.data).numpy()
    negative = np.isnan(exact)  # a template bent below zero
    assert negative.mean() < 0.5 and np.array_equal(negative, np.isnan(ours))
    return float(np.abs(ours / exact - 1)[~negative].max())


@pytest.mark.parametrize("name", ALL)
def test_logpdf_is_pyhfs(name):
    assert worst_logpdf(ALL[name]) < 1e-10


def _code1(alpha, lo, hi):
    return torch.where(alpha > 0, hi.log(), lo.log()).mul(alpha.abs()).exp()


def _code0(alpha, lo, nominal, hi):
    return torch.where(alpha > 0, alpha * (hi - nominal), alpha * (nominal - lo))


def _width_one(self, expected, aux, counts):
    return -((aux - expected) ** 2).sum(1) / 2


FAULTS = {
    "code1 for code4": ("modifiers", "code4", _code1, "normsys"),
    "code0 for code4p": ("modifiers", "code4p", _code0, "histosys"),
    "n! left out": ("histfactory", "log_poisson", lambda n, r: n * r.log() - r, "docs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_term_is_seen(fault, monkeypatch):
    module, name, wrong, spec = FAULTS[fault]
    place = {"modifiers": modifiers, "histfactory": histfactory}[module]
    monkeypatch.setattr(place, name, wrong)
    assert worst_logpdf(KNOWN[spec][0]) > 1e-3


def test_wrong_constraint_is_seen(monkeypatch):
    monkeypatch.setattr(histfactory.Constraints, "logpdf", _width_one)
    assert worst_logpdf(KNOWN["lumi"][0]) > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_order_and_expected_data_are_pyhfs(name):
    at = both(ALL[name])
    assert at.ours.names == at.pyhf.config.par_names
    assert torch.equal(at.ours.observed, at.data)
    theta = points(at.ours, 5)
    exact = np.array([at.pyhf.expected_data(t) for t in theta.numpy()])
    torch.testing.assert_close(at.ours.expected_data(theta), torch.from_numpy(exact))


def exact_cls(at, mu):
    cls, expected = pyhf.infer.hypotest(mu, at.data.tolist(), at.pyhf, return_expected_set=True)
    return np.array([cls, *expected]).astype(float)


def our_cls(at, mu):
    cls, expected = at.ours.hypotest(mu, at.data, return_expected_set=True)
    return torch.cat([cls[None], expected]).numpy()


@pytest.mark.parametrize("name", [name for name in KNOWN if KNOWN[name][1]])
def test_cls_is_the_published_one(name):
    spec, published = KNOWN[name]
    at = both(spec)
    assert abs(float(at.ours.hypotest(1.0, at.data)) - published) < 2e-5


@pytest.mark.parametrize("name", ALL)
def test_cls_and_its_bands_are_pyhfs(name):
    at = both(ALL[name])
    np.testing.assert_allclose(our_cls(at, 1.5), exact_cls(at, 1.5), rtol=0, atol=2e-5)


CLS_FAULTS = {
    "factor 2 missing in q": lambda q, q_asimov: (q / 2, q_asimov / 2),
    "no second branch of q-tilde": lambda q, q_asimov: (torch.minimum(q, q_asimov), q_asimov),
}


@pytest.mark.parametrize("fault", CLS_FAULTS)
def test_wrong_test_statistic_is_seen(fault, monkeypatch):
    right = HistFactory._test_statistics
    monkeypatch.setattr(
        HistFactory, "_test_statistics", lambda s, m, d: CLS_FAULTS[fault](*right(s, m, d))
    )
    at = both(KNOWN["two bins"][0])
    data = torch.tensor([20.0, 20.0, *at.data[2:]]) if "branch" in fault else at.data
    at = SimpleNamespace(ours=at.ours, pyhf=at.pyhf, data=data)
    assert np.abs(our_cls(at, 1.0) - exact_cls(at, 1.0))[0] > 1e-3


def test_nuisance_that_is_not_profiled_is_seen(monkeypatch):
    right = newton.minimise

    def only_mu(objective, start, lower, upper, free):
        return right(objective, start, lower, upper, [i for i in free if i == 0])

    monkeypatch.setattr(histfactory, "minimise", only_mu)
    at = both(KNOWN["two bins"][0])
    assert abs(our_cls(at, 1.0)[0] - exact_cls(at, 1.0)[0]) > 1e-3


@pytest.mark.parametrize("name", ["two bins", "histosys", "random 0"])
def test_discovery_is_pyhfs(name):
    at = both(ALL[name])
    exact = pyhf.infer.hypotest(0.0, at.data.tolist(), at.pyhf, test_stat="q0")
    assert abs(float(at.ours.discovery(at.data)) - float(exact)) < 2e-5


@pytest.mark.parametrize("name", ["two bins", "coupled normsys"])
def test_upper_limits_are_where_pyhfs_cls_is_the_level(name):
    at = both(ALL[name])
    observed, expected = at.ours.upper_limit(at.data)
    for k, mu in enumerate([observed, *expected]):
        assert abs(exact_cls(at, float(mu))[k] - 0.05) < 2e-5


def test_upper_limit_beyond_the_bound_is_named():
    narrow = {"name": "mu", "bounds": [[0.0, 0.1]], "inits": [0.05]}
    spec = broken(lambda s: s["measurements"][0]["config"].update(parameters=[narrow]))
    ours = HistFactory.from_pyhf(spec)
    with pytest.raises(ValueError, match="upper bound 0.1"):
        ours.upper_limit(ours.observed)


@pytest.mark.parametrize("name", ALL)
def test_minimum_is_no_higher_than_pyhfs(name):
    at = both(ALL[name])
    _, exact = pyhf.infer.mle.fit(at.data.tolist(), at.pyhf, return_fitted_val=True)
    found = at.ours.fit(at.data)
    assert float(found.twice_nll) < float(exact) + 1e-6
    again = -2 * at.pyhf.logpdf(found.parameters.numpy(), at.data.numpy())[0]
    assert abs(float(found.twice_nll) - again) < 1e-8 * abs(again)


@pytest.mark.parametrize("name", ["two channels", "coupled normsys", "coupled shapefactor"])
def test_errors_are_minuits(name):
    at = both(ALL[name])
    data = at.ours.expected_data(at.ours.init)  # an interior minimum for sure
    nll = iminuit.Minuit(
        lambda x: -float(at.pyhf.logpdf(x, data.numpy())[0]), at.ours.init.tolist()
    )
    nll.errordef, nll.strategy = iminuit.Minuit.LIKELIHOOD, 2
    nll.migrad()
    nll.hesse()
    np.testing.assert_allclose(at.ours.fit(data).errors, np.array(nll.errors), rtol=0.01)


def test_of_two_minima_the_lower_one_is_found():
    """From the same start pyhf's optimiser ends in the higher one; started at ours it stays."""
    at = both(TWO_MINIMA)
    found = at.ours.fit(at.data)
    _, stuck = pyhf.infer.mle.fit(at.data.tolist(), at.pyhf, return_fitted_val=True)
    assert float(found.twice_nll) < float(stuck) - 1
    start = found.parameters.tolist()
    best, low = pyhf.infer.mle.fit(at.data.tolist(), at.pyhf, start, return_fitted_val=True)
    np.testing.assert_allclose(best, start, rtol=0, atol=1e-4)
    assert abs(float(low) - float(found.twice_nll)) < 1e-6


def test_toys_in_a_batch_are_fitted_as_one_by_one():
    at = both(KNOWN["two channels"][0])
    toys = at.ours.sample(at.ours.init.repeat(20, 1), torch.Generator().manual_seed(0))
    batch = at.ours.fit(toys)
    for k, toy in enumerate(toys):
        single = at.ours.fit(toy)
        torch.testing.assert_close(batch.parameters[k], single.parameters, rtol=0, atol=1e-6)
        torch.testing.assert_close(batch.errors[k], single.errors, rtol=1e-5, atol=0)
    cls = at.ours.hypotest(1.0, toys)
    torch.testing.assert_close(cls[7], at.ours.hypotest(1.0, toys[7]), rtol=0, atol=1e-6)


def test_toys_have_the_moments_of_their_densities():
    """Mean and variance of 40 000 draws within 6 standard errors: false alarm below 1e-7."""
    ours = both(RANDOM["random 2"]).ours
    n = 40_000
    toys = ours.sample(ours.init.repeat(n, 1), torch.Generator().manual_seed(1))
    mean = ours.expected_data(ours.init)
    place, normal = ours.constraints.place, ours.constraints.normal
    variance = mean.clone()  # Poisson
    variance[ours.rates.n_bins :][normal] = ours.constraints.scale[normal] ** 2
    assert len(place) == len(mean) - ours.rates.n_bins
    assert ((toys.mean(0) - mean).abs() < 6 * (variance / n).sqrt()).all()
    # var of a sample variance: (kurtosis - 1) / n, kurtosis 3 + 1 / mean or 3
    spread = variance * ((2 + 1 / variance.clamp(min=1e-3)) / n).sqrt()
    assert ((toys.var(0) - variance).abs() < 6 * spread).all()


def test_gradient_is_the_finite_difference():
    at = both(RANDOM["random 3"])
    theta = points(at.ours, 3, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: at.ours.logpdf(t, at.data), theta, atol=1e-4)


def test_empty_bins_have_finite_gradients():
    ours = HistFactory.from_pyhf(workspace({"c": [signal([1.0, 0.0])]}, {"c": [0.0, 0.0]}))
    mu = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ours.logpdf(mu, ours.observed).backward()
    assert mu.grad.tolist() == [-1.0]
    assert ours.fit(ours.observed).parameters.tolist() == [0.0]


def broken(change):
    spec = copy.deepcopy(KNOWN["docs"][0])
    change(spec)
    return spec


MALFORMED = {
    "unknown modifier": lambda s: s["channels"][0]["samples"][0]["modifiers"].append(
        modifier("morph", "m")
    ),
    "no measurements": lambda s: s.pop("measurements"),
    "counts as text": lambda s: s["observations"][0].update(data=["50", "60"]),
    "stray key": lambda s: s.update(colour="red"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_workspaces_get_pyhfs_schema_error(case):
    spec = broken(MALFORMED[case])
    with pytest.raises(pyhf.exceptions.InvalidSpecification) as ours:
        HistFactory.from_pyhf(spec)
    with pytest.raises(pyhf.exceptions.InvalidSpecification) as theirs:
        pyhf.Workspace(spec)
    assert str(ours.value) == str(theirs.value)


def test_model_without_observations():
    spec = {"channels": KNOWN["docs"][0]["channels"]}
    ours = HistFactory.from_pyhf(spec)
    assert ours.observed is None
    assert ours.names == pyhf.Model(spec).config.par_names


def _normsys_spec(lo):
    bend = modifier("normsys", "n", {"lo": lo, "hi": 1.1})
    return workspace({"c": [signal([1.0]), sample("b", [9.0], bend)]}, {"c": [9.0]})


def _shared_shape():
    shape = modifier("shapefactor", "s")
    one, two = sample("b", [9.0], shape), sample("b", [9.0, 9.0], shape)
    return workspace({"a": [signal([1.0]), one], "z": [two]}, {"a": [9.0], "z": [9.0, 9.0]})


WRONG = {
    "spec is text": (lambda at: HistFactory.from_pyhf("x"), TypeError, "spec: expected a dict"),
    "negative factor": (
        lambda at: HistFactory.from_pyhf(_normsys_spec(-0.1)),
        ValueError,
        "normsys n: expected lo and hi > 0",
    ),
    "shared shapefactor": (
        lambda at: HistFactory.from_pyhf(_shared_shape()),
        ValueError,
        "shapefactor s: expected at most 1 bins",
    ),
    "parameters": (
        lambda at: at.ours.logpdf([1.0], at.data),
        ValueError,
        r"parameters: expected shape \(3,\) or \(B, 3\), got \(1,\)",
    ),
    "data": (lambda at: at.ours.fit([1.0]), ValueError, r"data: expected shape \(4,\)"),
    "not numbers": (lambda at: at.ours.fit("x"), TypeError, "data: expected numbers, got str"),
    "NaN": (lambda at: at.ours.fit(at.data * np.nan), ValueError, "data: expected finite"),
    "rows": (
        lambda at: at.ours.logpdf(at.ours.init.repeat(2, 1), at.data.repeat(3, 1)),
        ValueError,
        "parameters and data: expected equally many rows",
    ),
    "mu outside": (lambda at: at.ours.hypotest(-1.0, at.data), ValueError, "got .'mu'. outside"),
    "no density": (
        lambda at: HistFactory.from_pyhf(workspace({"c": [signal([0.0])]}, {"c": [3.0]})).fit(
            [3.0]
        ),
        ValueError,
        "data in a bin where nothing is expected",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(both(KNOWN["docs"][0]))


def test_model_without_a_free_parameter_of_interest():
    spec = broken(lambda s: s["measurements"][0]["config"].update(poi=""))
    ours = HistFactory.from_pyhf(spec)
    ours.fit(ours.observed)
    with pytest.raises(ValueError, match="mu: expected a parameter of interest"):
        ours.hypotest(1.0, ours.observed)


def test_a_fit_that_does_not_converge_says_so():
    box = torch.tensor([-1e12]).double(), torch.tensor([1e12]).double()
    with pytest.raises(FitFailed, match="1 of 1 did not converge in 300 steps"):
        newton.minimise(lambda x, rows: x[:, 0] ** 1, torch.zeros(1, 1).double(), *box, [0])


def test_a_model_with_nothing_to_fit():
    ours = HistFactory.from_pyhf(workspace({"c": [signal([9.0])]}, {"c": [9.0]}))
    held = ours.fit(ours.observed, mu=1.0)
    assert held.parameters.tolist() == [1.0] and held.errors.tolist() == [0.0]


def test_newton_finds_the_minimum_in_the_box_of_a_function_that_is_not_convex():
    def rosenbrock(x, rows):
        return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2

    low, high = torch.tensor([-2.0, -1.0]).double(), torch.tensor([0.5, 3.0]).double()
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [0.4, 2.9]]).double()
    found = newton.minimise(rosenbrock, start, low, high, [0, 1])
    exact = torch.tensor([0.5, 0.25]).double().expand(3, -1)  # on the bound, slope 0 along it
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_poisoned_default_device_changes_nothing(same_when_poisoned):
    def compute():
        ours = HistFactory.from_pyhf(KNOWN["coupled normsys"][0])
        toys = ours.sample(ours.init.repeat(2, 1), torch.Generator("cpu").manual_seed(0))
        return *ours.fit(toys), ours.hypotest(1.0, toys), *ours.upper_limit(ours.observed)

    same_when_poisoned(compute)
