"""fit(): it finds the minimum, restores the best weights, stops, and reports divergence."""

import numpy as np
import pytest
import torch
from torch import nn

from lfi_helpers.networks import mlp
from lfi_helpers.run import generator
from lfi_helpers.training import History, TrainingDiverged, fit


def linear_problem(n=2000, width=3):
    g = generator(0)
    x = torch.randn(n, width, generator=g)
    y = x @ torch.tensor([1.0, -2.0, 0.5])[:width] + 0.3 + 0.1 * torch.randn(n, generator=g)
    return x, y


def squared_error(module, batch):
    x, y = batch
    return (module(x)[:, 0] - y).square().mean()


def quiet(**settings):
    return {"progress": False, "device": "cpu", "batch_size": 100} | settings


def test_a_linear_fit_is_the_least_squares_solution():
    x, y = linear_problem()
    module = mlp(3, 1, hidden=())
    fit(
        module,
        squared_error,
        (x, y),
        **quiet(max_epochs=60, learning_rate=0.05, seed=1, validation_fraction=0),
    )
    design = np.column_stack([x.numpy(), np.ones(len(x))])
    exact = np.linalg.lstsq(design, y.numpy(), rcond=None)[0]
    found = [*module[0].weight[0].tolist(), module[0].bias.item()]
    # The minimum is determined to the noise / sqrt(N) = 2e-3; a cosine schedule ends well inside.
    np.testing.assert_allclose(found, exact, atol=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_every_schedule_lowers_the_loss_to_the_noise(schedule):
    history = fit(
        mlp(3, 1, hidden=()),
        squared_error,
        linear_problem(),
        **quiet(max_epochs=40, learning_rate=0.05, schedule=schedule),
    )
    assert history.best_loss == pytest.approx(0.01, rel=0.5)  # 200 held-out noises: 5 sigma


def test_the_best_weights_are_restored_not_the_last():
    x, y = linear_problem(60)
    module = mlp(3, 1, hidden=(64,))
    history = fit(
        module,
        squared_error,
        (x, torch.randn(60, generator=generator(5))),
        **quiet(max_epochs=150, learning_rate=0.05, batch_size=20, validation_fraction=0.5),
    )
    order = torch.randperm(60, generator=generator(0))
    x_held = x[order[:30]], torch.randn(60, generator=generator(5))[order[:30]]
    with torch.no_grad():
        assert squared_error(module, x_held).item() == pytest.approx(history.best_loss, rel=1e-5)
    assert history.best_loss == min(history.validation_loss)
    assert history.validation_loss[-1] > 1.2 * history.best_loss, (
        "the problem must overfit to tell"
    )
    assert history.best_step == history.step[int(np.argmin(history.validation_loss))]


def test_without_held_out_rows_the_last_weights_stay():
    """The training loss of an epoch is luck: here it rises at the end, and must not decide."""
    x, _ = linear_problem(200)
    module, weights = mlp(3, 1, ()), []

    def loss(module, x):
        weights.append([p.detach().clone() for p in module.parameters()])
        return module(x).mean() * (-1 if len(weights) < 5 else 1)  # first down, then up

    history = fit(module, loss, x, **quiet(max_epochs=5, validation_fraction=0))
    assert history.best_step == history.step[-1]
    assert not any(all(map(torch.equal, module.parameters(), seen)) for seen in weights)


def test_held_out_rows_are_never_trained_on():
    """Each row is its own parameter: those held out keep their start value of zero."""
    table = nn.Embedding(100, 1, _weight=torch.zeros(100, 1))
    rows = torch.arange(100)
    fit(
        table,
        lambda m, r: (m(r)[:, 0] - 1).square().mean(),
        rows,
        **quiet(max_epochs=3, batch_size=10, validation_fraction=0.2, learning_rate=0.1),
    )
    assert int((table.weight == 0).sum()) == 20


def test_patience_stops_and_says_so():
    history = fit(
        mlp(3, 1),
        squared_error,
        linear_problem(200),
        **quiet(max_epochs=500, patience=5, learning_rate=0.01, schedule="constant"),
    )
    assert history.stopped_early
    assert len(history.step) < 500
    assert len(history.validation_loss) - 1 - int(np.argmin(history.validation_loss)) == 5


def judged_by(losses, **settings):
    """Return the history of a run whose held-out loss in epoch k is losses[k]."""
    module, epochs = mlp(1, 1, ()), iter(losses)

    def loss(module, x):
        told = module(x).sum() * 0
        return told + (0.0 if torch.is_grad_enabled() else next(epochs))

    return fit(module, loss, torch.zeros(20, 1), **quiet(max_epochs=len(losses), **settings))


def test_gains_below_min_delta_do_not_count_but_are_kept():
    slow = [1.0, 0.5, 0.47, 0.44, 0.41, 0.38, 0.35, 0.32]  # .03 an epoch
    history = judged_by(slow, patience=2, min_delta=0.1)
    assert history.validation_loss == pytest.approx(slow[:4])  # .5, then two that gain .06
    assert history.stopped_early and history.best_loss == pytest.approx(0.44)
    assert len(judged_by(slow, patience=4, min_delta=0.1).step) == 8  # gains add up: .12 counts
    assert len(judged_by(slow, patience=2).step) == 8


def test_max_steps_counts_gradient_steps():
    calls = []

    def loss(module, batch):
        calls.append(torch.is_grad_enabled())
        return squared_error(module, batch)

    history = fit(mlp(3, 1), loss, linear_problem(1000), **quiet(max_steps=25))
    assert sum(calls) == history.step[-1] == 25


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    def weights(seed):
        module = nn.Sequential(mlp(3, 8, seed=0), nn.Dropout(0.5), mlp(8, 1, ()))
        fit(module, squared_error, linear_problem(), **quiet(max_epochs=2, seed=seed))
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    first, again, other = weights(0), weights(0), weights(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fit_does_not_lean_on_the_default_device(same_when_poisoned):
    def compute():
        module = mlp(3, 1)
        history = fit(module, squared_error, data, **quiet(max_epochs=2))
        return [p.detach() for p in module.parameters()] + [
            torch.tensor(history.train_loss, device="cpu")
        ]

    data = linear_problem()
    same_when_poisoned(compute)


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_divergence_is_named_and_the_best_weights_are_kept(schedule):
    x, y = linear_problem()
    module = mlp(3, 1, hidden=())

    def loss(module, batch):
        value = squared_error(module, batch)
        return value * torch.nan if value < 0.5 else value

    with pytest.raises(
        TrainingDiverged, match="diverged at step .*learning rate .*last finite"
    ) as caught:
        fit(module, loss, (x, y), **quiet(max_epochs=50, learning_rate=0.05, schedule=schedule))
    assert caught.value.step > 0 and np.isfinite(caught.value.last_loss)
    assert caught.value.learning_rate > 0
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_huge_learning_rate_diverges_by_name():
    x, y = linear_problem()
    with pytest.raises(TrainingDiverged):
        fit(
            mlp(3, 1, (32,), activation="relu"),
            squared_error,
            (x * 1e8, y * 1e15),
            **quiet(max_epochs=20, learning_rate=1e12),
        )


def test_data_is_not_changed():
    x, y = linear_problem()
    copies = x.clone(), y.clone()
    fit(mlp(3, 1), squared_error, (x, y), **quiet(max_epochs=1))
    assert torch.equal(x, copies[0]) and torch.equal(y, copies[1])


def test_a_single_tensor_arrives_as_a_tensor():
    history = fit(
        mlp(3, 1), lambda m, x: m(x).square().mean(), linear_problem()[0], **quiet(max_epochs=1)
    )
    assert isinstance(history, History)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "max_steps and max_epochs: expected exactly one, got None and None"),
        ({"max_steps": 1, "max_epochs": 1}, "expected exactly one, got 1 and 1"),
        ({"max_steps": 0}, "max_steps: expected an integer >= 1, got 0"),
        ({"max_epochs": 1, "batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"max_epochs": 1, "patience": 0}, "patience: expected an integer >= 1"),
        ({"max_epochs": 1, "min_delta": -0.1}, "min_delta: expected a finite number >= 0, got -0"),
        ({"max_epochs": 1, "min_delta": float("nan")}, "min_delta: expected a finite number"),
        ({"max_epochs": 1, "patience": 1, "validation_fraction": 0}, "patience: .*held-out rows"),
        ({"max_epochs": 1, "learning_rate": 0.0}, "learning_rate: expected a number > 0"),
        ({"max_epochs": 1, "schedule": "cosin"}, "schedule: .*did you mean cosine"),
        ({"max_epochs": 1, "validation_fraction": 1.0}, "validation_fraction: expected 0 <="),
        ({"max_epochs": 1, "device": "tpu9"}, "device: expected 'auto'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(mlp(3, 1), squared_error, linear_problem(50), **quiet(**settings))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((torch.zeros(3, 3), torch.zeros(4)), ValueError, "expected equally many rows"),
        ((), ValueError, "data: expected at least one tensor"),
        (
            (np.zeros(3), torch.zeros(3)),
            TypeError,
            "data: expected tensors, got ndarray at place 0",
        ),
        ((torch.zeros(0, 3), torch.zeros(0)), ValueError, "data: expected"),
        ((torch.zeros(2, 3), torch.zeros(2)), ValueError, "enough rows to hold some out, got 2"),
    ],
)
def test_bad_data_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        fit(mlp(3, 1), squared_error, data, **quiet(max_epochs=1))


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_accumulated_parts_take_the_same_step_as_the_whole_batch(parts):
    def weights(accumulate):
        module = mlp(3, 1)
        fit(module, squared_error, linear_problem(), **quiet(max_epochs=1, accumulate=accumulate))
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    torch.testing.assert_close(weights(parts), weights(1), rtol=1e-3, atol=1e-5)


def test_a_clipped_gradient_has_the_norm_asked_for():
    norms = []

    def loss(module, batch):
        norms.append(module[0].weight.grad)
        return 1e3 * squared_error(module, batch)

    module = mlp(3, 1, ())
    fit(module, loss, linear_problem(), **quiet(max_steps=1, gradient_clip=0.5))
    total = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
    assert total.item() == pytest.approx(0.5, rel=1e-4)


def weights_after(steps, **settings):
    module = mlp(3, 1, ())
    constant = {"schedule": "constant", "validation_fraction": 0, "learning_rate": 0.05}
    fit(module, squared_error, linear_problem(), **quiet(max_steps=steps, **constant, **settings))
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def running_mean(average, steps):
    mean = weights_after(1)
    for k in range(2, steps + 1):
        mean = mean + max(1 - average, 1 / k) * (weights_after(k) - mean)
    return mean


def test_the_running_mean_of_the_weights_is_kept():
    """Step by step the same weights: averaging changes what is kept, not the path."""
    for average in (0.5, 0.9):
        kept = weights_after(12, average=average)
        torch.testing.assert_close(kept, running_mean(average, 12))
    assert (kept - weights_after(12)).abs().max() > 1e-2
    assert (kept - running_mean(0.5, 12)).abs().max() > 1e-2  # the test could have failed


def test_the_mean_is_what_is_judged():
    """A rate so large that the weights jump about: their mean is closer to the minimum."""
    losses = {}
    for average in (None, 0.99):
        history = fit(
            mlp(3, 1, ()),
            squared_error,
            linear_problem(),
            **quiet(max_steps=400, learning_rate=1.0, schedule="constant", average=average)
            | {"batch_size": 4},
        )
        losses[average] = history.validation_loss[-1]
    assert losses[0.99] < losses[None] / 2


def test_mixed_precision_finds_the_same_minimum():
    history = fit(
        mlp(3, 1, ()),
        squared_error,
        linear_problem(),
        **quiet(max_epochs=40, learning_rate=0.05, precision="bf16-mixed"),
    )
    assert history.best_loss < 0.03  # the noise is 0.01, the data's variance 5
