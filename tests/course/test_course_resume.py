"""Repeated and interrupted runs: what is unchanged is kept, and nothing stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lfi_helpers.course import results, schedule
from lfi_helpers.course.notebooks import find
from lfi_helpers.course.progress import Progress
from lfi_helpers.course.results import Request
from lfi_helpers.course.watch import Measured
from lfi_helpers.records import CLAIM_MIME, RUN_MIME


@pytest.fixture
def course(tmp_path, tiny, write, code_cell, monkeypatch):
    """Return a function that runs two notebooks without kernels and tells which were executed.

    The worker is replaced by one that writes a good copy: what is tested is what runs again.
    """
    folder = write(tmp_path / "notebooks", {"01_go.ipynb": tiny(), "02_stay.ipynb": tiny("x = 1")})
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("x = 1")
    executed = []

    def fake_watch(job, where, log, limits, stop, tell):
        executed.append(job["source"][:2])
        notebook = json.loads((where / job["source"]).read_text())
        run = {key.lower(): value for key, value in job["parameters"].items()}
        bounds = dict.fromkeys(("near", "within", "above"))
        claim = {"claim": "four", "value": 4.0, **bounds, "below": 5.0, "ok": True}
        data = {RUN_MIME: run, CLAIM_MIME: claim, "text/plain": ""}
        output = {"output_type": "display_data", "metadata": {}, "data": data}
        notebook["cells"][-1]["outputs"] = [output]
        (where / job["copy"]).write_text(json.dumps(notebook))
        log.write_text("")
        cpu_s = {"01": 2.0, "02": 9.0}[job["source"][:2]]
        return Measured(0, 1.0, cpu_s, 1e8, None)

    monkeypatch.setattr(schedule, "watch", fake_watch)

    def run(**settings):
        executed.clear()
        notebooks = find(folder)
        request = Request(tmp_path / "build", package=package, workers=1, **settings)
        records = schedule.run(notebooks, notebooks, request, Progress(live=False))
        assert [record["status"] for record in records] == ["ok", "ok"]
        return list(executed)

    run.folder, run.package, run.out = folder, package, tmp_path / "build"
    return run


def test_unchanged_notebooks_run_once(course):
    assert course() == ["01", "02"]
    assert course() == []
    assert course(force=True) == ["02", "01"], "the longest of the last run goes first"


@pytest.mark.parametrize("settings", [{"seed": 1}, {"scale": "full"}])
def test_other_seed_or_scale_runs_again(course, settings):
    course()
    assert course(**settings) == ["02", "01"]


def test_changed_content_runs_that_notebook_again(course, tiny, write):
    course()
    write(course.folder, {"01_go.ipynb": tiny("y = 2")})
    assert course() == ["01"]


@pytest.mark.parametrize("change", ["content", "new file", "new name"])
def test_changed_package_runs_everything_again(course, change):
    course()
    module = course.package / "module.py"
    if change == "content":
        module.write_text("x = 2")
    elif change == "new file":
        (course.package / "room").mkdir()
        (course.package / "room" / "other.py").write_text("")
    else:
        module.rename(course.package / "renamed.py")
    assert course() == ["02", "01"]


def test_other_versions_run_everything_again(course, monkeypatch):
    course()
    monkeypatch.setattr(results, "versions", lambda: {"torch": "99.0"})
    assert course() == ["02", "01"]


def test_lost_copy_or_torn_record_runs_again(course):
    course()
    (course.out / "executed" / "01_go.ipynb").unlink()
    assert course() == ["01"]
    (course.out / "records" / "02.json").write_text('{"number": "0')
    assert course() == ["02"]


def test_failed_notebook_runs_again(course):
    course()
    path = course.out / "records" / "01.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "failed"}))
    assert course() == ["01"]


def test_claims_cover_what_is_asked_for_and_what_is_still_valid(course, tiny, write):
    course()
    notebooks = find(course.folder)
    for changed, covered in ((False, ["01", "02"]), (True, ["01"])):
        if changed:
            write(course.folder, {"02_stay.ipynb": tiny("y = 2")})
        request = Request(course.out, package=course.package)
        schedule.run(notebooks[:1], notebooks, request, Progress(live=False))
        claims = json.loads((course.out / "claims.json").read_text())
        assert list(claims["notebooks"]) == covered


def test_failed_write_leaves_the_old_record(tmp_path):
    path = tmp_path / "record.json"
    results.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        results.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


WAIT = "import pathlib\npathlib.Path('kernel-works').write_text('')\ntime.sleep(600)"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_runner_leaves_no_process_and_keeps_what_is_done(
    tmp_path, tiny, write, left_behind, how
):
    folder = write(
        tmp_path / "notebooks", {"01_finish.ipynb": tiny(), "02_wait.ipynb": tiny(WAIT)}
    )
    command = [sys.executable, "-m", "lfi_helpers.course", "run"]
    runner = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a job in the background inherits that Ctrl-C is ignored; a person at a terminal does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    record = tmp_path / "build" / "records" / "01.json"
    try:
        until(lambda: record.exists() and (folder / "kernel-works").exists(), 120)
        assert left_behind(folder)
        os.kill(runner.pid, how)
        _, errors = runner.communicate(timeout=60)
        until(lambda: not left_behind(folder), 15)
    finally:
        for process in (runner, *left_behind(folder)):
            process.kill()
    assert runner.returncode == (130 if how == signal.SIGINT else -how)
    assert json.loads(record.read_text())["status"] == "ok"
    assert not (tmp_path / "build" / "records" / "02.json").exists()
    if how == signal.SIGINT:
        assert re.search(r"interrupted: what has finished is kept", errors)
        report = subprocess.run(
            [*command[:-1], "report"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert report.returncode == 0, report.stderr
        assert "not run, or changed since: 02" in report.stdout
        assert re.search(r"^01 +Try the runner +ok +1/1", report.stdout, re.MULTILINE)


def until(condition, seconds):
    """Wait until the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
