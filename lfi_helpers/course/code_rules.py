"""What the code cells of a notebook may and may not do, read from their syntax trees.

Never executes anything. Every rule is a function from a notebook to a list of violations.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator

from lfi_helpers.course.notebooks import source, tags

NETWORK = {"urllib", "requests", "http", "socket", "ftplib", "httpx", "aiohttp", "wget"}
SHELL = {"subprocess", "pip", "ctypes"}
FORBIDDEN_FUNCTIONS = {
    "eval": "no eval",
    "exec": "no exec",
    "open": "no files",
    "get_ipython": "no magics",
    "os.system": "no shell",
    "torch.manual_seed": "randomness comes from this.generator(k)",
}
FORBIDDEN_METHODS = {
    "filterwarnings": "warnings are shown, not filtered",
    "simplefilter": "warnings are shown, not filtered",
    "catch_warnings": "warnings are shown, not filtered",
    "savefig": "no files",
    "to_csv": "no files",
    "write_text": "no files",
    "write_bytes": "no files",
    "cuda": "the device is this.device",
}


def code_cells(notebook: dict) -> list[dict]:
    """Return the code cells in their order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def lines(cell: dict) -> int:
    """Count a cell's lines that are not blank."""
    return sum(bool(line.strip()) for line in source(cell).splitlines())


def trees(notebook: dict) -> Iterator[tuple[dict, ast.Module]]:
    """Yield every code cell with its syntax tree."""
    for cell in code_cells(notebook):
        yield cell, ast.parse(source(cell))


def called(call: ast.Call) -> str:
    """Return the last part of what is called: ``c`` in ``a.b.c()``."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def calls_in(tree: ast.AST) -> list[ast.Call]:
    """Return all calls below a node."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _checks(tree: ast.AST) -> list[ast.Call]:
    return [call for call in calls_in(tree) if called(call) == "check"]


def imports(notebook: dict) -> list[str]:
    """Imports stand in the cell ``imports``; none reaches for the network or a shell."""
    found = []
    for cell, tree in trees(notebook):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if cell["id"] != "imports":
                found.append(f"{cell['id']}: expected imports in the cell imports only")
            modules = [getattr(node, "module", None) or alias.name for alias in node.names]
            roots = {module.split(".")[0] for module in modules}
            found += [f"{cell['id']}: no network: {root}" for root in sorted(roots & NETWORK)]
            found += [f"{cell['id']}: no shell: {root}" for root in sorted(roots & SHELL)]
    return found


def calls(notebook: dict) -> list[str]:
    """No call changes warnings, seeds globally, writes files or downloads."""
    found = []
    for cell, tree in trees(notebook):
        for call in calls_in(tree):
            text, name = ast.unparse(call.func), called(call)
            why = FORBIDDEN_FUNCTIONS.get(text) or FORBIDDEN_METHODS.get(name)
            if why:
                found.append(f"{cell['id']}: {text}: {why}")
            seeded = name == "default_rng" and call.args
            if text.startswith(("np.random.", "numpy.random.", "random.")) and not seeded:
                found.append(f"{cell['id']}: {text}: randomness derives from SEED")
            if any(keyword.arg == "download" for keyword in call.keywords):
                found.append(f"{cell['id']}: no network: download=")
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and str(node.value).startswith(("http:", "https:")):
                found.append(f"{cell['id']}: no network: {node.value}")
    return found


def claims(notebook: dict) -> list[str]:
    """Claims stand in tagged cells, unconditionally, with a fixed text and a computed value."""
    found, texts = [], defaultdict(int)
    for cell, tree in trees(notebook):
        made = _checks(tree)
        marked = cell["id"].startswith("check-") and "check" in tags(cell)
        if made and not marked:
            found.append(f"{cell['id']}: expected claims in cells check-... tagged check")
        if "check" in tags(cell) and not made:
            found.append(f"{cell['id']}: expected a claim in a cell tagged check")
        guarded = sum(len(_checks(statement)) for statement in _conditional(tree))
        if guarded:
            found.append(f"{cell['id']}: expected no try, if or function around a claim")
        loops = [node.target for node in ast.walk(tree) if isinstance(node, ast.For)]
        cases = {
            name.id for loop in loops for name in ast.walk(loop) if isinstance(name, ast.Name)
        }
        for call in made:
            found += [f"{cell['id']}: {problem}" for problem in _claim(call, cases)]
            texts[ast.unparse(call.args[0]) if call.args else ""] += 1
    found += [f"claim made twice: {text}" for text, n in texts.items() if n > 1]
    return found if texts else [*found, "claims: expected at least one check"]


def _conditional(tree: ast.Module) -> Iterator[ast.AST]:
    kinds = ast.Try | ast.If | ast.FunctionDef | ast.Lambda | ast.While
    return (node for node in ast.walk(tree) if isinstance(node, kinds))


def _claim(call: ast.Call, cases: set[str]) -> list[str]:
    if len(call.args) != 2:
        return ["expected check(text, value, near=..., within=... | below=... | above=...)"]
    text, value = call.args
    found = []
    if not all(isinstance(part, ast.Constant) or _case(part, cases) for part in _parts(text)):
        found.append("expected the claim as a plain text, or one that names a case of a for loop")
    if not any(isinstance(node, ast.Name) for node in ast.walk(value)):
        found.append("expected a claim about a number that was computed")
    return found


def _parts(text: ast.expr) -> list[ast.expr]:
    return text.values if isinstance(text, ast.JoinedStr) else [text]


def _case(part: ast.expr, cases: set[str]) -> bool:
    """Is this part of an f-string nothing but a loop variable?"""
    return isinstance(part, ast.FormattedValue) and getattr(part.value, "id", "") in cases


def scale(notebook: dict) -> list[str]:
    """SCALE goes to run.start and picks sizes from dicts in ``setup``: nothing else."""
    found, started = [], False
    for cell, tree in trees(notebook):
        allowed = []
        for node in ast.walk(tree) if cell["id"] == "setup" else ():
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
                allowed.append(node.slice)
            if isinstance(node, ast.Call) and ast.unparse(node) == "run.start(SCALE, SEED)":
                started = True
                allowed.append(node.args[0])
        for node in ast.walk(tree):
            used = isinstance(node, ast.Name) and node.id == "SCALE" and node not in allowed
            if used and cell["id"] != "parameters":
                found.append(f"{cell['id']}: expected SCALE only in setup, as {{...}}[SCALE]")
    return found if started else [*found, "setup: expected run.start(SCALE, SEED)"]


def defined_twice(notebooks: dict[str, dict]) -> list[str]:
    """No function is defined in two notebooks: what two need lives in the package."""
    where = defaultdict(set)
    for name, notebook in notebooks.items():
        for _, tree in trees(notebook):
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    where[node.name].add(name)
    return [
        f"{function}: defined in {' and '.join(sorted(names))}: move it to the package"
        for function, names in where.items()
        if len(names) > 1
    ]


CODE_RULES = (imports, calls, claims, scale)
