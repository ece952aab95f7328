"""The Makefile's virtual environment: made, kept, repaired, refused; installs nothing."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Answers the Makefile's questions as a Python would, and notes every call in the file "calls".
# $SAYS is its answer (exit code) to "are you 3.11-3.13 with venv?", $FAILS makes a call fail.
MOCK = r"""#!/bin/bash
case "$*" in
  *version_info*) exit "$SAYS" ;;
  "-m pip --version") exit 0 ;;
  -I*) sed -n 1p "${0%/bin/python}/course" 2>/dev/null; exit ;;
esac
echo "$*" >> calls
[[ -n $FAILS && $* == *$FAILS* ]] && exit 1
case "$*" in
  "-m venv"*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"-e ."*) echo "$PWD/lfi_helpers" > .venv/course ;;
esac
"""
VENV = "-m venv --clear .venv"
TORCH = "-m pip install -q -c constraints.txt torch hatchling"
REST = "-m pip install -q -c constraints.txt --no-build-isolation -e ." + (
    "[notebooks,scale,oracles,dev,peers]"
)
COURSE = "-m lfi_helpers.course run --scale teaching --workers 2"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INDEX = f"--extra-index-url {PROJECT['tool']['lfi']['torch-cpu-index']}"
TARGETS = {
    "help",
    "course",
    "test",
    "unit",
    "lint",
    "notebook",
    "gallery",
    "docs",
    "report",
    "clean",
}


class Copy:
    """A copy of what the Makefile needs, with a mock Python; ``make`` returns the calls made."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "lfi_helpers").mkdir()
        (folder / "mock").write_text(MOCK)
        (folder / "mock").chmod(0o755)

    def make(self, *arguments, code=0, **environment):
        (self.folder / "calls").write_text("")
        settings = {"PATH": os.environ["PATH"], "SAYS": "0", "PIP_FIND_LINKS": "wheels"}
        command = ["make", "PYTHON=./mock", *arguments]
        self.last = subprocess.run(
            command,
            cwd=self.folder,
            env={**settings, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert self.last.returncode == code, self.last.stdout + self.last.stderr
        return [" ".join(c.split()) for c in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_help_is_the_default_and_installs_nothing(copy):
    assert copy.make() == []
    assert {line.split()[0] for line in copy.last.stdout.splitlines()} >= TARGETS


def test_first_call_sets_up_torch_first_and_second_starts_at_once(copy):
    assert copy.make("course") == [VENV, TORCH, REST, COURSE]
    assert copy.make("course") == [COURSE]


def test_a_changed_list_updates_and_keeps_what_is_there(copy):
    copy.make("course")
    later = (copy.folder / ".venv" / ".ok").stat().st_mtime + 10
    os.utime(copy.folder / "constraints.txt", (later, later))
    assert copy.make("course") == [TORCH, REST, COURSE]


@pytest.mark.parametrize("step", ["torch", "-e"])
def test_an_interrupted_set_up_starts_afresh(copy, step):
    calls = copy.make("course", code=2, FAILS=step)
    assert calls == [VENV, TORCH, REST][: 2 + (step == "-e")]
    assert copy.make("course") == [VENV, TORCH, REST, COURSE]


def test_an_interrupted_update_starts_afresh(copy):
    copy.make("course")
    later = (copy.folder / ".venv" / ".ok").stat().st_mtime + 10
    os.utime(copy.folder / "pyproject.toml", (later, later))
    assert copy.make("course", code=2, FAILS="-e") == [TORCH, REST]
    assert copy.make("course") == [VENV, TORCH, REST, COURSE]


def test_a_broken_or_moved_environment_is_made_again(copy):
    copy.make("course")
    (copy.folder / ".venv" / "bin" / "python").unlink()
    assert copy.make("course") == [VENV, TORCH, REST, COURSE]
    (copy.folder / ".venv" / "course").write_text("/elsewhere/lfi_helpers\n")
    assert copy.make("course") == [VENV, TORCH, REST, COURSE]


def test_an_environment_made_by_hand_is_kept(copy):
    (copy.folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(copy.folder / "mock", copy.folder / ".venv" / "bin" / "python")
    assert copy.make("course") == [TORCH, REST, COURSE]


@pytest.mark.parametrize("python", ["/bin/false", "./no-such-python", "./mock"])
def test_an_unsuitable_python_gets_one_line(copy, python):
    """./mock says here what Python 3.10, 3.14 or one without venv would say."""
    assert copy.make("course", f"PYTHON={python}", code=2, SAYS="1") == []
    assert copy.last.stdout == ""
    (line,) = copy.last.stderr.splitlines()
    assert f"{python} is not a Python 3.11-3.13 with venv" in line
    assert "apt install python3-venv" in line
    assert "make course PYTHON=" in line


def test_the_index_is_asked_for_torch_only_and_only_without_wheels_at_hand(copy):
    with_index = TORCH.replace("torch", f"{INDEX} torch")
    assert copy.make("course", PIP_FIND_LINKS="") == [VENV, with_index, REST, COURSE]
    shutil.rmtree(copy.folder / ".venv")
    given = {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "file:///mirror"}
    assert copy.make("course", **given) == [VENV, TORCH, REST, COURSE]
    shutil.rmtree(copy.folder / ".venv")
    assert copy.make("course", "TORCH_INDEX=", PIP_FIND_LINKS="")[1] == TORCH


def test_one_notebook_has_to_be_named(copy):
    wanted = "-m lfi_helpers.course run 30 --scale full"
    assert copy.make("notebook", "NB=30", "SCALE=full")[-1] == wanted
    assert copy.make("notebook", code=2) == []
    assert "make notebook NB=30" in copy.last.stderr


def test_targets_are_three_lines_at_most():
    rules = re.findall(r"(?m)^([a-z]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text())
    assert {name for name, _ in rules} >= TARGETS
    assert [name for name, recipe in rules if recipe.count("\n") > 3] == []
