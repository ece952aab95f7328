"""Run a notebook's cells in a namespace, and note which of its claims hold there."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

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


class NotebookClaims:
    """Every claim of a notebook holds, and fails under a wrong implementation that is named.

    A subclass says which notebook, and for each claim its fault: the cells to run again, the right
    text in one of them and the wrong text. The notebook itself runs once.
    """

    name: str
    faults: dict[str, tuple[list[str], str, str]]
    smaller: dict[str, str] = {}  # other sizes, that a unit test can afford
    left_out: tuple[str, ...] = ()  # cells that draw, at great cost
    more: dict[str, str] = {}  # cells that only faults run

    def pytest_generate_tests(self, metafunc):
        if "claim" in metafunc.fixturenames:
            metafunc.parametrize("claim", list(self.faults))

    @pytest.fixture(scope="class")
    @classmethod
    def ran(cls):
        """Run the notebook's cells; return them, their namespace and what became of the claims."""
        space, text = {}, cells(cls.name)
        for name in cls.left_out:
            del text[name]
        for old, new in cls.smaller.items():
            assert sum(old in cell for cell in text.values()) == 1, old
            text = {name: cell.replace(old, new) for name, cell in text.items()}
        holds = run(text, text, space)
        return text | cls.more, space, holds, {}

    def test_every_claim_of_the_notebook_holds_and_has_a_fault(self, ran):
        holds = ran[2]
        assert [claim for claim, ok in holds.items() if not ok] == []
        assert sorted(holds) == sorted(self.faults)

    def test_the_claim_fails_under_its_fault(self, claim, ran):
        text, space, _, known = ran
        again, right, wrong = self.faults[claim]
        assert any(right in text[name] for name in again), right
        fault = (*again, right, wrong)
        if fault not in known:  # a fault of several claims runs once
            broken = {name: text[name] for name in again}
            if right:
                broken = {name: cell.replace(right, wrong) for name, cell in broken.items()}
            known[fault] = run_and_restore(again, broken, space)
        assert known[fault][claim] is False


def run_and_restore(names, text, space):
    """Run cells like ``run``, then put the namespace and its tables back as they were."""
    before = dict(space)
    tables = {
        name: dict(value)
        for name, value in space.items()
        if isinstance(value, dict) and not name.startswith("__")
    }
    try:
        return run(names, text, space)
    finally:
        space.clear()
        space.update(before)
        for name, table in tables.items():
            space[name].clear()
            space[name].update(table)
