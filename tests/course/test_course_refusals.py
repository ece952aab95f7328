"""What is refused before anything runs, and requests that make no sense."""

import json
import subprocess
import sys

import pytest

from lfi_helpers.course import results, schedule
from lfi_helpers.course.cli import main
from lfi_helpers.course.notebooks import UsageError, find, select
from lfi_helpers.course.progress import Progress
from lfi_helpers.course.refusals import refusals
from lfi_helpers.course.results import Request

ASKED = {"SCALE": "teaching", "SEED": 0}
OTHER = {"name": "lampe", "display_name": "lampe", "language": "python"}


def planted(tiny, fault):
    """Return a good notebook with one fault, as a dict or as text."""
    good = 'SCALE = "teaching"\nSEED = 0'
    if fault == "stored outputs":
        notebook = tiny()
        notebook["cells"][-1]["execution_count"] = 3
        return notebook
    if fault == "no id":
        notebook = tiny()
        del notebook["cells"][1]["id"]
        return notebook
    if fault == "wrong cell":
        notebook = tiny()
        notebook["cells"][1]["cell_type"] = "prose"
        return notebook
    return {
        "none": lambda: tiny(),
        "typo": lambda: tiny(parameters=('SCLAE = "teaching"\nSEED = 0',)),
        "no seed": lambda: tiny(parameters=('SCALE = "teaching"',)),
        "second cell": lambda: tiny(parameters=(good, good)),
        "no cell": lambda: tiny(good, parameters=()),
        "derived": lambda: tiny(parameters=(good + "\nN = 2 * SEED",)),
        "not python": lambda: tiny(parameters=("SCALE = ",)),
        "kernel": lambda: tiny(kernel=OTHER),
        "no kernel": lambda: tiny(kernel={}),
        "torn file": lambda: '{"cells": [',
        "other json": lambda: '["cells"]',
    }[fault]()


REFUSED = {
    "none": [],
    "typo": [
        "unknown parameter SCALE: the parameters cell defines SCLAE, SEED; is SCLAE misspelt"
    ],
    "no seed": ["unknown parameter SEED: the parameters cell defines SCALE"],
    "second cell": ["parameters: expected exactly one cell with this tag, got 2"],
    "no cell": ["parameters: expected exactly one cell with this tag, got 0"],
    "derived": ["parameters: expected lines NAME = literal, got 'N = 2 * SEED'"],
    "not python": ["parameters: expected lines NAME = literal, got invalid syntax"],
    "stored outputs": ["stored outputs: expected none, got some in cells check-headline"],
    "kernel": ["kernel: expected 'python3', got 'lampe'"],
    "no kernel": ["not a valid notebook: 'name' is a required property"],
    "torn file": ["01_try.ipynb: expected a notebook, got Expecting value"],
    "other json": ["01_try.ipynb: expected a notebook, got no list of cells"],
    "no id": ["not a valid notebook: Cell is missing an id field"],
    "wrong cell": ["not a valid notebook: "],
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refusals_name_the_reason(tmp_path, tiny, write, fault):
    write(tmp_path, {"01_try.ipynb": planted(tiny, fault)})
    reasons = refusals(tmp_path / "01_try.ipynb", ASKED)
    assert len(reasons) == len(REFUSED[fault]), reasons
    for reason, beginning in zip(reasons, REFUSED[fault], strict=True):
        assert reason.startswith(beginning)


def test_refused_notebooks_are_never_executed_and_do_not_stop_the_others(
    tmp_path, tiny, write, monkeypatch
):
    folder = write(
        tmp_path / "notebooks",
        {
            "01_tear.ipynb": planted(tiny, "torn file"),
            "02_misspell.ipynb": planted(tiny, "typo"),
            "03_change_kernel.ipynb": planted(tiny, "kernel"),
        },
    )
    monkeypatch.setattr(schedule, "watch", lambda *_: pytest.fail("it was executed"))
    notebooks = find(folder)
    request = Request(tmp_path / "build")
    records = schedule.run(notebooks, notebooks, request, Progress(live=False))
    assert [record["status"] for record in records] == ["refused"] * 3
    claims = json.loads((tmp_path / "build" / "claims.json").read_text())
    assert list(claims["notebooks"]) == ["01", "02", "03"]


@pytest.fixture
def folder(tmp_path, tiny, write):
    names = ("00_start.ipynb", "30_learn_a_ratio.ipynb", "31_calibrate.ipynb")
    return write(tmp_path / "notebooks", {name: tiny() for name in names})


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ([], ["00", "30", "31"]),
        (["31", "00"], ["00", "31"]),
        (["30_learn_a_ratio.ipynb", "30"], ["30"]),
        (["notebooks/31_calibrate.ipynb", "30_learn_a_ratio"], ["30", "31"]),
    ],
)
def test_notebooks_are_chosen_by_number_or_file_name(folder, wanted, numbers):
    assert [notebook.number for notebook in select(find(folder), wanted)] == numbers


@pytest.mark.parametrize(
    ("wanted", "close"),
    [("3O", r"30"), ("32", r"3[01]"), ("30_lern_a_ratio", r"30_learn_a_ratio")],
)
def test_unknown_notebook_names_the_known_and_the_close_ones(folder, wanted, close):
    message = rf"notebook: expected one of 00, 30, 31, got '{wanted}' \(close: .*{close}"
    with pytest.raises(UsageError, match=message):
        select(find(folder), [wanted])


def test_two_notebooks_with_one_number_are_refused(folder, tiny, write):
    write(folder, {"30_learn_it_again.ipynb": tiny()})
    with pytest.raises(
        UsageError, match=r"one file per number, got 30_learn_a_.* and 30_learn_it"
    ):
        find(folder)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"expected files NN_verb_phrase\.ipynb in .*, got none"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "77"], "notebook: expected one of 00, 30, 31, got '77'"),
        (["run", "--out", "file"], "out: expected a folder that can be written, got "),
        (["run", "--out", "file/below"], "out: expected a folder that can be written, got "),
        (["report", "--out", "nowhere"], "out: expected the results of a run, got none in "),
        (["list", "--notebooks", "nowhere"], "notebooks: expected files NN_verb_phrase.ipynb"),
    ],
)
def test_usage_errors_exit_with_two_before_anything_runs(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "file").write_text("")
    monkeypatch.setattr(schedule, "watch", lambda *_: pytest.fail("it was executed"))
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "ful"], "argument --scale: invalid choice: 'ful'"),
        (["--seed", "-1"], "argument --seed: expected an integer in [0, 2**63), got '-1'"),
        (["--seed", str(2**63)], "argument --seed: expected an integer in [0, 2**63), got "),
        (["--workers", "0"], "argument --workers: expected an integer >= 1, got '0'"),
    ],
)
def test_wrong_options_exit_with_two(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(SystemExit) as error:
        main(["run", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_output_folder_is_held_by_one_run(folder):
    out = folder.parent / "build"
    results.prepare(out)
    notebooks = find(folder)
    with schedule._alone(out), pytest.raises(UsageError, match="another run is writing to"):
        schedule.run(notebooks, notebooks, Request(out), Progress(live=False))


def test_list_is_quick_and_imports_nothing_heavy(folder):
    heavy = {"torch", "papermill", "nbconvert", "nbformat", "pandas", "psutil", "numpy"}
    program = (
        "import sys\n"
        "from lfi_helpers.course.cli import main\n"
        "main(['list', '--notebooks', sys.argv[1]])\n"
        f"sys.exit(' '.join({heavy!r} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "30  Try the runner  (30_learn_a_ratio.ipynb)" in result.stdout
