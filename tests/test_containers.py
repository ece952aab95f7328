"""The container, Binder's hooks and the workflows: safe, thin, and broken ones are told apart."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

import lfi_helpers

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
START = ROOT / "binder" / "start"


def container_faults(text):
    """Name what is unsafe in a Dockerfile: who it runs as, and whether the door is open."""
    users = re.findall(r"(?m)^USER\s+(\S+)", text)
    faults = [] if users and users[-1] not in ("root", "0") else ["runs as root"]
    if re.search(r"(?i)(token|password)['\"]?\s*[=,]|--allow-root|disable_check_xsrf", text):
        faults.append("opens the door")
    if re.search(r"(curl|wget)[^\n]*\|\s*(ba)?sh", text):
        faults.append("runs what it downloads")
    return faults


def test_the_container_is_safe():
    assert container_faults(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (DOCKERFILE + "USER root\n", "runs as root"),
        (DOCKERFILE.replace("USER 1000\n", ""), "runs as root"),
        (DOCKERFILE.replace("--no-browser", "--IdentityProvider.token="), "opens the door"),
        (DOCKERFILE.replace("--no-browser", "--ServerApp.password=''"), "opens the door"),
        (DOCKERFILE + "ENV JUPYTER_TOKEN=\n", "opens the door"),
        (DOCKERFILE.replace("--no-browser", "--allow-root"), "opens the door"),
        (DOCKERFILE + "RUN curl -s example.org/install | bash\n", "runs what it downloads"),
    ],
)
def test_an_unsafe_container_is_told(broken, fault):
    assert container_faults(broken) == [fault]


def lint_container(path):
    """Return hadolint's findings, one a line."""
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    command = [program, "--no-color", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_hadolint_passes_the_container(tmp_path):
    assert lint_container(ROOT / "Dockerfile") == []
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("USER 1000", "USER root"))
    assert "DL3002" in "".join(lint_container(tmp_path / "Dockerfile"))


def test_the_container_installs_the_list():
    (program,) = re.findall(r"(?s)python -c '(.*?)'", DOCKERFILE)
    command = [sys.executable, "-c", program.replace("\\\n", "")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["build-system"]["requires"] + project["project"]["dependencies"]
    wanted += project["project"]["optional-dependencies"]["notebooks"]
    assert done.stdout.splitlines() == wanted


def test_libraries_come_before_the_course():
    steps = re.findall(r"(?m)^(COPY|RUN) (.*)$", DOCKERFILE)
    copies = [i for i, (kind, _) in enumerate(steps) if kind == "COPY"]
    assert steps[copies[0]][1].split()[1:] == ["pyproject.toml", "constraints.txt", "./"]
    assert steps[copies[1]][1].split()[1:] == [".", "."]
    assert "--no-deps" in steps[copies[1] + 1][1]
    assert "HEALTHCHECK" in DOCKERFILE


def start(**environment):
    """Run binder/start on a command that shows what it was given: (threads, last argument)."""
    command = [START, "bash", "-c", 'echo "${OMP_NUM_THREADS:-unset}|$1"', "-", "two words"]
    clean = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("limit", "threads"), [("0.3", 1), (".5", 1), ("1.0", 1), ("1.9", 1), ("2", 2), ("16.0", 16)]
)
def test_start_gives_the_containers_cores(limit, threads):
    assert start(CPU_LIMIT=limit) == f"{threads}|two words\n"


def test_start_respects_who_has_chosen():
    assert start(CPU_LIMIT="4", OMP_NUM_THREADS="3") == "3|two words\n"


def test_start_reads_the_control_group():
    quota = Path("/sys/fs/cgroup/cpu.max")
    limit, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "1")
    threads = "unset" if limit == "max" else max(1, int(limit) // int(period))
    assert start() == f"{threads}|two words\n"


def test_hooks_can_be_run_and_stop_at_an_error():
    for hook in (START, ROOT / "binder" / "postBuild", ROOT / ".ci" / "run"):
        assert os.access(hook, os.X_OK)
        assert "\nset -euo pipefail\n" in hook.read_text()
        subprocess.run(["bash", "-n", hook], check=True)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


def test_a_failing_post_build_is_not_passed_over(tmp_path):
    for name, code in (("python", 3), ("later", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    hook = shutil.copy(ROOT / "binder" / "postBuild", tmp_path / "hook")
    with Path(hook).open("a") as file:
        file.write("later\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert subprocess.run([hook], env={"PATH": path}, check=False).returncode == 3


def workflow_faults(text):
    """Name what a workflow does besides calling make, and what it leaves open."""
    workflow = yaml.safe_load(text)
    faults = [] if workflow.get("permissions") == {"contents": "read"} else ["permissions"]
    for job in workflow["jobs"].values():
        faults += [] if "timeout-minutes" in job else ["no time-out"]
        for step in job["steps"]:
            if "run" in step and not re.fullmatch(r"make [a-z]+( [A-Z]+=\S*)*", step["run"]):
                faults.append("more than make")
            action, _, version = step.get("uses", "make@" + "0" * 40).partition("@")
            if not re.fullmatch("[0-9a-f]{40}", version):
                faults.append("action not pinned")
            if action == "actions/checkout" and step["with"]["persist-credentials"] is not False:
                faults.append("credentials kept")
    return faults


def test_workflows_only_call_make():
    assert len(WORKFLOWS) == 2
    assert [workflow_faults(path.read_text()) for path in WORKFLOWS] == [[], []]
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    for path in WORKFLOWS:
        assert set(re.findall(r"- run: make ([a-z]+)", path.read_text())) <= set(targets)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("run: make test", "run: curl -s example.org/x | sh", "more than make"),
        ("run: make test", "run: make test && pip list", "more than make"),
        ("contents: read", "contents: write", "permissions"),
        ("timeout-minutes: 60", "env: {}", "no time-out"),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "@v6", "action not pinned"),
        ("persist-credentials: false", "persist-credentials: true", "credentials kept"),
    ],
)
def test_a_careless_workflow_is_told(old, new, fault):
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert old in text
    assert workflow_faults(text.replace(old, new)) == [fault]


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lfi_helpers.__version__
    assert citation["license"] == "BSD-3-Clause"
    assert f"## {lfi_helpers.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause License")
