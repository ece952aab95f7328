"""What a notebook shows of another library runs, and does what the notebook says it does."""

import math

import pytest
import torch
from notebook_claims import NOTEBOOKS
from traced_programs import detector, gaussian

from lfi_helpers.course.notebooks import read, source
from lfi_helpers.decisions.landscapes import BRANIN_BOX, branin
from lfi_helpers.inference.compilation import compile_program
from lfi_helpers.inference.importance import Weighted
from lfi_helpers.inference.tracing import Recorder
from lfi_helpers.run import generator, seeded

Z = 4.42  # two-sided, false alarm 1e-5


def last_lines(name):
    """Return the lines that the last cell of a notebook shows."""
    return source(read(NOTEBOOKS / name)["cells"][-1]).split("```python")[1].split("```")[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, inside the peer
def test_the_lines_of_notebook_22_propose_the_best_point_in_botorch():
    x = torch.rand(12, 2, generator=generator(0), dtype=torch.float64)
    low, high = torch.tensor(BRANIN_BOX, dtype=torch.float64).T
    y = torch.tensor([[branin(at)] for at in (low + (high - low) * x).numpy()]).double()
    space = {"torch": torch, "x": x, "y": y, "D": 2}
    with seeded(0):
        exec(last_lines("22_optimise_step_by_step.ipynb"), space)
    new, acquisition = space["new"], space["acquisition"]
    assert new.shape == (1, 2) and (new >= 0).all() and (new <= 1).all()
    elsewhere = torch.rand(256, 1, 2, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():
        assert acquisition(new[None]) >= acquisition(elsewhere).max()


def plain(rng):
    """The program of notebook 23 without its loop."""
    mu = rng.normal(1.0, math.sqrt(5))
    detector(rng, mu)
    return mu


def moments(weighted):
    """Return log evidence and posterior mean, each with its standard error."""
    w, mu = torch.softmax(weighted.log_weight, 0), weighted.theta[:, 0]
    mean = w @ mu
    error = (w**2 * (mu - mean) ** 2).sum().sqrt()
    return (weighted.log_evidence, weighted.log_evidence_error), (float(mean), float(error))


def test_the_lines_of_notebook_23_compile_the_same_inference_in_pyro():
    """Equal weights run by run; equal evidence and mean, ours through the rejection loop."""
    import pyro

    space = {"torch": torch, "pyro": pyro, "dist": pyro.distributions}
    with seeded(0):
        exec(last_lines("23_trace_a_program.ipynb"), space)
    posterior, log_weight = space["posterior"], torch.stack(space["posterior"].log_weights)
    mus = torch.stack([t.nodes["mu"]["value"] for t in posterior.exec_traces]).detach().double()
    middle, log_width = space["net"](torch.tensor([8.0, 9.0]) / 5).detach().double()
    log_q = torch.distributions.Normal(5 * middle, log_width.exp()).log_prob(mus)
    recorder = Recorder(plain, {"detector": [8.0, 9.0]})
    for theirs, mu, q in zip(log_weight.tolist(), mus.tolist(), log_q.tolist(), strict=True):
        trace = recorder.run(lambda address, family, rng, drawn=(mu, q): drawn)
        assert trace.log_weight == pytest.approx(theirs, abs=1e-4)

    pyro_found = moments(Weighted(mus[:, None], log_weight.double()))
    compiled = compile_program(
        gaussian, {"detector": [8.0, 9.0]}, n_traces=8000, n_steps=60, seed=2, progress=False
    )
    ours = moments(compiled.sample({"detector": [8.0, 9.0]}, 4000, seed=3))
    quadratic = 15**2 / 24 + 1**2 / 4  # of the readings' sum and of their difference
    exact = -math.log(2 * math.pi) - 0.5 * math.log(24) - 0.5 * quadratic, 7.25
    for (a, error_a), (b, error_b), truth in zip(pyro_found, ours, exact, strict=True):
        assert abs(a - truth) < Z * error_a
        assert abs(b - truth) < Z * error_b
        assert abs(a - b) < Z * math.hypot(error_a, error_b)
    pyro.clear_param_store()
