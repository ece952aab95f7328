"""How a run is set up: seeds, streams, threads, devices."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lfi_helpers import run


def test_start_says_and_returns_what_was_asked(capsys):
    this = run.start("full", 7)
    assert (this.scale, this.seed) == ("full", 7)
    assert "scale full, seed 7" in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["Teaching", "smoke", "", None])
def test_start_refuses_an_unknown_scale(scale):
    with pytest.raises(ValueError, match=r"scale: expected one of .*teaching.*full.*, got"):
        run.start(scale)


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (-1, ValueError),
        (2**63, ValueError),
        (1.5, TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_start_refuses_a_bad_seed(seed, error):
    with pytest.raises(error, match="seed: expected"):
        run.start(seed=seed)


def test_start_refuses_an_unknown_device():
    with pytest.raises(ValueError, match="device: expected 'auto' or a torch device, got 'gpu9'"):
        run.start(device="gpu9")


def test_streams_are_reproducible_and_distinct():
    this = run.start()
    draws = [torch.rand(4, generator=this.generator(k)) for k in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], torch.rand(4, generator=run.generator(1, 0)))


def test_spawned_seeds_do_not_depend_on_how_many_are_asked_for():
    assert run.spawn_seeds(3, 5)[:2] == run.spawn_seeds(3, 2)
    assert len(set(run.spawn_seeds(3, 1000))) == 1000


def test_seeded_restores_the_global_state_also_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), run.seeded(1):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(before, torch.get_rng_state())


def test_threads_do_not_draw_from_each_others_seeds():
    """Torch's global state is one: without a lock, threads seed it under each other's hands."""
    normal = torch.distributions.Normal(torch.zeros(1000), 1.0)

    def work(seed):
        return [run.draw(normal, 20, run.generator(seed, k)) for k in range(20)]

    alone = [torch.stack(work(seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = [torch.stack(draws) for draws in pool.map(work, range(4))]
    assert all(map(torch.equal, alone, together))


def test_draw_gives_the_same_numbers_for_the_same_generator():
    normal = torch.distributions.Normal(torch.zeros(2), 1.0)
    a, b = (run.draw(normal, 5, run.generator(0)) for _ in range(2))
    assert torch.equal(a, b)
    generator = run.generator(0)
    first, second = (run.draw(normal, 5, generator) for _ in range(2))
    assert torch.equal(first, a)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_container_not_the_host(tmp_path, monkeypatch, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(run.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert run.cpu_limit(tmp_path) == (expected or 16)


def test_the_environment_may_set_the_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert run.set_threads() == torch.get_num_threads() == 1
    torch.set_num_threads(before)
