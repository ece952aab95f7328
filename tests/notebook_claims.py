"""Run a notebook's cells in a namespace, and note which of its claims hold there."""

from pathlib import Path

import matplotlib.pyplot as plt

from lfi_helpers.checks import ClaimFailed, check
from lfi_helpers.course.notebooks import read, source

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


class Judge:
    """Stand in for ``check``: note which claims hold, stop at none."""

    def __init__(self):
        self.holds = {}

    def __call__(self, claim, value, **bounds):
        try:
            check(claim, value, **bounds)
        except ClaimFailed:
            self.holds[claim] = False
        else:
            self.holds[claim] = True


def cells(name):
    """Return the code of each cell of a notebook, by its id."""
    code = [cell for cell in read(NOTEBOOKS / name)["cells"] if cell["cell_type"] == "code"]
    return {cell["id"]: source(cell) for cell in code}


def run(names, text, space):
    """Execute cells in a namespace and return what became of their claims."""
    judge = Judge()
    for name in names:
        space["check"] = judge  # again for each cell: one of them imports the real one
        exec(compile(text[name], name, "exec"), space)
        plt.close("all")
    return judge.holds
