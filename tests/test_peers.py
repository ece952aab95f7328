"""What a notebook shows of another library runs, and does what the notebook says it does."""

import pytest
import torch
from notebook_claims import NOTEBOOKS

from lfi_helpers.course.notebooks import read, source
from lfi_helpers.decisions.landscapes import BRANIN_BOX, branin
from lfi_helpers.run import generator, seeded


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, inside the peer
def test_the_lines_of_notebook_22_propose_the_best_point_in_botorch():
    cell = read(NOTEBOOKS / "22_optimise_step_by_step.ipynb")["cells"][-1]
    lines = source(cell).split("```python")[1].split("```")[0]
    x = torch.rand(12, 2, generator=generator(0), dtype=torch.float64)
    low, high = torch.tensor(BRANIN_BOX, dtype=torch.float64).T
    y = torch.tensor([[branin(at)] for at in (low + (high - low) * x).numpy()]).double()
    space = {"torch": torch, "x": x, "y": y, "D": 2}
    with seeded(0):
        exec(lines, space)
    new, acquisition = space["new"], space["acquisition"]
    assert new.shape == (1, 2) and (new >= 0).all() and (new <= 1).all()
    elsewhere = torch.rand(256, 1, 2, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():
        assert acquisition(new[None]) >= acquisition(elsewhere).max()
