"""Writes the doors from pyproject.toml and constraints.txt; never picks a version.

Conda, Binder and the container each want the dependencies in their own dialect. The list and the
versions are kept once, and so is the public address of the repository; this script translates
them and, with ``--check``, names a stale copy.
"""

import argparse
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CUDA = ("nvidia-", "cuda-", "triton")  # comes with the CUDA build of torch, which pins it
NOTE = "# Written by tools/sync_env.py from pyproject.toml and constraints.txt: edit those.\n"
LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}


def read_pins(text, environment):
    """Return {name: version} of the pins whose marker holds in this environment."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = [r for r in map(Requirement, lines) if _holds(r, environment)]
    return {canonicalize_name(p.name): str(p.specifier).removeprefix("==") for p in pins}


def closure(requirements, environment):
    """Return the names of all distributions that these requirements pull in.

    Installed distributions say what they need; one that is not installed here (because only
    another Python or platform wants it) is named, but cannot be followed.
    """
    seen, todo = set(), [Requirement(r) for r in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen and not name.startswith(CUDA):
                seen.add((name, extra))
                needs = map(Requirement, _requires(name))
                todo += [n for n in needs if _holds(n, {**environment, "extra": extra})]
    return {name for name, _ in seen}


def _holds(requirement, environment):
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _requires(name):
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def binder_pins(project, constraints):
    """List ``name==version`` of everything that a notebook needs on Binder."""
    door = project["tool"]["lfi"]
    python = {"python_version": door["python"], "python_full_version": door["python"] + ".0"}
    environment = {**default_environment(), **LINUX, **python}
    wanted = project["project"]["optional-dependencies"]["notebooks"]
    wanted = [r for r in wanted if Requirement(r).name not in door["binder-has"]]
    wanted += project["project"]["dependencies"] + project["build-system"]["requires"]
    pins, names = read_pins(constraints, environment), sorted(closure(wanted, environment))
    if missing := [name for name in names if name not in pins]:
        sys.exit(f"constraints.txt: no pin for {', '.join(missing)}")
    return [f"{name}=={pins[name]}" for name in names]


def conda(name, python, lines):
    """Return a conda environment: Python and pip from conda, everything else by pip."""
    head = f"name: {name}\nchannels:\n  - conda-forge\ndependencies:\n"
    pip = "".join(f"      - {line}\n" for line in lines)
    return f"{NOTE}{head}  - python={python}\n  - pip\n  - pip:\n{pip}"


def binder_door(repository):
    """Return the README's lines on Binder: a badge, or without an address the way to a fork."""
    if repository is None:
        return (
            "1. **Binder**, in the browser, nothing to install: fork this repository, open\n"
            "   [mybinder.org](https://mybinder.org), paste the address of your fork, launch."
        )
    launch = f"https://mybinder.org/v2/git/{quote(repository, safe='')}/HEAD?urlpath=lab"
    badge = f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]({launch})"
    return f"1. **Binder**, in the browser, nothing to install: {badge}"


def readme(project, text):
    """Return the README with its Binder door written from ``[project.urls]``."""
    door = binder_door(project["project"].get("urls", {}).get("Repository"))
    begin, end = "<!-- binder: begin -->", "<!-- binder: end -->"
    if begin not in text or end not in text:
        sys.exit(f"README.md: expected the marks {begin} and {end}")
    return f"{text.split(begin)[0]}{begin}\n{door}\n{end}{text.split(end)[1]}"


def render(root):
    """Return {path: text} of every file that follows from pyproject.toml and constraints.txt."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    python, index = project["tool"]["lfi"]["python"], project["tool"]["lfi"]["torch-cpu-index"]
    cpu, local = f"--extra-index-url {index}", ["-c constraints.txt", "-e .[notebooks]"]
    pins = binder_pins(project, (root / "constraints.txt").read_text())
    dockerfile = (root / "Dockerfile").read_text()
    dockerfile = re.sub(r"(?m)^ARG PYTHON=.*$", f"ARG PYTHON={python}", dockerfile)
    return {
        "environment.yml": conda("lfi", python, [cpu, *local]),
        "environment-gpu.yml": conda("lfi-gpu", python, local),
        "binder/environment.yml": conda("lfi", python, [cpu, *pins]),
        "README.md": readme(project, (root / "README.md").read_text()),
        "Dockerfile": re.sub(r"(?m)^ARG TORCH_INDEX=.*$", f"ARG TORCH_INDEX={index}", dockerfile),
    }


def stale(root):
    """Return {path: right text} of the files that are missing or say something else."""
    wanted = {root / name: text for name, text in render(root).items()}
    return {p: t for p, t in wanted.items() if not p.is_file() or p.read_text() != t}


def main():
    """Write the files, or with --check name those that differ and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="name stale files, write nothing")
    check = parser.parse_args().check
    outdated = stale(ROOT)
    for path, text in outdated.items():
        print(f"{path.relative_to(ROOT)}: {'is stale, run make tidy' if check else 'written'}")
        if not check:
            path.write_text(text)
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
