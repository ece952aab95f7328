"""The runner on good and on deliberately bad notebooks: each fails, for the right reason."""

import json
import os
import re
import subprocess
import sys
import threading

import pytest

from lfi_helpers.course import judge, results, schedule
from lfi_helpers.course.notebooks import find
from lfi_helpers.course.progress import Progress
from lfi_helpers.course.results import Request
from lfi_helpers.course.watch import Limits, Measured
from lfi_helpers.records import CLAIM_MIME, RUN_MIME

ALT = 'A <rising> line, "steep".'
FIGURE = {"mystnb": {"image": {"alt": ALT}}}
SETUP = 'publish(RUN_MIME, {"scale": SCALE, "seed": SEED}, "set up")'
SPAWN = "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)"
ENVIRONMENT = """
check("one thread", int(os.environ["OMP_NUM_THREADS"]), near=1, within=0)
check("bars are off", int(os.environ["TQDM_DISABLE"]), near=1, within=0)
check("hashes are fixed", int(os.environ["PYTHONHASHSEED"]), near=0, within=0)
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory, tiny, code_cell, write):
    """Run ten notebooks and refuse one, once, by the command line: (result, notebooks, out)."""
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    figure = code_cell("draw", draw, "figure", "headline", **FIGURE)
    folder = write(
        tmp_path_factory.mktemp("course") / "notebooks",
        {
            "01_go_well.ipynb": tiny(figure, SPAWN, check=ENVIRONMENT),
            "02_claim_falsely.ipynb": tiny(check='check("five", 2 + 2, near=5, within=0.5)'),
            "03_claim_nothing.ipynb": tiny(check=None),
            "04_fix_the_scale.ipynb": tiny(setup='SCALE = "full"\n' + SETUP),
            "05_raise.ipynb": tiny("x = 1\nx / 0"),
            "06_die.ipynb": tiny("os._exit(7)"),
            "07_lose_the_worker.ipynb": tiny("os.kill(os.getppid(), 9)\ntime.sleep(600)"),
            "08_claim_twice.ipynb": tiny('check("two and two", 4, below=5)'),
            "09_tell_nothing.ipynb": tiny(setup="pass"),
            "10_hide_it.ipynb": tiny(
                'try:\n    check("six", 4, near=6, within=0)\nexcept AssertionError:\n    pass'
            ),
            "11_misspell.ipynb": tiny(parameters=('SCLAE = "teaching"\nSEED = 0',)),
            "Untitled.ipynb": tiny(),
        },
    )
    result = run_course(folder, "--seed", "3")
    return result, folder, folder.parent / "build"


def run_course(folder, *arguments):
    """Run the command line in the folder above the notebooks."""
    return subprocess.run(
        [sys.executable, "-m", "lfi_helpers.course", "run", *arguments],
        cwd=folder.parent,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=400,
    )


WANTED = {
    "01": ("ok", r""),
    "02": ("failed", r"cell check-headline: ClaimFailed: NOT five = 4 \(want 5 \+- 0\.5\)"),
    "03": ("failed", r"no claim: .*"),
    "04": ("failed", r"run record: expected \{'scale': 'teaching', .* got \{'scale': 'full', .*"),
    "05": ("failed", r"cell body-0: ZeroDivisionError: division by zero"),
    "06": ("failed", r"cell body-0: nbclient\.exceptions\.DeadKernelError: Kernel died"),
    "07": ("failed", r"cell body-0: the worker ended with code -9"),
    "08": ("failed", r"cell check-headline: claim made twice: two and two"),
    "09": ("failed", r"no run record: call run\.start\(SCALE, SEED\)"),
    "10": ("failed", r"cell body-0: claim does not hold: six = 4\.0, wanted .*\"near\": 6\.0.*"),
    "11": ("refused", r"unknown parameter SCALE: .* SCLAE, SEED; is SCLAE misspelt\?"),
}


@pytest.mark.parametrize("number", WANTED)
def test_each_notebook_ends_as_it_must_and_for_the_right_reason(course, number):
    status, reason = WANTED[number]
    record = results.load(course[2], number)
    assert record["status"] == status
    assert re.fullmatch(reason, record["reason"]), record["reason"]


def test_exit_code_is_one_and_the_table_has_every_notebook(course):
    result = course[0]
    assert result.returncode == 1, result.stderr
    assert "passed over: Untitled.ipynb" in result.stdout
    table = result.stdout[result.stdout.index("NN ") :].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table] == ["NN", *WANTED]
    assert re.search(r"claims +CPU s +wall s +peak MB +slowest cell", table[0])
    assert re.search(r"ok +3/3 +\d+\.\d +\d+\.\d +\d+ +\S+ \d+\.\d s", table[1])


def test_failing_cell_is_shown_with_its_source_and_traceback_without_colours(course):
    shown = course[0].stdout
    assert "cell body-0:\nx = 1\nx / 0\n" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "\x1b[" not in shown
    copy = json.loads((course[2] / "executed" / "05_raise.ipynb").read_text())
    assert any(cell["id"] == "check-headline" for cell in copy["cells"]), "partial copy is kept"


def test_no_process_is_left_behind(course, left_behind):
    assert left_behind(course[1]) == []


def test_claims_file_has_the_documented_schema(course):
    claims = json.loads((course[2] / "claims.json").read_text())
    assert list(claims) == ["scale", "seed", "versions", "notebooks"]
    assert (claims["scale"], claims["seed"]) == ("teaching", 3)
    assert set(claims["versions"]) == {"python", "lfi_helpers", *results.LIBRARIES}
    assert list(claims["notebooks"]) == list(WANTED)
    for notebook in claims["notebooks"].values():
        assert list(notebook) == ["title", "status", "wall_s", "cpu_s", "peak_mb", "claims"]
    first = claims["notebooks"]["01"]["claims"][0]
    assert first == {
        "id": "01/one-thread",
        "claim": "one thread",
        "value": 1.0,
        "near": 1.0,
        "within": 0.0,
        "below": None,
        "above": None,
        "ok": True,
    }
    assert claims["notebooks"]["02"]["claims"][0]["ok"] is False


def test_measurements_cover_the_kernel(course):
    record = results.load(course[2], "01")
    # Importing papermill and matplotlib alone takes above 1 CPU second and 100 MB.
    assert 1 < record["cpu_s"] < 60
    assert 100 < record["peak_mb"] < 1200
    assert record["wall_s"] > 1


def test_pages_carry_the_alt_text_and_the_index_links_them(course):
    from bs4 import BeautifulSoup

    out = course[2]
    page = BeautifulSoup((out / "executed" / "01_go_well.html").read_text(), "html.parser")
    assert [image["alt"] for image in page.find_all("img")] == [ALT]
    index = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    links = [a["href"] for a in index.select("table a")]
    assert "executed/01_go_well.html" in links
    assert "executed/05_raise.ipynb" in links
    assert all((out / link).exists() for link in links)


def test_executed_copy_names_no_folder_of_this_machine(course):
    text = (course[2] / "executed" / "01_go_well.ipynb").read_text()
    assert str(course[1].parent) not in text


def test_good_notebook_alone_exits_with_zero(course):
    again = run_course(course[1], "01", "--seed", "3")
    assert again.returncode == 0, again.stdout


def run_here(folder, out, limits=None, **settings):
    """Run the notebooks of a folder in this process; return their records by number."""
    notebooks = find(folder)
    request = Request(out, limits=limits, **settings)
    records = schedule.run(notebooks, notebooks, request, Progress(live=False))
    return {record["number"]: record for record in records}


def test_endless_notebook_is_ended_by_the_watchdog(tmp_path, tiny, write, left_behind):
    endless = tiny("while True:\n    time.sleep(0.01)")
    folder = write(tmp_path / "notebooks", {"01_never_end.ipynb": endless})
    record = run_here(folder, tmp_path / "build", Limits(wall_s=15))["01"]
    assert record["status"] == "timeout"
    assert re.match(r"stopped after 1\d s in (cell|the start)", record["reason"])
    assert 15 <= record["wall_s"] < 30
    assert left_behind(folder) == []


def test_memory_hog_breaks_the_budget_and_a_growing_one_is_ended(
    tmp_path, tiny, write, left_behind
):
    fat = "hog = b'x' * 350_000_000\ntime.sleep(0.5)"
    # It stops by itself at 1.5 GB: a watchdog that fails must not take the machine with it.
    growing = (
        "hog = []\nfor _ in range(30):\n    hog.append(b'x' * 50_000_000)\n    time.sleep(0.1)"
    )
    folder = write(
        tmp_path / "notebooks", {"01_eat.ipynb": tiny(fat), "02_eat_all.ipynb": tiny(growing)}
    )
    limits = Limits(wall_s=300, peak_bytes=4e8)
    records = run_here(folder, tmp_path / "build", limits)
    assert records["01"]["status"] == "failed"
    assert re.fullmatch(r"over budget: \d+ MB \(at most 400\)", records["01"]["reason"])
    assert all(claim["ok"] for claim in records["01"]["claims"])
    assert 400 < records["01"]["peak_mb"] < 800
    assert records["02"]["reason"].startswith("stopped in cell body-0: twice over the memory")
    assert left_behind(folder) == []


def executed(tmp_path, tiny, code_cell, *published):
    """Write an executed copy in which these (mime, record) were published."""
    notebook = tiny(check=None)
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {mime: record}}
        for mime, record in published
    ]
    notebook["cells"].append({**code_cell("check-it", "..."), "outputs": outputs})
    (tmp_path / "copy.ipynb").write_text(json.dumps(notebook))
    return tmp_path / "copy.ipynb"


CLAIM = {"near": None, "within": None, "below": 5.0, "above": None}


@pytest.mark.parametrize(
    ("cpu_s", "peak_bytes", "reason"),
    [
        (75.0, 1.2e9, ""),
        (75.1, 1.2e9, "over budget: 75.1 CPU s (at most 75)"),
        (1.0, 1.201e9, "over budget: 1201 MB (at most 1200)"),
    ],
)
def test_teaching_budget(tmp_path, tiny, code_cell, cpu_s, peak_bytes, reason):
    claim = {"claim": "four", "value": 4.0, **CLAIM, "ok": True}
    run = {"scale": "teaching", "seed": 0}
    copy = executed(tmp_path, tiny, code_cell, (RUN_MIME, run), (CLAIM_MIME, claim))
    measured = Measured(0, 9.0, cpu_s, peak_bytes, None)
    limits = results.LIMITS["teaching"]
    verdict = judge.judge("01", copy, {"SCALE": "teaching", "SEED": 0}, measured, limits)
    assert (verdict.status, verdict.reason) == ("failed" if reason else "ok", reason)


def test_value_that_is_not_finite_stays_readable(tmp_path, tiny, code_cell):
    claim = {"claim": "four", "value": "nan", **CLAIM, "ok": False}
    run = {"scale": "teaching", "seed": 0}
    copy = executed(tmp_path, tiny, code_cell, (RUN_MIME, run), (CLAIM_MIME, claim))
    measured = Measured(0, 9.0, 9.0, 1e8, None)
    limits = results.LIMITS["teaching"]
    verdict = judge.judge("01", copy, {"SCALE": "teaching", "SEED": 0}, measured, limits)
    assert (
        verdict.reason == 'cell check-it: claim does not hold: four = nan, wanted {"below": 5.0}'
    )
    assert verdict.claims[0]["value"] == "nan"


def test_copy_torn_by_a_kill_is_judged_as_a_failure(tmp_path):
    (tmp_path / "copy.ipynb").write_text('{"cells": [')
    measured = Measured(-9, 9.0, 9.0, 1e8, None)
    verdict = judge.judge("01", tmp_path / "copy.ipynb", {}, measured, Limits(600))
    assert (verdict.status, verdict.reason) == (
        "failed",
        "the start: the worker ended with code -9",
    )


def test_progress_is_live_on_a_terminal_and_plain_elsewhere(capsys):
    for live, expected in ((True, "3/12"), (False, "07 starts: 12 cells")):
        progress = Progress(live=live)
        progress.start("07", 12)
        progress.cells("07", 3)
        progress.finish("07", "07 ok")
        shown = capsys.readouterr().out
        assert expected in shown
        assert shown.rstrip().endswith("07 ok")


def test_stopped_runner_starts_nothing(tmp_path, tiny, write):
    folder = write(tmp_path / "notebooks", {"01_wait.ipynb": tiny()})
    stop = threading.Event()
    stop.set()
    request = Request(tmp_path / "build")
    results.prepare(request.out)
    schedule.run_one(find(folder)[0], request, stop, Progress(live=False))
    assert results.load(request.out, "01") is None
