"""One classifier for all theta, against exact ratios of Gaussians; leaked theta is seen."""

import pytest
import torch

from lfi_helpers.classifiers import ThetaNetwork, borrow_theta, fit_parametrised, ratio_and_score
from lfi_helpers.classifiers import parametrised as module
from lfi_helpers.run import generator

N = 40_000
SETTINGS = {"hidden": (32, 32), "max_epochs": 8, "device": "cpu", "progress": False}


def gaussians(n, seed):
    """Return theta ~ U(-2, 2)^2, x ~ N(theta, 1) at each, and draws of N(0, 1)."""
    hand = generator(seed)
    theta = 4 * torch.rand(n, 2, generator=hand) - 2
    x0, x1 = (torch.randn(n, 2, generator=hand) for _ in range(2))
    return theta, theta + x0, x1


def exact(theta, x):
    return (theta * x).sum(1) - theta.square().sum(1) / 2


def relative_error(ratio, seed=1):
    """Mean squared error of log r over its variance, on theta and x of the numerator."""
    theta, x, _ = gaussians(20_000, seed)
    theta, x = 0.95 * theta, x - 0.05 * theta
    truth = exact(theta, x)
    return ((ratio(theta, x) - truth).square().mean() / truth.var()).item()


@pytest.fixture(scope="module")
def learned():
    return {kind: fit_parametrised(*gaussians(N, 0), kind=kind, **SETTINGS) for kind in KINDS}


KINDS = ("bilinear", "mlp")


@pytest.mark.parametrize("kind", KINDS)
def test_one_network_learns_the_ratio_of_every_theta(learned, kind):
    assert relative_error(learned[kind]) < 0.02


def test_theta_that_gives_the_label_away_spoils_the_ratio(monkeypatch):
    """The background's theta is drawn from half of the range only."""

    def half(theta, n, generator):
        return borrow_theta(theta[theta[:, 0] < 0], n, generator)

    monkeypatch.setattr(module, "borrow_theta", half)
    assert relative_error(fit_parametrised(*gaussians(N, 0), **SETTINGS)) > 0.1


def test_unequal_samples_add_no_prior_odds(monkeypatch):
    theta, x0, x1 = gaussians(N, 2)
    few = fit_parametrised(theta, x0, x1[: N // 4], **SETTINGS)
    at = torch.zeros(1, 2).expand(2000, 2)  # numerator and denominator are the same here
    assert few(at, x1[:2000]).mean().abs() < 0.1
    plain = module.carl_loss
    monkeypatch.setattr(module, "carl_loss", lambda f, label, weight: plain(f, label))
    odd = fit_parametrised(theta, x0, x1[: N // 4], **SETTINGS)
    assert odd(at, x1[:2000]).mean() > 1.2  # log 4


def test_borrowed_theta_are_those_of_the_numerator_each_equally_often():
    theta = torch.arange(10.0)[:, None]
    borrowed = borrow_theta(theta, 37, generator(3))
    assert borrowed.shape == (37, 1)
    times = torch.bincount(borrowed[:, 0].long(), minlength=10)
    assert times.min() == 3 and times.max() == 4
    assert not torch.equal(borrowed[:10], theta)  # in another order
    assert torch.equal(borrowed, borrow_theta(theta, 37, generator(3)))
    assert not torch.equal(borrowed, borrow_theta(theta, 37, generator(4)))


def test_the_table_holds_every_event_at_every_theta(learned):
    theta, x, _ = gaussians(7, 4)
    for ratio in learned.values():
        table = ratio.table(theta[:3], x)
        assert table.shape == (3, 7)
        for g in range(3):
            alone = ratio(theta[g].expand(7, 2), x)
            torch.testing.assert_close(table[g], alone)


def test_the_bilinear_network_is_what_it_says():
    theta, x, _ = gaussians(50, 5)
    network = ThetaNetwork(theta, x, "bilinear", (8,), 0)
    a = network.of_x(network.standard_x(x))
    b = network.of_theta(network.standard_theta(theta))
    by_hand = torch.stack([row @ other[:-1] + other[-1] for row, other in zip(a, b, strict=True)])
    torch.testing.assert_close(network(theta, x), by_hand)
    other = ThetaNetwork(theta, x, "bilinear", (8,), 1)
    assert not torch.allclose(network(theta, x), other(theta, x))


def peak(table, grid):
    """Return where the parabola through the three summed curves has its top."""
    low, mid, high = table.sum(1).tolist()
    step = (grid[2] - grid[1])[0].item()
    return grid[1, 0].item() + step * (high - low) / (2 * (2 * mid - low - high))


def test_a_calibration_at_every_theta_repairs_a_distorted_network(learned):
    """One number, added per theta, shifts the maximum of a likelihood; Platt takes it away."""
    ratio = learned["bilinear"]
    x = torch.tensor([0.5, 0.5]) + torch.randn(400, 2, generator=generator(6))
    grid = torch.tensor([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]])
    truth = peak(torch.stack([exact(row.expand(400, 2), x) for row in grid]), grid)

    def fresh(at):
        return at + torch.randn(20_000, 2, generator=generator(7))  # the same noise everywhere

    def off_by(error):
        distorted = type(ratio)(Distorted(ratio.module, error), ratio.low, ratio.high)
        raw = distorted.table(grid, x)
        repaired = distorted.calibrated_table(grid, x, fresh, fresh(torch.zeros(2)) * -1)
        return [abs(peak(t, grid) - truth) / 0.05 for t in (raw, repaired)]  # in sigma

    raw, repaired = off_by(0.2)
    assert raw > 2  # the slope 0.2 per event moves the maximum by 0.2: four sigma
    assert repaired < 0.75


def test_calibration_against_a_neighbour_gives_the_ratio_to_it(learned):
    """The network adds half of theta_1 to every log-ratio; the pair's truth is known."""
    ratio, at, near = learned["bilinear"], torch.tensor([[0.6, 0.2]]), torch.tensor([0.2, 0.4])
    x, noise = torch.randn(400, 2, generator=generator(8)), generator(7)

    def draw(theta):
        return theta + torch.randn(20_000, 2, generator=noise)

    distorted = type(ratio)(Distorted(ratio.module, 0.5), ratio.low, ratio.high)
    truth = exact(at.expand(400, 2), x) - exact(near.expand(400, 2), x)
    kinds = {"right": near, "only the numerator's ratio": None}
    error = [
        distorted.calibrated_table(at, x, draw, draw(near), theta_ref=other)[0] - truth
        for other in kinds.values()
    ]
    right, wrong = (e.square().mean().sqrt() / truth.std() for e in error)
    assert right < 0.15
    assert wrong > 0.3


class Distorted(torch.nn.Module):
    """Adds error * theta_1 to every log-ratio."""

    def __init__(self, module, error):
        super().__init__()
        self.module, self.error = module, error

    def forward(self, theta, x):
        return self.module(theta, x) + self.error * theta[:, 0]


def test_the_score_of_the_network_can_be_taken(learned):
    theta, x, _ = gaussians(2000, 8)
    _, score = ratio_and_score(learned["bilinear"].module, theta, x)
    truth = x - theta
    assert (score.detach() - truth).square().mean() / truth.var() < 0.1


def test_theta_outside_the_range_is_refused(learned):
    ratio, x = learned["mlp"], torch.zeros(1, 2)
    ratio(torch.tensor([[2.01, -2.01]]), x)  # a margin of one per cent
    for theta in ([[2.1, 0.0]], [[0.0, -5.0]]):
        with pytest.raises(ValueError, match="theta: expected values between .* 1 outside, the f"):
            ratio(torch.tensor(theta), x)
        with pytest.raises(ValueError, match="theta: expected values between"):
            ratio.table(torch.tensor(theta), x)


def test_training_leans_on_no_default_device(same_when_poisoned):
    theta, x0, x1 = gaussians(60, 9)

    def train():
        ratio = fit_parametrised(theta, x0, x1, max_epochs=1, device="cpu", progress=False)
        return ratio.table(theta[:4], x1)

    same_when_poisoned(train)


def test_an_interrupted_training_goes_on(monkeypatch, tmp_path):
    """The folder of a finished training gives the same network, and no step is taken again."""
    rows, settings = gaussians(60, 10), SETTINGS | {"max_epochs": 2, "checkpoint": tmp_path}
    theta, _, x1 = rows
    once = fit_parametrised(*rows, **settings)

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "carl_loss", broken)
    with pytest.raises(KeyboardInterrupt):
        fit_parametrised(*rows, **settings | {"checkpoint": None})
    again = fit_parametrised(*rows, **settings)
    assert torch.equal(again(theta, x1), once(theta, x1))


ONES = torch.ones(20, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fit_parametrised(ONES[:5], ONES, ONES), "theta and x0: expected equally many"),
        (lambda: fit_parametrised(ONES, ONES, ONES[:, :1]), r"x1: expected shape \(N, 2\)"),
        (lambda: fit_parametrised(ONES, ONES, ONES[:4]), "at least 10 rows each, got 20, 4"),
        (lambda: fit_parametrised(ONES, ONES / 0, ONES), "x0: expected finite numbers"),
        (lambda: fit_parametrised(ONES, ONES, ONES, kind="deep"), "kind: expected one of"),
        (lambda: borrow_theta(ONES[:, 0], 3), r"theta: expected shape \(N, L\)"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
