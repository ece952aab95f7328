"""Galton board against enumeration of every path, closed forms and its own exact likelihood."""

from itertools import product
from math import exp, log, pi, sin

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import Simulator, galton, load
from lfi_helpers.simulators.galton import Galton

THETA_0, THETA_1 = -0.8, -0.6
SMALL_BOARDS = [(2, 2, 0), (4, 5, 2), (6, 3, 1), (6, 4, 0), (8, 5, 4), (10, 9, 4)]
ALARM = 1e-5  # probability that one statistical test fails although all is right


def column(value, n=1, dtype=torch.float64):
    return torch.full((n, 1), value, dtype=dtype)


def nails_met(steps, start, n_nails):
    """Follow a list of L and R through the board by the rules in words; None if it leaves it."""
    at, met = start, []
    for row, step in enumerate(steps):
        met.append(at)
        if row % 2 == 0:
            at = at if step == "L" else at + 1
        elif (at == 0 and step == "L") or (at == n_nails and step == "R"):
            return None  # the outermost nails of an odd row push inwards
        else:
            at = at - 1 if step == "L" else at
    return [*met, at]


def path_log_prob(met, theta, n_rows, n_nails):
    """Sum log P over the nails of one path, one scalar at a time."""
    total = 0.0
    for row in range(n_rows):
        here, there = met[row], met[row + 1]
        left = there == here if row % 2 == 0 else there == here - 1
        if row % 2 == 1 and here in (0, n_nails):
            continue  # a push with certainty
        f = sin(pi * row / (n_rows - 1))
        p = (1 - f) / 2 + f / (1 + exp(-10 * theta * (2 * here / (n_nails - 1) - 1)))
        total += log(p if left else 1 - p)
    return total


def enumerate_paths(theta, n_rows, n_nails, start):
    """List (final position, probability) of all 2^R paths."""
    walks = (nails_met(steps, start, n_nails) for steps in product("LR", repeat=n_rows))
    return [(met[-1], exp(path_log_prob(met, theta, n_rows, n_nails))) for met in walks if met]


def enumeration_error(board, theta):
    """Largest difference between pmf and the sum over all paths."""
    totals = np.zeros(board.n_nails)
    for x, p in enumerate_paths(theta, board.n_rows, board.n_nails, board.start):
        totals[x] += p
    return float(np.abs(board.pmf(column(theta))[0].numpy() - totals).max())


def chi2_excess(sampler, exact, theta, seed):
    """Chi2 of sampled counts against the exact pmf, over its critical value."""
    x = sampler.sample(theta, generator(seed))[:, 0].numpy().astype(int)
    seen = np.bincount(x, minlength=exact.n_nails)
    wanted = exact.pmf(theta).double().sum(0).numpy()
    if seen[wanted == 0].any():
        return np.inf
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    tail = wanted < 10  # Pearson's statistic needs filled cells: pool the others
    seen = np.append(seen[~tail], seen[tail].sum())
    wanted = np.append(wanted[~tail], wanted[tail].sum())
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    return ((seen - wanted) ** 2 / wanted).sum() / stats.chi2.isf(ALARM, len(wanted) - 1)


def worst_bin(x, values, truth):
    """Largest |mean - truth| in standard errors over bins of x, over its critical value."""
    z = []
    for k in x.unique():
        inside = x == k
        if inside.sum() >= 1000:  # enough for the central limit theorem
            v = values[inside]
            z.append(((v.mean() - truth[inside][0]) / (v.std() / len(v) ** 0.5)).abs().item())
    return max(z) / stats.norm.isf(ALARM / 2 / len(z))


def gold_excess(miner, exact, seed, n=200_000):
    """Joint score and joint ratio against the exact ones, per bin: two excesses."""
    at, ref = column(THETA_0, n), column(THETA_1, n)
    gold = miner.mine(at, ref, generator(seed))
    score = worst_bin(gold.x[:, 0], gold.joint_score[:, 0], exact.score(gold.x, at)[:, 0])
    inverse = (exact.log_prob(gold.x, ref) - exact.log_prob(gold.x, at)).exp()
    return score, worst_bin(gold.x[:, 0], (-gold.joint_log_ratio).exp(), inverse)


def fisher(board, theta):
    x = board.support.double()
    at = column(theta, len(x))
    return (board.log_prob(x, at).exp() * board.score(x, at)[:, 0].square()).sum().item()


# --- the exact distribution


@pytest.mark.parametrize("n_rows, n_nails, start", SMALL_BOARDS)
@pytest.mark.parametrize("theta", [-3.0, -0.8, 0.0, 0.55])
def test_dynamic_programme_is_the_sum_over_all_paths(n_rows, n_nails, start, theta):
    board = Galton(n_rows, n_nails, start)
    paths = enumerate_paths(theta, n_rows, n_nails, start)
    assert sum(p for _, p in paths) == pytest.approx(1, abs=1e-12)
    assert enumeration_error(board, theta) < 1e-12
    reached = sorted({x for x, _ in paths})
    assert board.support[:, 0].tolist() == reached


def test_pmf_sums_to_one_and_keeps_the_order_of_theta():
    board = load("galton")
    theta = 3 * torch.randn(500, 1, generator=generator(1), dtype=torch.float64)
    pmf = board.pmf(theta)
    assert pmf.shape == (500, 31)
    assert torch.allclose(pmf.sum(1), torch.ones(500, dtype=torch.float64), atol=1e-13, rtol=0)
    assert torch.equal(pmf[7:8], board.pmf(theta[7:8]))
    twice = torch.cat([theta, theta.flip(0)])
    assert torch.equal(board.pmf(twice), torch.cat([pmf, pmf.flip(0)]))
    many = theta[:3].repeat(1000, 1) + torch.arange(3000, dtype=torch.float64)[:, None] * 1e-5
    x = torch.full((3000, 1), 12.0)
    alone = torch.cat([board.log_prob(x[:1], row[None]) for row in many[::300]])
    assert torch.equal(board.log_prob(x, many)[::300], alone)  # several passes, one answer


def test_without_a_push_the_board_is_binomial():
    board = load("galton")
    wanted = stats.binom.pmf(np.arange(-5, 26), 20, 0.5)
    assert np.abs(board.pmf(column(0.0))[0].numpy() - wanted).max() < 1e-15


def test_published_numbers():
    board = load("galton")
    assert fisher(board, THETA_0) == pytest.approx(1.412, abs=5e-4)
    assert fisher(board, THETA_1) == pytest.approx(1.999, abs=5e-4)
    modes = {}
    for theta in (THETA_0, THETA_1):
        p = board.pmf(column(theta))[0]
        modes[theta] = int(((p[1:-1] > p[:-2]) & (p[1:-1] > p[2:])).sum())
    assert modes == {THETA_0: 2, THETA_1: 1}


@pytest.mark.parametrize("board", [Galton(), Galton(6, 3, 1), Galton(8, 5, 4)])
@pytest.mark.parametrize("theta", [-1.1, THETA_0, 0.0, 0.4])
def test_score_is_the_derivative_and_has_mean_zero(board, theta):
    x, h = board.support, 1e-5
    at = column(theta, len(x))
    score = board.score(x, at)
    difference = (board.log_prob(x, at + h) - board.log_prob(x, at - h)) / (2 * h)
    assert (score[:, 0] - difference).abs().max() < 1e-8
    assert (board.log_prob(x, at).exp() * score[:, 0]).sum().abs() < 1e-13
    at.requires_grad_()
    (gradient,) = torch.autograd.grad(board.log_prob(x, at).sum(), at)
    assert torch.allclose(gradient, score, atol=1e-11, rtol=0)


def test_log_prob_outside_the_support():
    board = load("galton")
    x = torch.tensor([[-1.0], [4.0], [5.0], [12.5], [25.0], [26.0], [31.0], [1e9]])
    finite = torch.isfinite(board.log_prob(x, column(-0.8, len(x))))
    assert finite.tolist() == [False, False, True, False, True, False, False, False]
    assert (board.log_prob(x, column(-0.8, len(x)))[~finite] == -torch.inf).all()


def test_prior_covers_the_two_hypotheses():
    board = load("galton")
    assert isinstance(board, Simulator)
    log_density = board.prior.log_prob(torch.tensor([[THETA_0], [THETA_1], [0.0], [-1.3]]))
    assert torch.isfinite(log_density).tolist() == [True, True, False, False]


# --- simulation and gold


@pytest.mark.parametrize("theta", [-1.2, THETA_0, THETA_1, 0.3])
@pytest.mark.parametrize("board", [Galton(), Galton(8, 3, 1), Galton(10, 4, 0)])
def test_simulation_follows_the_exact_distribution(board, theta):
    assert chi2_excess(board, board, column(theta, 200_000, torch.float32), seed=2) < 1


def test_simulation_with_all_different_theta():
    board = load("galton")
    theta = torch.linspace(-1.2, -0.2, 100_000)[:, None]
    assert chi2_excess(board, board, theta, seed=3) < 1


def test_sample_paths_and_gold_are_the_same_balls():
    board = load("galton")
    theta, reference = column(THETA_0, 500), column(THETA_1, 500)
    x = board.sample(theta, generator(4))
    paths = board.paths(theta, generator(4))
    gold = board.mine(theta, reference, generator(4))
    assert x.shape == (500, 1) and x.dtype == torch.float64 and paths.shape == (500, 21)
    assert torch.equal(paths[:, -1:], x) and torch.equal(gold.x, x)
    assert (paths[:, 0] == 15).all()
    assert torch.equal(x, board.sample(theta, generator(4)))
    assert not torch.equal(x, board.sample(theta, generator(5)))


@pytest.mark.parametrize("board", [Galton(), Galton(8, 3, 1)])
def test_gold_of_each_path_is_a_sum_over_its_nails(board):
    size = board.n_rows, board.n_nails
    forward = board.mine(column(THETA_0, 200), column(THETA_1, 200), generator(6))
    backward = board.mine(column(THETA_1, 200), column(THETA_0, 200), generator(6))
    for theta, gold, sign in ((THETA_0, forward, 1), (THETA_1, backward, -1)):
        for i, met in enumerate(board.paths(column(theta, 200), generator(6)).tolist()):
            log_ratio = path_log_prob(met, THETA_0, *size) - path_log_prob(met, THETA_1, *size)
            assert gold.joint_log_ratio[i].item() == pytest.approx(sign * log_ratio, abs=1e-11)
            h = 1e-5
            ends = (path_log_prob(met, theta + s * h, *size) for s in (1, -1))
            score = (next(ends) - next(ends)) / (2 * h)
            assert gold.joint_score[i, 0].item() == pytest.approx(score, abs=1e-7)
    same = board.mine(column(THETA_0, 200), column(THETA_0, 200), generator(6))
    assert (same.joint_log_ratio == 0).all()


def worst_pair_of_steps(board):
    """Largest correlation of two steps of two neighbours, in standard errors over its limit."""
    paths = board.paths(column(0.0, 100_000), generator(15))  # without a push: fair coins
    steps = (paths.diff(dim=1) + torch.arange(board.n_rows) % 2).reshape(-1, 2 * board.n_rows)
    z = torch.corrcoef(steps.T).triu(1).abs().max().item() * len(steps) ** 0.5
    return z / stats.norm.isf(ALARM / 2 / (board.n_rows * (2 * board.n_rows - 1)))


def repeat_for_the_other_row(dice):
    dice[len(dice) // 2 :] = dice[: len(dice) // 2].clone()


def repeat_for_the_neighbour(dice):
    halves = dice.view(torch.int32)
    halves[1::2] = halves[::2].clone()


@pytest.mark.parametrize("repeat", [repeat_for_the_other_row, repeat_for_the_neighbour])
def test_steps_that_share_a_random_integer_are_independent(monkeypatch, repeat):
    assert worst_pair_of_steps(load("galton")) < 1
    random = torch.Tensor.random_

    def wrong(dice, *limits, **settings):
        repeat(random(dice, *limits, **settings))

    monkeypatch.setattr(torch.Tensor, "random_", wrong)
    assert worst_pair_of_steps(load("galton")) > 5


def test_blocks_of_balls_keep_their_theta(monkeypatch):
    board, theta = load("galton"), torch.linspace(-30.0, 30.0, 100)[:, None]
    monkeypatch.setattr(galton, "BLOCK", 16)
    gold = board.mine(theta, -theta, generator(16))
    assert torch.equal(board.sample(theta, generator(16)), gold.x)
    for i, met in enumerate(board.paths(theta, generator(16)).tolist()):
        at = theta[i].item()
        log_ratio = path_log_prob(met, at, 20, 31) - path_log_prob(met, -at, 20, 31)
        assert gold.joint_log_ratio[i].item() == pytest.approx(log_ratio, rel=1e-4, abs=1e-4)
    assert board.sample(theta[:0]).shape == (0, 1)


def test_gold_averages_to_the_exact_score_and_ratio():
    board = load("galton")
    score, ratio = gold_excess(board, board, seed=7)
    assert score < 1 and ratio < 1
    narrow = Galton(8, 5, 2)
    assert max(gold_excess(narrow, narrow, seed=8)) < 1


def test_gold_in_single_precision_is_the_same_gold():
    board = load("galton")
    theta = torch.linspace(-1.2, -0.2, 2000)[:, None]
    gold = board.mine(theta, theta.flip(0), generator(9))
    assert all(part.dtype == torch.float32 for part in gold)
    assert gold.joint_log_ratio.shape == (2000,) and gold.joint_score.shape == (2000, 1)
    size = board.n_rows, board.n_nails
    for met, at, ref, value in zip(
        board.paths(theta, generator(9)).tolist(),
        theta[:, 0].tolist(),
        theta.flip(0)[:, 0].tolist(),
        gold.joint_log_ratio.tolist(),
        strict=True,
    ):
        exact = path_log_prob(met, at, *size) - path_log_prob(met, ref, *size)
        assert value == pytest.approx(exact, abs=5e-5)


def steep_gold_error():
    """Largest relative error of the joint log-ratio of long, steep walks, in single precision."""
    board, theta = Galton(n_rows=200), column(-40.0, 20, torch.float32)
    gold = board.mine(theta, -theta, generator(11))
    exact = torch.tensor(
        [
            path_log_prob(met, -40.0, 200, 31) - path_log_prob(met, 40.0, 200, 31)
            for met in board.paths(theta, generator(11)).tolist()
        ]
    )
    return ((gold.joint_log_ratio - exact) / exact).abs().max().item()


def test_products_of_steps_stay_in_range(monkeypatch):
    assert steep_gold_error() < 1e-3
    monkeypatch.setattr(galton, "FACTORS", 200)  # one logarithm at the end
    assert not steep_gold_error() < 1e-3


def test_simulation_and_gold_carry_no_gradient():
    board, theta = load("galton"), column(THETA_0, 5)
    gold = board.mine(theta, theta, generator(12))
    theta.requires_grad_()
    again = board.mine(theta, theta, generator(12))
    assert all(torch.equal(a, b) and not b.requires_grad for a, b in zip(gold, again, strict=True))
    assert not board.sample(theta, generator(12)).requires_grad


# --- the same judges reject boards built wrongly


class OddRowsSwapped(Galton):
    """Left and right exchanged on odd rows."""

    def left_probability(self, theta, row, nail, slope=True):
        left, change = super().left_probability(theta, row, nail)
        inner = (nail != 0) & (nail != self.n_nails)
        if row % 2:
            left, change = torch.where(inner, 1 - left, left), -change
        return left, change


class Published(Galton):
    """The slope of the published text: sigmoid(5 theta (z - 1/2))."""

    def left_probability(self, theta, row, nail, slope=True):
        left, change = super().left_probability(theta / 4, row, nail)
        return left, change / 4


class OpenEdges(Galton):
    """The outermost nails of odd rows push like all others: balls leave the board."""

    def left_probability(self, theta, row, nail, slope=True):
        pushed = super().left_probability(theta, row, nail)
        if row % 2 == 0:
            return pushed
        f = sin(pi * row / (self.n_rows - 1))
        push = 10.0 * (2 * nail / (self.n_nails - 1) - 1)
        s = torch.sigmoid(theta * push)
        return (1 - f) / 2 + f * s, f * push * s * (1 - s)


class ScoreElsewhere(Galton):
    """Mines the joint score at the reference instead of at theta."""

    def mine(self, theta, theta_ref, generator=None):
        state = generator.get_state()
        gold = super().mine(theta, theta_ref, generator)
        paths = super().paths(theta, generator.set_state(state))
        score = torch.zeros_like(theta[:, 0])
        for row in range(self.n_rows):
            nail = paths[:, row]
            left, slope = self.left_probability(theta_ref[:, 0], row, nail)
            goes_left = paths[:, row + 1] < nail + (1 - row % 2)
            score += torch.where(goes_left, slope / left, -slope / (1 - left))
        return gold._replace(joint_score=score[:, None])


class RatioUpsideDown(Galton):
    """Mines log p(theta_ref) / p(theta)."""

    def mine(self, theta, theta_ref, generator=None):
        gold = super().mine(theta, theta_ref, generator)
        return gold._replace(joint_log_ratio=-gold.joint_log_ratio)


@pytest.mark.parametrize("wrong", [OddRowsSwapped, Published])
def test_wrong_steps_are_rejected(wrong):
    theta = column(THETA_0, 200_000, torch.float32)
    assert chi2_excess(wrong(), Galton(), theta, seed=2) > 5
    assert enumeration_error(wrong(8, 5, 4), THETA_0) > 1e-3
    assert abs(fisher(wrong(), THETA_0) - 1.412) > 0.05


def test_open_edges_are_rejected():
    assert enumeration_error(OpenEdges(6, 3, 1), THETA_0) > 1e-3
    assert OpenEdges(6, 3, 1).pmf(column(THETA_0)).sum() < 0.999
    assert enumeration_error(OpenEdges(6, 9, 4), THETA_0) < 1e-12  # no ball reaches the edge
    narrow, theta = OpenEdges(8, 3, 1), column(THETA_0, 50_000)
    x = narrow.sample(theta, generator(2))
    assert ((x < 0) | (x >= 3)).float().mean() > 0.01


def test_wrong_gold_is_rejected():
    score, ratio = gold_excess(ScoreElsewhere(), Galton(), seed=7)
    assert score > 5 and ratio < 1
    score, ratio = gold_excess(RatioUpsideDown(), Galton(), seed=7)
    assert score < 1 and ratio > 5


# --- contracts


def test_default_device_does_not_matter(same_when_poisoned):
    def everything():
        board = Galton()
        theta = torch.linspace(-1.1, -0.3, 50, device="cpu")[:, None]
        g = generator(10)
        gold = board.mine(theta, theta.flip(0), g)
        x = board.sample(theta, g)
        exact = [board.pmf(theta), board.log_prob(x, theta), board.score(x, theta)]
        return [*gold, x, board.paths(theta, g), *exact, board.support, draw(board.prior, 5, g)]

    same_when_poisoned(everything)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda b: b.sample(torch.zeros(5)), r"theta: expected shape \(N, 1\), got \(5,\)"),
        (lambda b: b.sample(torch.zeros(5, 2)), r"theta: expected shape \(N, 1\), got \(5, 2\)"),
        (lambda b: b.sample(torch.full((3, 1), torch.nan)), "theta: expected finite numbers"),
        (lambda b: b.mine(column(-0.8), torch.zeros(2, 1)), "theta and theta_ref: expected eq"),
        (lambda b: b.log_prob(torch.zeros(3), column(-0.8, 3)), r"x: expected shape \(N, 1\)"),
        (lambda b: b.log_prob(torch.zeros(3, 1), column(-0.8, 2)), "x and theta: expected equal"),
        (lambda b: b.log_prob(column(torch.nan), column(-0.8)), "x: expected finite numbers"),
        (lambda b: b.score(column(4.0), column(-0.8)), "x: expected positions 5 ... 25"),
        (lambda b: b.score(column(5.5), column(-0.8)), "x: expected positions 5 ... 25"),
        (lambda b: Galton(n_rows=5), "n_rows: expected an even number, got 5"),
        (lambda b: Galton(n_rows=0), "n_rows: expected an integer >= 2, got 0"),
        (lambda b: Galton(n_nails=1), "n_nails: expected an integer >= 2, got 1"),
        (lambda b: Galton(n_nails=2.5), "n_nails: expected an integer >= 2, got 2.5"),
        (lambda b: Galton(start=31), "start: expected a nail 0 ... 30, got 31"),
        (lambda b: Galton(start=-1), "start: expected an integer >= 0, got -1"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(load("galton"))
