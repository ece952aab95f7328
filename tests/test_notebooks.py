"""The whole course at teaching scale: every notebook runs, and runs the same way twice.

Results go to ``build/``, so that what a preceding ``make course`` has run is not run again.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfi_helpers.course.notebooks import alt_text, find, read, source
from lfi_helpers.course.results import load
from lfi_helpers.course.watch import environment

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build"
COURSE = find(ROOT / "notebooks")
QUICK_CPU_S = 20
BARS = ("it/s]", "s/it]", "%|")
pytestmark = pytest.mark.timeout(2 * 3600)


@pytest.fixture(scope="module")
def run():
    """Run the course once; return what the runner said."""
    command = [sys.executable, "-m", "lfi_helpers.course", "run", "--workers", "2", "--seed", "0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stderr
    return result


def executed(notebook):
    """Return the executed copy of a notebook."""
    return read(OUT / "executed" / notebook.path.name)


@pytest.mark.parametrize("notebook", COURSE, ids=lambda notebook: notebook.number)
def test_notebook_runs_and_its_claims_hold(run, notebook):
    record = load(OUT, notebook.number)
    assert record["status"] == "ok", f"{record['reason']}\n{record['failure']}"


def test_runner_agrees(run):
    assert run.returncode == 0, run.stdout[-4000:]
    claims = json.loads((OUT / "claims.json").read_text())
    assert list(claims["notebooks"]) == [notebook.number for notebook in COURSE]


def faults(notebook):
    """List what must not stand in an executed copy that people read."""
    found = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            images = [mime for mime in output.get("data", {}) if mime.startswith("image/")]
            if images and not alt_text(cell):
                found.append(f"{cell['id']}: a picture without alt text")
            if output["output_type"] == "error":
                found.append(f"{cell['id']}: a traceback")
            if output.get("name") == "stderr":
                found.append(f"{cell['id']}: a warning: {output['text']}")
            text = json.dumps(output)
            if "Warning:" in text:
                found.append(f"{cell['id']}: a warning in the output")
            if any(bar in text for bar in BARS):
                found.append(f"{cell['id']}: a frozen progress bar")
    if str(ROOT) in json.dumps(notebook):
        found.append("the folder of this checkout")
    return found


@pytest.mark.parametrize("notebook", COURSE, ids=lambda notebook: notebook.number)
def test_executed_copy_is_fit_to_read(run, notebook):
    assert faults(executed(notebook)) == []


STREAM = {"output_type": "stream", "name": "stdout"}
PLANTED = {
    "a picture without": {"output_type": "display_data", "data": {"image/png": "x"}},
    "a traceback": {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
    "a warning: ": {**STREAM, "name": "stderr", "text": "careful"},
    "a warning in": {**STREAM, "text": "UserWarning: careful"},
    "a frozen": {**STREAM, "text": "  0%|      | 0/600 [00:00<?, ?it/s]"},
    "the folder of": {**STREAM, "text": f"{ROOT}/x.py"},
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_in_a_copy_is_found(fault):
    cell = {"id": "c", "metadata": {}, "outputs": [PLANTED[fault]]}
    found = faults({"cells": [cell]})
    assert len(found) == 1
    assert fault in found[0]


def execute_again(folder, *copies):
    """Execute copies again with nbval, which compares every printed number with the stored one.

    nbval keeps no history, without which IPython does not know that a semicolon at the end of a
    cell silences it: there, ``None`` says the same.
    """
    for copy in copies:
        notebook = read(copy)
        for cell in notebook["cells"]:
            if source(cell).endswith(";"):
                cell["source"] = f"{source(cell)}\nNone"
        (folder / copy.name).write_text(json.dumps(notebook))
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-c", "pytest.ini", "--nbval", "--nbval-current-env", "-q", "--color=no"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(copy.name for copy in copies)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_same_seed_same_numbers(run, tmp_path):
    quick = [n for n in COURSE if load(OUT, n.number)["cpu_s"] < QUICK_CPU_S]
    copies = [OUT / "executed" / notebook.path.name for notebook in quick]
    again = execute_again(tmp_path, *copies)
    assert again.returncode == 0, again.stdout[-6000:]


def test_other_numbers_are_noticed(tmp_path):
    stored = {"outputs": [{**STREAM, "text": "4\n"}], "metadata": {}, "execution_count": 1}
    cells = [
        {"cell_type": "code", "id": id, "source": source, **stored}
        for id, source in (("same", "print(2 + 2)"), ("other", "print(2 + 3)"))
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "copies").mkdir()
    copy = tmp_path / "copies" / "copy.ipynb"
    copy.write_text(json.dumps(notebook))
    again = execute_again(tmp_path, copy)
    assert again.returncode == 1
    assert "1 failed, 1 passed" in again.stdout
