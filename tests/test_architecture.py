"""The package keeps its shape: who imports whom, small files, no dangerous calls.

Reads syntax trees only. Every rule is a function from a file's name and text to a list of
violations, and is seen to catch a planted one.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lfi_helpers"
FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}

FLOOR = {"records", "run", "arguments", "checks"}
MIDDLE = {"classifiers", "flows", "generators", "likelihoods", "trees"}
ABOVE_FLOOR = {"networks", "training"}
MAY_IMPORT = {
    "__init__": set(),
    "records": set(),
    "arguments": set(),
    "checks": {"records"},
    "run": {"records"},
    "course": {"checks", "records"},
    **dict.fromkeys(("diagnostics", "plots"), FLOOR),
    **dict.fromkeys(("simulators", "networks", "training"), FLOOR),
    **dict.fromkeys(MIDDLE, FLOOR | ABOVE_FLOOR),
    **dict.fromkeys(("inference", "decisions"), FLOOR | ABOVE_FLOOR | MIDDLE),
}
RUNNER_ONLY = {"papermill", "nbconvert", "nbformat", "nbclient", "jupyter_client", "psutil"}
HEAVY = RUNNER_ONLY | {"pandas", "torch", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "tqdm"}
MAX_FILE, MAX_FUNCTION = 250, 44  # about 250 and about 40: 10 % of slack for functions
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "joblib.load", "yaml.load"}
UNSAFE_MODULES = {"pickle", "dill", "shelve", "marshal"}
LEGACY_RANDOM = re.compile(r"(np|numpy)\.random\.(?!default_rng|Generator|SeedSequence|PCG64)\w+")


def room(name):
    """Return the room of a file: its folder, or its own name on the ground floor."""
    return name.split("/")[0].removesuffix(".py")


def imports(tree):
    """Yield every imported module, as ``package.module`` or ``package.module.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def directions(name, tree):
    """Rooms import only what lies below them."""
    here = room(name)
    if here not in MAY_IMPORT:
        return [f"a room that the plan of the house does not know: {here}"]
    found = []
    for module in imports(tree):
        if module.startswith("."):
            found.append(f"relative import: {module}")
        elif module.split(".")[0] == "lfi_helpers":
            there = module.split(".")[1] if "." in module else here
            if there != here and there not in MAY_IMPORT[here]:
                found.append(f"{here} must not import {there}")
        elif module.split(".")[0] in RUNNER_ONLY and here != "course":
            found.append(f"{module}: only the course runner may import it")
    return found


def lazily(name, tree):
    """The runner imports its heavy tools inside functions; the front door imports nothing."""
    if room(name) not in ("course", "__init__", "records", "checks"):
        return []
    top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    heavy = [module for module in imports(top) if module.split(".")[0] in HEAVY]
    heavy += [m for m in imports(tree) if m.split(".")[0] == "torch" and room(name) == "course"]
    return [f"{module}: expected no import at the top of the file" for module in heavy]


def docstring(name, tree):
    """The first line of every module says what lives there."""
    text = ast.get_docstring(tree) or ""
    first = text.splitlines()[0] if text else ""
    return (
        [] if len(first.split()) >= 4 else [f"expected a first line that says it, got {first!r}"]
    )


def sizes(name, tree):
    """Files and functions stay small enough to read."""
    end = max((node.end_lineno for node in tree.body), default=0)
    found = [f"expected at most {MAX_FILE} lines, got {end}"] if end > MAX_FILE else []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            if length > MAX_FUNCTION:
                found.append(f"{node.name}: expected at most {MAX_FUNCTION} lines, got {length}")
    return found


def docstring_lines(node):
    """Count the lines of a function's docstring: they explain, they do not complicate."""
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def dangers(name, tree):
    """No code from data, no shell, no global randomness."""
    found = [m for m in imports(tree) if m.split(".")[0] in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if text in FORBIDDEN_CALLS or given.get("shell", "False") != "False":
                found.append(ast.unparse(node))
            if text == "torch.load" and given.get("weights_only") != "True":
                found.append(f"{ast.unparse(node)}: expected weights_only=True")
            if given.get("allow_pickle", "False") != "False":
                found.append(f"{ast.unparse(node)}: expected no allow_pickle")
            if text in ("torch.manual_seed", "torch.seed", "random.seed") and name != "run.py":
                found.append(f"{text}: randomness enters through run.seeded")
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if LEGACY_RANDOM.fullmatch(text):
                found.append(f"{text}: legacy randomness")
    return found


def asserts(name, tree):
    """Wrong input raises an error that says so, also under ``python -O``."""
    found = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    return [
        f"line {line}: expected an error that names the argument, got assert" for line in found
    ]


def swallowed(name, tree):
    """No error disappears: no bare except, no broad one without a raise."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                found.append(f"line {node.lineno}: expected the errors meant, got any")
    return found


RULES = (directions, lazily, docstring, sizes, dangers, asserts, swallowed)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule):
    found = [f"{name}: {v}" for name, text in FILES.items() for v in rule(name, ast.parse(text))]
    assert not found, "\n".join(found)


def test_no_drawer():
    assert [name for name in FILES if "utils" in name or "misc" in name] == []


PLANTED = {
    "method imports simulator": (
        directions,
        "inference/npe.py",
        "from lfi_helpers.simulators import load",
    ),
    "simulator imports method": (directions, "simulators/x.py", "import lfi_helpers.training"),
    "siblings": (directions, "flows/x.py", "from lfi_helpers.classifiers import calibrate"),
    "floor looks up": (directions, "records.py", "from lfi_helpers import run"),
    "runner imports run": (directions, "course/x.py", "from lfi_helpers import run"),
    "plots know an estimator": (directions, "plots/x.py", "from lfi_helpers import inference"),
    "front door": (directions, "__init__.py", "from lfi_helpers.run import start"),
    "lazy import does not hide": (
        directions,
        "networks/x.py",
        "def f():\n    from lfi_helpers.training import fit",
    ),
    "relative": (directions, "flows/x.py", "from ..training import fit"),
    "unknown room": (directions, "helpers/x.py", ""),
    "papermill": (directions, "plots/x.py", "def f():\n    import papermill"),
    "early papermill": (lazily, "course/x.py", "import papermill"),
    "early pandas": (lazily, "course/x.py", "from pandas import DataFrame"),
    "runner imports torch": (lazily, "course/x.py", "def f():\n    import torch"),
    "no docstring": (docstring, "run.py", "import os"),
    "short docstring": (docstring, "run.py", '"""Tools."""'),
    "long file": (sizes, "run.py", "x = 1\n" * 251),
    "long function": (sizes, "run.py", "def f():\n" + "    x = 1\n" * 44),
    "pickle": (dangers, "run.py", "import pickle"),
    "eval": (dangers, "run.py", "eval('1')"),
    "exec": (dangers, "run.py", "exec('1')"),
    "shell": (dangers, "run.py", "subprocess.run('ls', shell=True)"),
    "torch.load": (dangers, "run.py", "torch.load('x')"),
    "torch.load with pickle": (dangers, "run.py", "torch.load('x', weights_only=False)"),
    "np.load": (dangers, "run.py", "np.load('x', allow_pickle=True)"),
    "legacy random": (dangers, "run.py", "np.random.seed(0)"),
    "legacy function": (dangers, "run.py", "f = np.random.normal"),
    "global seed": (dangers, "training/x.py", "torch.manual_seed(0)"),
    "assert": (asserts, "run.py", "def f(x):\n    assert x > 0"),
    "bare except": (swallowed, "run.py", "try:\n    f()\nexcept:\n    pass"),
    "broad except": (swallowed, "run.py", "try:\n    f()\nexcept Exception:\n    pass"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_violation_is_found(case):
    rule, name, text = PLANTED[case]
    assert len(rule(name, ast.parse(text))) == 1


ALLOWED = {
    "course/x.py": '"""One two three four."""\ndef f():\n    import papermill, pandas',
    "inference/x.py": "from lfi_helpers.flows import Flow\nfrom lfi_helpers import run",
    "run.py": "from lfi_helpers.records import SCALES\ntorch.manual_seed(0)",
    "flows/x.py": "torch.load('x', weights_only=True)\nnp.random.default_rng(0)\nm.eval()",
    "trees/x.py": "try:\n    f()\nexcept Exception as e:\n    raise ValueError from e",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_not_found(name):
    rules = (directions, lazily, sizes, dangers, asserts, swallowed)
    assert [v for rule in rules for v in rule(name, ast.parse(ALLOWED[name]))] == []


def test_front_door_imports_nothing_heavy():
    program = f"import sys, lfi_helpers; sys.exit(' '.join({HEAVY} & set(sys.modules)) or 0)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
