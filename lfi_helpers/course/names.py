"""Hidden state: names that a notebook uses before the cell that defines them has run.

Reads the syntax of the cells in their order; never executes them.
"""

import ast
import builtins
import symtable

from lfi_helpers.course.code_rules import code_cells
from lfi_helpers.course.notebooks import source

GIVEN = {*dir(builtins), "display", "__name__"}
COMPOUND = ast.For | ast.While | ast.If | ast.With | ast.Try | ast.Match
LATER = ast.FunctionDef | ast.ClassDef


def undefined_names(notebook: dict) -> list[str]:
    """List the names that no earlier statement defines.

    What a function or a class uses must be defined by the end of its cell; what any other
    statement uses, before it (a loop or a condition may define names for itself).
    """
    found, known = [], set(GIVEN)
    for cell in code_cells(notebook):
        waiting = set()
        for statement in ast.parse(source(cell)).body:
            used, bound = _names(statement)
            if isinstance(statement, LATER):
                waiting |= used
            else:
                own = bound if isinstance(statement, COMPOUND) else set()
                found += [_message(cell, name) for name in sorted(used - known - own)]
            known |= bound
            for target in getattr(statement, "targets", []):
                if isinstance(statement, ast.Delete) and isinstance(target, ast.Name):
                    known.discard(target.id)
        found += [_message(cell, name) for name in sorted(waiting - known)]
    return found


def _message(cell: dict, name: str) -> str:
    return f"{cell['id']}: {name} is used before it is defined"


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the notebook-wide names that a statement uses and those it binds."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    symbols = table.get_symbols()
    bound = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in symbols if s.is_referenced()}
    if isinstance(statement, ast.AugAssign):
        used |= bound
    return used | _inner(table), bound


def _inner(table: symtable.SymbolTable) -> set[str]:
    used = set()
    for child in table.get_children():
        used |= {s.get_name() for s in child.get_symbols() if s.is_global()}
        used |= _inner(child)
    return used
