"""Flows against calculus, quadrature, root finding and an independent library (zuko)."""

import math

import pytest
import torch
from scipy.optimize import brentq
from torch.distributions import Beta, Gamma, Independent, LogNormal, Normal, Uniform
from torch.nn.functional import pad
from zuko.flows import MAF, MaskedAutoregressiveTransform
from zuko.transforms import MonotonicRQSTransform

from lfi_helpers.flows import (
    KINDS,
    BoxCoordinates,
    Flow,
    StandardCoordinates,
    network,
    prior_coordinates,
)
from lfi_helpers.flows.layers import Affine, Autoregressive, Coupling
from lfi_helpers.flows.splines import MIN_SHARE, MIN_SLOPE, UNIT_SLOPE, Spline, _find_bin
from lfi_helpers.networks import Standardise
from lfi_helpers.run import draw, generator, seeded

F64 = torch.float64
LOW, HIGH = (-3.0, 0.5), (-1.0, 4.0)


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=generator(seed), dtype=F64)


def box_prior(features):
    low, high = (torch.tensor((side * features)[:features]) for side in (LOW, HIGH))
    return Independent(Uniform(low, high), 1)


def log_normal_prior(features):
    return Independent(LogNormal(torch.full((features,), -0.3), torch.full((features,), 0.8)), 1)


def normal_prior(features):
    return Independent(Normal(torch.full((features,), 2.0), torch.full((features,), 0.5)), 1)


def standard(features):
    return StandardCoordinates(normal(200, features, seed=9, dtype=torch.float32) * 3 + 1)


COORDINATES = {
    "plain": lambda features: None,
    "standard": standard,
    "box": lambda features: prior_coordinates(box_prior(features)),
    "normal": lambda features: prior_coordinates(normal_prior(features)),
    "log-normal": lambda features: prior_coordinates(log_normal_prior(features)),
}


def make(kind, where="plain", features=2, context=3, seed=0, stir=4.0, **settings):
    """Build a flow whose last layers are ``stir`` times the initial ones: not the identity."""
    settings = {"hidden": (24, 24), "coordinates": COORDINATES[where](features)} | settings
    flow = Flow(features, context, kind, seed=seed, **settings)
    with torch.no_grad():
        for part in flow.modules():
            if isinstance(part, network.Network):
                part.weights[-1] *= 1.0 if kind == "planar" else stir
                part.biases[-1] *= 1.0 if kind == "planar" else stir
    return flow.double()


def points(where, n, features, seed=1):
    """Return n columns of theta inside the support, (features, n)."""
    if where == "box":
        prior = box_prior(features).base_dist
        return (prior.low + (prior.high - prior.low) * uniform(n, features, seed=seed)).mT
    theta = normal(features, n, seed=seed)
    return {"normal": 2 + 0.5 * theta, "log-normal": torch.exp(0.8 * theta - 0.3)}.get(
        where, theta
    )


def jacobian(function, x):
    """Return d y_i / d x_j of every column, (D, D, N), by automatic differentiation."""
    x = x.detach().requires_grad_()
    y = function(x)
    rows = [
        torch.autograd.grad(row.sum(), x, retain_graph=True, allow_unused=True)[0] for row in y
    ]
    return torch.stack([torch.zeros_like(x) if row is None else row for row in rows])


# ---- change of variables ---------------------------------------------------------------------


def log_det_error(flow, theta, c):
    with torch.no_grad():
        _, log_det = flow.to_base(theta, c)
    matrix = jacobian(lambda t: flow.to_base(t, c)[0], theta)
    return (torch.linalg.slogdet(matrix.movedim(-1, 0))[1] - log_det).abs().max().item()


@pytest.mark.parametrize("where", COORDINATES)
@pytest.mark.parametrize("kind", KINDS)
def test_log_det_is_that_of_the_automatic_jacobian(kind, where):
    for features, context in ((1, 0), (1, 2), (2, 3), (5, 2)):
        flow = make(kind, where, features, context)
        c = normal(context, 16, seed=2) if context else None
        assert log_det_error(flow, points(where, 16, features), c) < 1e-10


def round_trip_error(flow, theta, c):
    z, log_det = flow.to_base(theta, c)
    back, log_det_back = flow.from_base(z, c)
    return max((back - theta).abs().max().item(), (log_det + log_det_back).abs().max().item())


@pytest.mark.parametrize("where", COORDINATES)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind, where):
    for features, context in ((1, 0), (2, 3), (5, 2)):
        flow = make(kind, where, features, context)
        c = normal(context, 50, seed=2) if context else None
        theta = points(where, 50, features)
        with torch.no_grad():
            assert round_trip_error(flow, theta, c) < 1e-8
        assert round_trip_error(flow, theta, c) < 1e-8  # with gradients: another way there
        # one rounding of a number r times the others costs r times more: 1e-4 per unit of r
        flow, theta, c = flow.float(), theta.float(), c if c is None else c.float()
        with torch.no_grad():
            error = round_trip_error(flow, theta, c)
        assert error < 1e-4 * theta.abs().max().clamp_min(1)


def test_planar_inverse_against_a_root_finder():
    flow = make("planar", features=3, context=0, transforms=1)
    z = normal(3, 20)
    with torch.no_grad():
        theta, _ = flow.from_base(z, None)
        u, w, b, stretch = (v[..., 0] for v in flow.layers[0]._read(z, None))
    for target, column in zip(z.mT, theta.mT, strict=True):
        goal = float(w @ target)
        root = brentq(
            lambda a, goal=goal: a + float(stretch) * math.tanh(a + float(b)) - goal,
            goal - 9,
            goal + 9,
            xtol=1e-14,
        )
        expected = target - u * math.tanh(root + float(b))
        torch.testing.assert_close(column, expected, rtol=0, atol=1e-10)


# ---- densities -------------------------------------------------------------------------------


def integral(flow, where, context, bins=320):
    """Integrate the density given one context over the plane by the midpoint rule.

    On the box in t with theta = low + (high - low) Phi(t), since affine flows rise without bound
    towards its faces; on positive numbers in their logarithm; elsewhere in t = (theta - m) / s.
    """
    half = 7.0 if where == "box" else 10.0
    m, s = {"standard": (1.0, 3.0), "normal": (2.0, 0.5)}.get(where, (0.0, 1.0))
    axis = half * ((2 * torch.arange(bins, dtype=F64) + 1) / bins - 1)
    t = torch.cartesian_prod(axis, axis)
    theta, log_slope = m + s * t, torch.full_like(t, math.log(s))
    if where == "box":
        width = torch.tensor(HIGH, dtype=F64) - torch.tensor(LOW, dtype=F64)
        theta = torch.tensor(LOW, dtype=F64) + width * torch.special.ndtr(t)
        log_slope = torch.log(width / math.sqrt(2 * math.pi)) - 0.5 * t * t
    elif where == "log-normal":
        theta, log_slope = torch.exp(t), t
    with torch.no_grad():
        density = (flow(context).log_prob(theta) + log_slope.sum(1)).exp()
    return float(density.sum() * (2 * half / bins) ** 2)


@pytest.mark.parametrize("kind", KINDS)
def test_density_integrates_to_one_at_three_contexts(kind):
    for where in ("plain", "box"):
        flow = make(kind, where)
        for context in 2 * normal(3, 3, seed=4):
            assert abs(integral(flow, where, context) - 1) < 1e-3


@pytest.mark.parametrize("where", ["standard", "normal", "log-normal"])
def test_density_integrates_to_one_in_other_coordinates(where):
    for kind in ("maf", "nsf"):
        assert abs(integral(make(kind, where, context=0), where, None) - 1) < 1e-3


def weight_z(flow, where, context, base_scale=1.0, n=40_000):
    """How many standard errors the mean of p(theta) / q(theta), theta ~ q, is from one.

    p is a normal density of deviation 0.5, or on the box a density that vanishes at its faces.
    """
    with torch.no_grad(), seeded(5):
        z = base_scale * flow.base_draws(n)
        theta = flow.from_base(z, context[:, None])[0].mT
        log_q = flow(context).log_prob(theta)
    if where == "box":
        low, high = torch.tensor(LOW, dtype=F64), torch.tensor(HIGH, dtype=F64)
        five = torch.full((2,), 5.0, dtype=F64)
        log_p = (Beta(five, five).log_prob((theta - low) / (high - low)) - (high - low).log()).sum(
            1
        )
    else:
        log_p = Independent(Normal(torch.zeros(2, dtype=F64), 0.5), 1).log_prob(theta)
    weights = torch.exp(log_p - log_q)
    return float((weights.mean() - 1) / (weights.std() / math.sqrt(n)))


@pytest.mark.parametrize("where", ["plain", "box"])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_density(kind, where):
    # |z| > 5.2 has probability 2e-7 for each of the twelve
    assert abs(weight_z(make(kind, where), where, normal(3, seed=6))) < 5.2


def test_draws_of_another_density_are_noticed():
    for where, scale in (("plain", 1.1), ("box", 0.95)):
        assert abs(weight_z(make("nsf", where), where, normal(3, seed=6), scale)) > 5.2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["box", "log-normal"])
def test_nothing_leaks_from_a_bounded_support(kind, where):
    prior = {"box": box_prior, "log-normal": log_normal_prior}[where](2)
    flow = make(kind, where, stir=20.0).float()
    q = flow(normal(5, 3, dtype=torch.float32))
    theta = draw(q, 4000, generator(1))
    assert theta.dtype == torch.float32
    assert bool(torch.isfinite(prior.log_prob(theta)).all()), "a draw left the prior's support"
    assert bool(torch.isfinite(q.log_prob(theta)).all())
    assert bool(q.support.check(theta).all())
    with torch.no_grad():  # the very corners of the base
        edge = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]) * (
            math.sqrt(3) if flow.uniform_base else 40
        )
        corner = flow.from_base(edge, torch.zeros(3, 1))[0].mT
    assert bool(torch.isfinite(prior.log_prob(corner)).all())
    outside = torch.tensor([[-3.001, 1.0], [-2.0, 4.001], [1e4, 1.0], [-1e4, 1e4]])
    outside = (-outside.abs() if where == "log-normal" else outside).requires_grad_()
    log_q = flow(torch.zeros(3)).log_prob(outside)
    assert log_q.tolist() == [-math.inf] * 4
    (log_q + flow(torch.zeros(3)).log_prob(theta[0, 0])).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in [outside, *flow.parameters()])


def test_untouched_cube_flow_is_the_prior():
    for where, prior in (("box", box_prior), ("normal", normal_prior)):
        theta = points(where, 30, 2).mT
        for kind in ("maf", "nsf", "nsf_coupling", "realnvp"):
            got = make(kind, where, context=0, stir=0.0)().log_prob(theta)
            expected = prior(2).log_prob(theta).to(F64)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_a_flow_learns_a_conditional_density():
    """Two humps around the context, exact log-density known; untrained it lacks about 0.6 nat."""
    g = generator(3)
    c = torch.randn(6000, 1, generator=g)
    side = torch.randint(2, (6000, 1), generator=g) * 2.0 - 1
    noise = side + 0.3 * torch.randn(6000, 1, generator=g)
    halves = torch.cat([Normal(s, 0.3).log_prob(noise) for s in (-1.0, 1.0)], 1)
    exact = torch.logsumexp(halves, 1) - math.log(2)
    theta, train, test = noise + torch.sin(2 * c), slice(0, 5000), slice(5000, 6000)
    flow = Flow(1, 1, "nsf", coordinates=StandardCoordinates(theta), transforms=2)
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(300):
        rows = torch.randint(5000, (512,), generator=g)
        loss = -flow(c[train][rows]).log_prob(theta[train][rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        lacking = exact[test] - flow(c[test]).log_prob(theta[test])
    assert lacking.mean() < 0.1


# ---- autoregressive structure ----------------------------------------------------------------


def seen(layer, features, context):
    """Return whether parameter i of any kind depends on feature j, by automatic derivatives."""
    c = normal(context, 40, seed=1) if context else None
    touched = torch.zeros(features, features, dtype=torch.bool)
    for rows in range(layer.n_parameters):
        matrix = jacobian(
            lambda x, rows=rows: layer(x, c).view(-1, *x.shape)[rows], normal(features, 40)
        )
        touched |= (matrix != 0).any(-1)  # exactly zero, not nearly
    return touched


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("features", [1, 2, 5])
def test_feature_i_sees_exactly_the_features_before_it(features, context):
    layer = network.MaskedNetwork(features, context, (24, 24), 4, generator(0)).double()
    below = torch.ones(features, features).tril(-1).bool()
    assert torch.equal(seen(layer, features, context), below)


def test_a_mask_off_by_one_is_noticed(monkeypatch):
    degrees = network._degrees
    monkeypatch.setattr(network, "_degrees", lambda *sizes: degrees(*sizes) + 1)
    layer = network.MaskedNetwork(5, 3, (24, 24), 4, generator(0)).double()
    for i in range(3):  # units of degree m now see feature m, the outputs read them as before
        getattr(layer, f"mask_{i}")[:] = torch.roll(getattr(layer, f"mask_{i}"), -1, 0)
    assert not torch.equal(seen(layer, 5, 3), torch.ones(5, 5).tril(-1).bool())


@pytest.mark.parametrize("kind", ["maf", "nsf", "iaf"])
def test_one_layer_has_a_triangular_jacobian(kind):
    flow = make(kind, features=4, transforms=1)
    matrix = jacobian(lambda t: flow.to_base(t, normal(3, 30, seed=1))[0], normal(4, 30))
    above = torch.triu(torch.ones(4, 4), 1).bool()
    assert bool((matrix[above] == 0).all())
    assert bool((matrix.diagonal() > 0).all())


@pytest.mark.parametrize("width", [3, 8, 24])
def test_feature_by_feature_equals_the_whole_network(width):
    for features, context in ((1, 0), (1, 2), (2, 0), (2, 2), (6, 3)):
        layer = network.MaskedNetwork(features, context, (width, width + 5), 4, generator(0))
        layer = layer.double()
        z = normal(features, 7)
        for columns in (1, 7):
            c = normal(context, columns, seed=1) if context else None
            with torch.no_grad():
                whole = layer(z, c).view(4, features, 7)
                filled = torch.full_like(z, math.nan)  # reading too early would show
                for i, parameters in enumerate(layer.by_feature(filled, c)):
                    assert parameters.shape == (4, 7 if i else c.shape[1] if context else 1)
                    every = parameters.expand(-1, 7)  # feature 0 knows the context only
                    torch.testing.assert_close(every, whole[:, i], rtol=0, atol=1e-12)
                    filled[i] = z[i]


def test_maf_and_iaf_are_each_others_inverse():
    maf, iaf = make("maf", features=3, transforms=1), make("iaf", features=3, transforms=1)
    z, c = normal(3, 20), normal(3, 20, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(maf.to_base(z, c), iaf.from_base(z, c), rtol=0, atol=0)


# ---- splines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tails", [True, False])
@pytest.mark.parametrize("bins", [2, 8])
def test_written_derivatives_are_the_numerical_ones(bins, tails):
    spline = Spline(bins, 2.0, tails)
    x = (6 if tails else 4) * uniform(2, 4) - (3 if tails else 2)
    parameters = 1.5 * normal(spline.n_parameters, 2, 4, seed=1)
    inputs = (x.requires_grad_(), parameters.requires_grad_())
    assert torch.autograd.gradcheck(spline.forward, inputs)
    assert torch.autograd.gradcheck(spline.inverse, inputs)


def plain_spline(spline, x, parameters):
    """The published formula in v = u (1 - u), to be differentiated automatically; its knots."""
    bins, width = spline.bins, 2 * spline.bound
    logits, slopes = parameters[: 2 * bins].view(2, bins, *x.shape), parameters[2 * bins :]
    shares = MIN_SHARE + (1 - MIN_SHARE * bins) * torch.softmax(logits, 1)
    knots = width * pad(shares.cumsum(1), [0, 0] * x.ndim + [1, 0]) - spline.bound
    if spline.tails:
        slopes = pad(slopes, [0, 0] * x.ndim + [1, 1])
    slopes = torch.nn.functional.softplus(slopes + UNIT_SLOPE) + MIN_SLOPE
    k = (x.detach() >= knots[0, 1:-1].detach()).sum(0)[None]
    (x0, y0), (x1, y1), d0, d1 = (
        *(knots.gather(1, j.expand(2, *j.shape)).squeeze(1) for j in (k, k + 1)),
        *(slopes.gather(0, j)[0] for j in (k, k + 1)),
    )
    s, u = (y1 - y0) / (x1 - x0), (x - x0) / (x1 - x0)
    v = u * (1 - u)
    d = s + (d0 + d1 - 2 * s) * v
    y = y0 + (y1 - y0) * (s * u * u + d0 * v) / d
    slope = s * s * (d1 * u * u + 2 * s * v + d0 * (1 - u) ** 2) / (d * d)
    inside = x.abs() < spline.bound if spline.tails else torch.ones_like(x, dtype=torch.bool)
    log_slope = torch.where(inside, slope.log(), 0 * slope)
    return torch.where(inside, y, x), log_slope, knots[0, 1:-1]


def derivative_errors(bins, tails):
    """Return the largest errors of y, log dy/dx and of the gradients of each, over 600 numbers."""
    spline = Spline(bins, 2.0, tails)
    parameters = 1.5 * normal(spline.n_parameters, 600, seed=1)
    x = ((6 if tails else 3.999) * (uniform(600) - 0.5)).requires_grad_()
    parameters.requires_grad_()
    errors = []
    for i in range(2):
        ours, theirs = spline.forward(x, parameters)[i], plain_spline(spline, x, parameters)[i]
        weight = normal(600, seed=2 + i)
        grads = [torch.autograd.grad((weight * t).sum(), (x, parameters)) for t in (ours, theirs)]
        pairs = [(ours, theirs), *zip(*grads, strict=True)]
        errors += [((a - b).abs() / (1 + b.abs())).max().item() for a, b in pairs]
    return errors


@pytest.mark.parametrize("tails", [True, False])
@pytest.mark.parametrize("bins", [2, 8])
def test_written_derivatives_are_the_automatic_ones_of_the_published_formula(bins, tails):
    assert max(derivative_errors(bins, tails)) < 1e-9


@pytest.mark.parametrize("tails", [True, False])
def test_at_the_knots_value_and_gradient_are_those_of_either_bin(tails):
    """Across a knot y and its gradient are continuous; that of log dy/dx jumps, but is finite."""
    spline = Spline(8, 2.0, tails)
    parameters = 1.5 * normal(spline.n_parameters, 7, seed=1).requires_grad_()
    with torch.no_grad():
        knots = plain_spline(spline, torch.zeros(7, dtype=F64), parameters)[2]
    x = torch.cat([knots.diagonal(), torch.tensor([-2.0, 2.0], dtype=F64)])
    parameters = torch.cat([parameters, parameters[:, :2]], 1).detach()
    found = []
    for step in (-1e-12, 0.0, 1e-12):  # what is continuous changes at a rate of up to 1e4
        at = (x + step).requires_grad_()
        free = parameters.clone().requires_grad_()
        y, log_slope = spline.forward(at, free)
        assert all(
            bool(torch.isfinite(g).all())
            for g in torch.autograd.grad(log_slope.sum(), (at, free), retain_graph=True)
        )
        found.append((y.detach(), log_slope.detach(), *torch.autograd.grad(y.sum(), (at, free))))
    for values in zip(*found, strict=True):
        inner = [value[..., :7] for value in values]
        torch.testing.assert_close(inner[0], inner[1], rtol=0, atol=1e-6)
        torch.testing.assert_close(inner[2], inner[1], rtol=0, atol=1e-6)


def test_a_share_that_does_not_move_the_corner_is_noticed(monkeypatch):
    from lfi_helpers.flows import splines

    right = splines._to_shares

    def wrong(grad, b, to_bin):
        right(grad, b, torch.cat([0 * to_bin[:2], to_bin[2:]]))

    monkeypatch.setattr(splines, "_to_shares", wrong)
    assert max(derivative_errors(8, True)) > 1e-2


def test_zero_parameters_give_the_identity():
    for tails in (True, False):
        spline = Spline(8, 3.0, tails)
        x = torch.linspace(-2.9, 2.9, 50, dtype=F64)
        y, log_slope = spline.forward(x, torch.zeros(spline.n_parameters, 50, dtype=F64))
        torch.testing.assert_close(y, x, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-12)


def test_spline_is_continuous_with_its_derivative_where_the_tails_begin():
    spline, n, step = Spline(8, 5.0, True), 50, 1e-9
    parameters = 2 * normal(spline.n_parameters, n)
    for edge, inwards in ((-5.0, step), (5.0, -step)):
        x = torch.full((n,), edge + inwards, dtype=F64)
        y, log_slope = spline.forward(x, parameters)
        b = _find_bin(x + spline.bound, parameters, spline, 0)
        (w, h), (outer, inner) = b.side, b.slope if edge < 0 else b.slope.flip(0)
        s = h / w
        assert (outer - 1).abs().max() < 1e-12
        # d log(s^2 N / D^2) / du at the end where the slope is one
        rate = (2 * s + 6 + 2 * (inner + 1) / s) / w
        assert bool((log_slope.abs() < 1.1 * step * rate).all())
        assert (y - x).abs().max() < step
    for far in (torch.linspace(5, 1e4, n), torch.full((n,), 1e30)):
        for x in (far, -far):
            for function in (spline.forward, spline.inverse):
                with torch.no_grad():
                    y, log_slope = function(x, parameters.float())
                assert torch.equal(y, x)
                assert torch.equal(log_slope, torch.zeros(n))


class ZukoSpline(MonotonicRQSTransform):
    """zuko's spline at our knots: its own evaluation, inverse and derivative."""

    def __init__(self, widths, heights, slopes):
        super().__init__(widths, heights, slopes)
        knots = []
        for logits in (widths, heights):
            bins = logits.shape[-1]
            shares = MIN_SHARE + (1 - MIN_SHARE * bins) * torch.softmax(logits, -1)
            knots += [10 * pad(shares.cumsum(-1), (1, 0)) - 5]
        self.horizontal, self.vertical = knots
        slopes = torch.nn.functional.softplus(slopes + UNIT_SLOPE) + MIN_SLOPE
        self.derivatives = pad(slopes, (1, 1), value=1.0)


def test_spline_agrees_with_zuko():
    spline, n = Spline(8, 5.0, True), 3000
    parameters = 2 * normal(spline.n_parameters, n)
    theirs = ZukoSpline(*parameters.mT.split([8, 8, 7], -1))
    x = 12 * uniform(n, seed=1) - 6
    for (got, log_slope), (expected, log_expected) in (
        (spline.forward(x, parameters), theirs.call_and_ladj(x)),
        (spline.inverse(x, parameters), theirs.inv.call_and_ladj(x)),
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(log_slope, log_expected, rtol=0, atol=1e-7)


def copy_to_zuko(flow, theirs, n_parameters):
    """Copy weights: zuko deals hidden units out to degrees in turn, we sort them by degree."""
    features = flow.features
    layers = [layer for layer in flow.layers if isinstance(layer, Autoregressive)]
    for number, (layer, transform) in enumerate(zip(layers, theirs, strict=True)):
        turn = torch.arange(features) if number % 2 == 0 else torch.arange(features).flip(0)
        inputs = torch.cat([turn, torch.arange(features, features + flow.context)])
        outputs = (turn * n_parameters + torch.arange(n_parameters)[:, None]).view(-1)
        hidden = torch.arange(24).view(-1, features).mT.reshape(-1)
        places = [inputs, hidden, hidden, outputs]
        linear = [part for part in transform.hyper if hasattr(part, "weight")]
        for i, part in enumerate(linear):
            weight, bias = layer.network.weights[i], layer.network.biases[i]
            with torch.no_grad():
                part.weight[places[i + 1][:, None], places[i]] = weight
                part.bias[places[i + 1]] = bias[:, 0]


@pytest.mark.parametrize("kind", ["maf", "nsf"])
def test_whole_flow_agrees_with_zuko_on_copied_weights(kind):
    shapes = {"maf": ((), ()), "nsf": ((8,), (8,), (7,))}[kind]
    flow = make(kind, features=4, context=3)
    univariate = {} if kind == "maf" else {"univariate": ZukoSpline, "shapes": shapes}
    with seeded(0):
        theirs = MAF(4, 3, transforms=3, hidden_features=(24, 24), **univariate).double()
    transforms = [t for t in theirs.modules() if isinstance(t, MaskedAutoregressiveTransform)]
    copy_to_zuko(flow, transforms, {"maf": 2, "nsf": 23}[kind])
    theta, c = 3 * normal(200, 4), normal(200, 3, seed=1)
    got, expected = flow(c).log_prob(theta), theirs(c).log_prob(theta)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


# ---- gradients and numerics ------------------------------------------------------------------


def gradients(flow, theta, context):
    flow.zero_grad()
    theta = theta.clone().requires_grad_()
    log_q = flow(context).log_prob(theta)
    log_q.sum().backward()
    return log_q, [theta.grad, *(p.grad for p in flow.parameters())]


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind, context):
    for where in ("plain", "box"):
        flow = make(kind, where, features=3, context=context)
        c = normal(64, context, seed=1) if context else None
        _, grads = gradients(flow, points(where, 64, 3).mT, c)
        for grad, (name, _) in zip(grads[1:], flow.named_parameters(), strict=True):
            assert grad is not None, f"{name} has no gradient"
            assert grad.numel() == 0 or bool((grad != 0).any()), f"{name} has no gradient but zero"


@pytest.mark.parametrize("where", ["plain", "standard", "normal"])
@pytest.mark.parametrize("kind", KINDS)
def test_tails_and_single_rows_are_finite_with_finite_gradients(kind, where):
    flow = make(kind, where).float()
    far = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [6.0, -6.0], [5.0, 5.0]])
    for theta in (far, far[:1], far[:3], torch.zeros(1, 2)):
        for context in (torch.zeros(3), torch.zeros(len(theta), 3), 1e3 * torch.ones(3)):
            log_q, grads = gradients(flow, theta, context)
            assert bool(torch.isfinite(log_q).all())
            assert all(bool(torch.isfinite(grad).all()) for grad in grads)
    flow.zero_grad()
    z = far.mT.clone().requires_grad_()  # and draws as far out
    theta, log_det = flow.from_base(z, torch.zeros(3, 1))
    (theta.sum() + log_det.sum()).backward()
    for values in (theta, log_det, z.grad, *(p.grad for p in flow.parameters())):
        assert bool(torch.isfinite(values).all())


def test_unmasked_tails_are_noticed(monkeypatch):
    """The where() that hides a NaN of the branch not taken: its gradient is NaN."""

    def textbook(self, x, parameters):
        w, h = (parameters[i * 8 : i * 8 + 8].softmax(0).cumsum(0) * 10 - 5 for i in (0, 1))
        root = torch.sqrt(25 - x * x) * (1 + 0 * w[0] + 0 * h[0] + 0 * parameters[16])
        inside = x.abs() < 5
        return torch.where(inside, root, x), torch.where(inside, 0 * root, 0.0)

    monkeypatch.setattr(Spline, "forward", textbook)
    log_q, grads = gradients(make("nsf").float(), torch.full((3, 2), 1e4), torch.zeros(3))
    assert bool(torch.isfinite(log_q).all())
    assert any(bool(torch.isnan(grad).any()) for grad in grads)


@pytest.mark.parametrize("where", ["plain", "box"])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_differentiable(kind, where):
    """Reparametrised draws against central differences, step 1e-6 in float64."""
    flow = make(kind, where, transforms=2)
    c = normal(3, 30, seed=1)
    z = flow.base_draws(0).new_tensor(0.8) * normal(2, 30, seed=2).clamp(-1.5, 1.5)
    weight = next(iter(flow.parameters()))

    def total():
        theta, log_det = flow.from_base(z, c)
        return theta.sum() + (theta * theta).sum() + log_det.sum()

    (grad,) = torch.autograd.grad(total(), weight)
    entry = divmod(int(grad.abs().argmax()), grad.shape[1])
    with torch.no_grad():
        values = []
        for step in (1e-6, -2e-6):
            weight[entry] += step
            values.append(float(total()))
    assert abs((values[0] - values[1]) / 2e-6 / float(grad[entry]) - 1) < 1e-4


def test_draws_come_with_their_density():
    for kind in KINDS:
        q = make(kind)(normal(4, 3))
        with seeded(0):
            theta, log_q = q.rsample_and_log_prob((5,))
        assert theta.shape == (5, 4, 2)
        torch.testing.assert_close(log_q, q.log_prob(theta), rtol=0, atol=1e-7)


def test_low_precision_networks_leave_the_bijections_exact():
    for kind in ("nsf", "maf", "realnvp"):
        flow = make(kind).float()
        theta, c = normal(2, 20, dtype=torch.float32), normal(3, 20, seed=1, dtype=torch.float32)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            log_q = flow(c.mT).log_prob(theta.mT)
            theta = draw(flow(c.mT), 2, generator(0))
        assert log_q.dtype == theta.dtype == torch.float32
        torch.testing.assert_close(log_q, log_q.clamp(-60, 20))


# ---- the Distribution ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_broadcast_and_rows_do_not_mix(kind):
    flow = make(kind)
    c, theta = normal(4, 3), normal(5, 4, 2, seed=1)
    q = flow(c)
    assert (q.batch_shape, q.event_shape) == ((4,), (2,))
    assert draw(q, 7, generator(0)).shape == (7, 4, 2)
    assert draw(flow(c[:1]), 5, generator(0)).shape == (5, 1, 2)
    assert draw(flow(c[:0]), 5, generator(0)).shape == (5, 0, 2)
    with seeded(0):
        assert flow(c[0]).sample((2, 3)).shape == (2, 3, 2)
        assert flow(c[0]).sample().shape == (2,)
    assert flow(c[:0]).log_prob(theta[0, :0]).shape == (0,)
    log_q = q.log_prob(theta)
    assert log_q.shape == (5, 4)
    one_by_one = [[flow(c[j]).log_prob(theta[i, j]) for j in range(4)] for i in range(5)]
    expected = torch.stack([torch.stack(row) for row in one_by_one])
    torch.testing.assert_close(log_q, expected, rtol=0, atol=1e-10)
    wide = flow(c[0]).expand((5, 4))
    torch.testing.assert_close(
        wide.log_prob(theta), flow(c[0]).log_prob(theta), rtol=0, atol=1e-10
    )


def test_embedding_is_applied_to_the_context():
    x = 5 + 3 * normal(50, 3, dtype=torch.float32)
    embedding = Standardise(x)
    theta = normal(50, 2, dtype=torch.float32)
    got = Flow(2, 3, embedding=embedding)(x).log_prob(theta)
    torch.testing.assert_close(got, Flow(2, 3)(embedding(x)).log_prob(theta), rtol=0, atol=0)


def test_seed_alone_decides_weights_and_draws():
    def weights(seed):
        return torch.cat([p.detach().flatten() for p in Flow(3, 2, seed=seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    q = make("nsf")(torch.zeros(3))
    assert torch.equal(draw(q, 9, generator(4)), draw(q, 9, generator(4)))
    assert not torch.equal(draw(q, 9, generator(4)), draw(q, 9, generator(5)))


@pytest.mark.parametrize("where", COORDINATES)
@pytest.mark.parametrize("kind", KINDS)
def test_device_is_always_the_flows(kind, where, same_when_poisoned):
    theta, c = points(where, 6, 2).mT.float(), normal(6, 3, dtype=torch.float32)
    place = COORDINATES[where](2)

    def compute():
        flow = Flow(2, 3, kind, coordinates=place, transforms=2, hidden=(8,))
        log_q = flow(c).log_prob(theta)
        log_q.sum().backward()
        grads = torch.cat([p.grad.flatten() for p in flow.parameters()])
        return (
            log_q.detach(),
            grads,
            draw(flow(c), 3, generator(0)),
            draw(flow(c[0]), 3, generator(0)),
        )

    same_when_poisoned(compute)


def test_weights_and_coordinates_survive_saving():
    theta, c = points("box", 9, 2).mT, normal(9, 3)
    for kind in KINDS:
        old, new = make(kind, "box"), make(kind, "box", seed=1)
        new.coordinates.low.mul_(2)
        new.load_state_dict(old.state_dict())
        assert torch.equal(old(c).log_prob(theta), new(c).log_prob(theta))


# ---- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Flow(0), ValueError, "features: expected an integer >= 1, got 0"),
        (lambda: Flow(2.0), TypeError, "features: expected an integer, got 2.0"),
        (lambda: Flow(2, -1), ValueError, "context: expected an integer >= 0"),
        (lambda: Flow(2, bins=1), ValueError, "bins: expected an integer >= 2"),
        (lambda: Flow(2, transforms=0), ValueError, "transforms: expected"),
        (lambda: Flow(2, hidden=(8, 0)), ValueError, r"hidden\[1\]: expected"),
        (lambda: Flow(2, hidden=64), TypeError, "hidden: expected widths"),
        (lambda: Flow(2, kind="realnpv"), ValueError, "did you mean realnvp"),
        (lambda: Flow(2, 3)(), ValueError, r"context: expected \(\.\.\., 3\), got None"),
        (lambda: Flow(2)(torch.zeros(3)), ValueError, r"context: expected None, got \(3,\)"),
        (lambda: Flow(2, 3)(torch.zeros(4)), ValueError, r"context: expected shape \(\.\.\., 3\)"),
        (lambda: Flow(2)().log_prob(torch.zeros(5)), ValueError, r"theta: .* \(\.\.\., 2\), got"),
        (lambda: Flow(2)().log_prob("ab"), TypeError, "theta: expected a tensor"),
        (
            lambda: Flow(2)().log_prob(torch.zeros(2, device="meta")),
            ValueError,
            "theta: expected device cpu, got meta",
        ),
        (lambda: Flow(2)().expand((3,)), ValueError, "batch_shape: expected"),
        (
            lambda: Flow(2, coordinates=BoxCoordinates(torch.zeros(3), torch.ones(3))),
            ValueError,
            "coordinates: expected 2 features, got 3",
        ),
        (lambda: BoxCoordinates([0.0, 1.0], [1.0, 1.0]), ValueError, "low and high: expected"),
        (lambda: BoxCoordinates([0.0, math.nan], [1.0, 1.0]), ValueError, "low: expected finite"),
        (lambda: StandardCoordinates(torch.zeros(3)), ValueError, "theta: expected shape"),
        (
            lambda: prior_coordinates(Independent(Gamma(torch.ones(2), torch.ones(2)), 1)),
            ValueError,
            "prior: expected Independent",
        ),
    ],
)
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


# ---- wrong implementations are rejected ------------------------------------------------------


def test_a_flipped_log_det_is_noticed(monkeypatch):
    for elementwise, kind in ((Spline, "nsf"), (Affine, "maf")):
        right = elementwise.forward

        def flipped(self, x, parameters, right=right):
            y, log_slope = right(self, x, parameters)
            return y, -log_slope

        monkeypatch.setattr(elementwise, "forward", flipped)
        flow = make(kind)
        assert log_det_error(flow, points("plain", 16, 2), normal(3, 16, seed=2)) > 1e-3
        assert abs(integral(flow, "plain", normal(3, seed=4)) - 1) > 1e-3


@pytest.mark.parametrize("where", ["standard", "box", "log-normal"])
def test_a_missing_jacobian_of_the_coordinates_is_noticed(where, monkeypatch):
    place = type(COORDINATES[where](2))
    right = place.forward
    monkeypatch.setattr(place, "forward", lambda self, t: (right(self, t)[0], torch.zeros(())))
    assert abs(integral(make("maf", where, context=0), where, None) - 1) > 1e-3


def test_an_inverse_that_takes_the_wrong_bin_is_noticed(monkeypatch):
    from lfi_helpers.flows import splines

    def wrong(t, parameters, spline, axis):
        return _find_bin(t, parameters, spline, 0)

    monkeypatch.setattr(splines, "_find_bin", wrong)
    with torch.no_grad():
        assert round_trip_error(make("nsf"), points("plain", 50, 2), normal(3, 50)) > 1e-3


def test_a_coupling_that_transforms_nothing_is_noticed(monkeypatch):
    right = Coupling.inverse
    monkeypatch.setattr(Coupling, "inverse", lambda self, z, c: (z, right(self, z, c)[1]))
    with torch.no_grad():
        flow = make("nsf_coupling")
        assert round_trip_error(flow, points("plain", 50, 2), normal(3, 50)) > 1e-3


def test_a_flow_without_the_box_leaks():
    """What the support test would see if the coordinates did not bound theta."""
    flow = make("nsf", "plain", coordinates=StandardCoordinates(points("box", 500, 2).mT))
    theta = draw(flow(torch.zeros(3, dtype=F64)), 4000, generator(1))
    assert not bool(torch.isfinite(box_prior(2).log_prob(theta)).all())
