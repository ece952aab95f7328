"""Say why a notebook must not be run: reads it, never executes it.

Papermill runs a notebook whose parameter is misspelt, or whose ``parameters`` cell is missing,
with the defaults and only a log line: such a run must not begin.
"""

import ast
from difflib import get_close_matches
from pathlib import Path

from lfi_helpers.course.notebooks import read, source, tags

KERNEL = "python3"


def refusals(path: Path, parameters: dict) -> list[str]:
    """List the reasons not to run the notebook with these parameters; empty if it may run."""
    try:
        notebook = read(path)
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    except ValueError as error:
        return [str(error)]
    reasons = _invalid(notebook)
    if reasons:
        return reasons
    return [*_kernel(notebook), *_outputs(notebook), *_parameters(notebook, parameters)]


def _invalid(notebook: dict) -> list[str]:
    import warnings

    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            nbformat.validate(nbformat.from_dict(notebook))
        except (nbformat.ValidationError, Warning) as error:
            return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    return []


def _kernel(notebook: dict) -> list[str]:
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    return [] if name == KERNEL else [f"kernel: expected {KERNEL!r}, got {name!r}"]


def _outputs(notebook: dict) -> list[str]:
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    stored = [c.get("id", "?") for c in code if c["outputs"] or c["execution_count"] is not None]
    if not stored:
        return []
    return [f"stored outputs: expected none, got some in cells {', '.join(stored)}; strip them"]


def _parameters(notebook: dict, parameters: dict) -> list[str]:
    cells = [cell for cell in notebook["cells"] if "parameters" in tags(cell)]
    if len(cells) != 1:
        return [f"parameters: expected exactly one cell with this tag, got {len(cells)}"]
    try:
        defined = defaults(source(cells[0]))
    except (SyntaxError, ValueError) as error:
        return [f"parameters: expected lines NAME = literal, got {error}"]
    reasons = []
    for name in parameters:
        if name not in defined:
            close = get_close_matches(name, defined, n=1)
            hint = f"; is {close[0]} misspelt?" if close else ""
            reasons.append(
                f"unknown parameter {name}: the parameters cell defines {', '.join(defined)}{hint}"
            )
    return reasons


def defaults(text: str) -> dict:
    """Return the names and values of a parameters cell.

    Raises:
        ValueError: if a line is anything but ``NAME = literal``.
        SyntaxError: if it is not Python.
    """
    values = {}
    for line in ast.parse(text).body:
        target = line.targets[0] if isinstance(line, ast.Assign) else None
        if not isinstance(target, ast.Name):
            raise ValueError(f"{ast.unparse(line)!r}")
        try:
            values[target.id] = ast.literal_eval(line.value)
        except ValueError as error:
            raise ValueError(f"{ast.unparse(line)!r}") from error
    return values
