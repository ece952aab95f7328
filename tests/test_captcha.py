"""The captcha: every reading counted, a program that draws the same pictures, its proposals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lfi_helpers.inference.choices import EVEN_SHARE, ChoiceNet, compile_choices
from lfi_helpers.inference.errors import AddressChangedType
from lfi_helpers.inference.programs import importance_program
from lfi_helpers.inference.tracing import Recorder
from lfi_helpers.run import draw, generator
from lfi_helpers.simulators import load
from lfi_helpers.simulators.captcha import LETTERS, SIZES, Captcha, glyphs

ALARM = 1e-6  # probability that one statistical test fails although all is right
READINGS = math.prod(SIZES)
SMALL = 2, 3, 2  # another program's choices


@pytest.fixture(scope="module")
def captcha():
    return load("captcha")


def runs(captcha, n, seed):
    g = generator(seed)
    theta = draw(captcha.prior, n, g)
    return theta, captcha.sample(theta, g)


def canvas(x1, y1, c1, x2, y2, c2):
    """Draw the picture pixel by pixel."""
    font, picture = glyphs().numpy(), np.zeros((9, 14))
    for left, top, letter in ((x1, y1, c1), (x1 + 4 + x2, y2, c2)):
        for row in range(7):
            for column in range(5):
                if font[letter, row, column]:
                    picture[top + row, left + column] = 1
    return picture


def photograph(rng, picture):
    rng.normal(picture, 0.5)


def program(rng):
    x1, y1, c1 = rng.integers(3), rng.integers(3), rng.integers(26)
    x2, y2, c2 = rng.integers(4), rng.integers(3), rng.integers(26)
    photograph(rng, canvas(x1, y1, c1, x2, y2, c2))
    return x1, y1, c1, x2, y2, c2


def prior_log_weight(captcha, theta, x):
    return captcha.log_prob(x.expand(len(theta), -1), theta).double() - math.log(READINGS)


# --- the simulator


def test_the_font_has_26_different_letters():
    font = glyphs()
    assert font.shape == (len(LETTERS), 7, 5)
    assert float(torch.pdist(font.flatten(1), p=1).min()) >= 2
    assert bool((font.sum((1, 2)) >= 10).all())
    assert font[LETTERS.index("I"), 1].tolist() == [0, 0, 1, 0, 0]
    assert font[LETTERS.index("Z"), 6].tolist() == [1] * 5


def test_pictures_against_a_loop_over_pixels(captcha):
    theta = draw(captcha.prior, 60, generator(1))
    slow = [canvas(*row).ravel() for row in theta.long().tolist()]
    assert captcha.picture(theta).tolist() == np.array(slow).tolist()


def test_density_against_scipy(captcha):
    theta, x = runs(captcha, 5, 2)
    slow = [
        stats.norm(canvas(*row).ravel(), 0.5).logpdf(seen).sum()
        for row, seen in zip(theta.long().tolist(), x.double().numpy(), strict=True)
    ]
    assert captcha.log_prob(x.double(), theta).tolist() == pytest.approx(slow, abs=1e-9)


def test_every_reading_is_counted_once(captcha):
    readings = captcha.readings()
    assert readings.shape == (READINGS, 6) == (73_008, 6)
    assert len(readings.unique(dim=0)) == READINGS
    assert captcha.prior.log_prob(readings).exp().double().sum() == pytest.approx(1, abs=1e-5)
    _, x = runs(captcha, 3, 3)
    some = torch.randint(READINGS, (40,), generator=generator(4))
    joint = captcha.log_joint(x.double())
    for k in range(3):
        direct = prior_log_weight(captcha, readings[some], x[k].double())
        assert torch.allclose(joint[k, some], direct, atol=1e-9)


def test_the_posterior_is_calibrated(captcha):
    """The best string is right as often as it says: a sum of coins of known probabilities."""
    theta, x = runs(captcha, 150, 5)
    posterior = captcha.strings(captcha.log_joint(x).double().softmax(1), captcha.readings())
    assert posterior.sum(1).tolist() == pytest.approx([1] * 150)
    top, best = posterior.max(1)
    hits = (best == (26 * theta[:, 2] + theta[:, 5]).long()).double()
    pull = (hits - top).sum() / (top * (1 - top)).sum().sqrt()
    assert abs(pull) < 4.9  # two-sided 1e-6


def test_glimpses_are_cut_where_the_letter_is(captcha):
    theta = draw(captcha.prior, 20, generator(6))
    picture = captcha.picture(theta)
    for k, left, top in ((2, theta[:, 0], theta[:, 1]), (5, None, theta[:, 4])):
        left = theta[:, 0] + 4 + theta[:, 3] if left is None else left
        crops = captcha.glimpse(picture, theta[:, :k])
        for crop, image, column, row in zip(crops, picture, left.long(), top.long(), strict=True):
            square = image.reshape(9, 14)[row : row + 7, column : column + 5]
            assert crop.tolist() == square.flatten().tolist()
    assert captcha.glimpse(picture, theta[:, :3]).shape == (20, 0)


def test_bad_readings_are_refused(captcha):
    for bad in ([0, 0, 26, 0, 0, 0], [0, 0, 1.5, 0, 0, 0], [-1, 0, 0, 0, 0, 0]):
        with pytest.raises(ValueError, match="theta: expected whole numbers from 0, below"):
            captcha.sample(torch.tensor([bad]).float())
        assert captcha.prior.log_prob(torch.tensor([bad]).float()) == -math.inf
    with pytest.raises(ValueError, match="sigma"):
        Captcha(sigma=0.0)


# --- the program that draws it


def test_the_traced_program_has_the_law_of_the_simulator(captcha):
    """Choices by chi2, noise by Kolmogorov; given the choices the pictures are equal."""
    recorder = Recorder(program, {"photograph": [0.0] * 126}, 1)
    traces = [recorder.run(simulate=True) for _ in range(400)]
    theta = torch.tensor([t.result for t in traces]).float()
    means = [[d.family.loc for d in t.observed.values()] for t in traces]
    assert captcha.picture(theta).tolist() == means
    for column, size in zip(theta.T, SIZES, strict=True):
        counts = torch.bincount(column.long(), minlength=size)
        assert len(counts) == size
        assert stats.chisquare(counts).pvalue > ALARM
    seen = np.array([[d.value for d in t.observed.values()] for t in traces[:100]])
    assert stats.kstest((seen - np.array(means[:100])).ravel(), "norm", (0, 0.5)).pvalue > ALARM


def test_weights_of_the_traced_program_are_those_of_the_simulator(captcha):
    _, x = runs(captcha, 1, 7)
    got = importance_program(program, {"photograph": x[0]}, 50, seed=2)
    expected = prior_log_weight(captcha, got.theta, x.double()) + math.log(READINGS)
    assert torch.allclose(got.log_weight, expected, atol=1e-6)


# --- a network that proposes choices


def no_look(x, before):
    return x[:, :0]


def small_net(seed=1):
    return ChoiceNet(SMALL, 3, no_look, seed)


def all_rows(sizes=SMALL):
    return torch.cartesian_prod(*[torch.arange(n).float() for n in sizes])


def test_probabilities_of_all_choices_sum_to_one_and_have_a_floor():
    net, rows = small_net(), all_rows()
    log_q = net.log_prob(rows, torch.randn(1, 3, generator=generator(1)).expand(len(rows), -1))
    assert log_q.exp().sum() == pytest.approx(1, abs=1e-12)
    far = net.log_prob(rows, torch.full((len(rows), 3), 1e4))
    assert far.exp().sum() == pytest.approx(1, abs=1e-12)
    assert far.min() >= sum(math.log(EVEN_SHARE / n) for n in SMALL) - 1e-9


def test_proposals_have_their_probabilities():
    net, x = small_net(), torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.5, 0.0]])
    rows, log_q = net.propose(x, 6000, generator(2))
    assert rows.shape == (2, 6000, 3) and log_q.shape == (2, 6000)
    for k in range(2):
        again = net.log_prob(rows[k], x[k].expand(6000, -1))
        assert torch.allclose(again, log_q[k], atol=1e-6)
        q = net.log_prob(all_rows(), x[k].expand(12, -1)).exp()
        pair = (rows[k] @ torch.tensor([6.0, 2.0, 1.0])).long()
        counts = torch.bincount(pair, minlength=12).double()
        assert ((counts - 6000 * q) ** 2 / (6000 * q)).sum() < stats.chi2.isf(ALARM, 11)


def three(n, g):
    """Draw three choices and what is seen of them."""
    rows = all_rows()[torch.randint(12, (n,), generator=g)]
    return rows, seen_of(rows) + torch.randn(n, 3, generator=g)


def seen_of(rows):
    return torch.stack([2 * rows[:, 0], rows[:, 0] + rows[:, 1], rows[:, 1] * rows[:, 2]], 1)


def glance(rng, means):
    rng.normal(means, 1.0)


def small_program(rng):
    a, b, c = rng.integers(2), rng.integers(5, 8) - 5, rng.integers(2)
    glance(rng, [2.0 * a, a + b, b * c])
    return a, b, c, rng.random()


@pytest.fixture(scope="module")
def trained():
    return compile_choices(three, SMALL, no_look, n_steps=150, seed=3, progress=False)


def test_a_trained_network_finds_the_enumerated_posterior(trained):
    _, x = three(40, generator(8))
    rows = all_rows()
    square = ((x[:, None] - seen_of(rows)) ** 2).sum(2).double()
    exact = (-square / 2).softmax(1)
    q = torch.stack([trained.log_prob(rows, seen.expand(12, -1)).exp() for seen in x])
    assert (
        (q - exact).abs().sum(1) / 2
    ).mean() < 0.15  # .095 to .113 for ten seeds, .50 untrained
    start = ChoiceNet(SMALL, 3, no_look, 3)
    untrained = torch.stack([start.log_prob(rows, seen.expand(12, -1)).exp() for seen in x])
    assert ((untrained - exact).abs().sum(1) / 2).mean() > 0.3


def test_steering_a_program_gives_the_weights_of_the_vectorised_path(trained):
    """Also with a shifted range of whole numbers, and with a choice that is not the network's."""
    x = torch.tensor([1.5, 2.0, 0.3])
    recorder = Recorder(small_program, {"glance": x}, 1)
    *addresses, spare = recorder.run().draws
    assert len(addresses) == 3
    runs = [recorder.run(trained.steer(x, addresses)) for _ in range(5)]
    assert all(t.draws[spare].log_prob == t.draws[spare].log_proposal for t in runs)
    got = importance_program(
        small_program, {"glance": x}, 1200, propose=trained.steer(x, addresses), seed=2
    )
    theta = got.theta[:, :3].float()
    log_l = stats.norm(seen_of(theta), 1).logpdf(x).sum(1)
    log_q = trained.log_prob(theta, x.expand(1200, -1))
    assert torch.allclose(got.log_weight, torch.tensor(log_l) - math.log(12) - log_q, atol=1e-5)
    joint = stats.norm(seen_of(all_rows()), 1).logpdf(x).sum(1) - math.log(12)
    error = got.log_evidence - np.logaddexp.reduce(joint)
    assert abs(error) < 4.9 * got.log_evidence_error
    wrong = got.log_weight + log_q  # log q forgotten
    assert abs(torch.logsumexp(wrong, 0) - math.log(1200) - np.logaddexp.reduce(joint)) > 0.3


def test_a_choice_of_another_kind_is_refused(trained):
    def other(rng):
        return rng.integers(3), rng.integers(3), rng.integers(2)

    addresses = list(Recorder(other, {}, 1).run().draws)
    with pytest.raises(AddressChangedType, match="expected 2 whole numbers, got Integers"):
        importance_program(other, {}, 2, propose=trained.steer(torch.zeros(3), addresses))


def test_the_same_seed_gives_the_same_network(captcha, same_when_poisoned):
    def proposals():
        def sample(n, g):
            theta = draw(captcha.prior, n, g)
            return theta, captcha.sample(theta, g)

        net = compile_choices(sample, SIZES, captcha.glimpse, n_steps=2, progress=False)
        return net.propose(torch.ones(2, 126, device="cpu"), 5, generator(1))

    same_when_poisoned(proposals)
