"""Figures of a notebook: which cells draw, how they are tagged and described; executes nothing."""

import ast

from lfi_helpers.course.code_rules import called, calls_in, trees
from lfi_helpers.course.notebooks import alt_text, source, tags

CANVASES = ("matplotlib.pyplot", "seaborn", "lfi_helpers.plots")
NOT_DRAWING = ("style", "close", "show", "set_theme", "set_palette", "color_palette")


def figures(notebook: dict) -> list[str]:
    """3-6 figures, each one described in words, one of them the headline."""
    cells = [cell for cell in notebook["cells"] if "figure" in tags(cell)]
    found = []
    if not 3 <= len(cells) <= 6:
        found.append(f"figures: expected 3-6 cells tagged figure, got {len(cells)}")
    headlines = [cell for cell in notebook["cells"] if "headline" in tags(cell)]
    if len(headlines) != 1 or "figure" not in tags(headlines[0]):
        found.append(f"headline: expected exactly one figure with this tag, got {len(headlines)}")
    for cell in cells:
        if len(alt_text(cell).split()) < 5:
            found.append(f"{cell['id']}: expected a sentence in metadata mystnb.image.alt")
    return found


def drawing(notebook: dict) -> list[str]:
    """A cell that draws is tagged figure, and the other way round; it prints no object."""
    found, drawers = [], set()
    for cell, tree in trees(notebook):
        drawers |= {name for node in ast.walk(tree) for name in _canvases(node)}
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        drawers |= {node.name for node in functions if _draws(node, drawers)}
        draws = any(_draws(node, drawers) for node in tree.body if node not in functions)
        tagged = "figure" in tags(cell)
        if draws and not tagged:
            found.append(f"{cell['id']}: it draws: expected the tag figure")
        if tagged and not draws:
            found.append(f"{cell['id']}: tagged figure: expected it to draw")
        if tagged and _prints_object(tree, source(cell)):
            found.append(f"{cell['id']}: expected plt.show() or a semicolon at the end")
    return found


def _canvases(node: ast.AST) -> list[str]:
    """Return the names under which an import makes a library known that draws."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name for alias in node.names if alias.name in CANVASES]
    if isinstance(node, ast.ImportFrom):
        known = [
            (f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names
        ]
        return [name for full, name in known if full.startswith(CANVASES)]
    return []


def _draws(node: ast.AST, drawers: set[str]) -> bool:
    for call in calls_in(node):
        root = call.func
        while isinstance(root, ast.Attribute | ast.Call):
            root = root.func if isinstance(root, ast.Call) else root.value
        if getattr(root, "id", "") in drawers and called(call) not in NOT_DRAWING:
            return True
    return False


def _prints_object(tree: ast.Module, text: str) -> bool:
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or text.rstrip().endswith(";"):
        return False
    return not (isinstance(last.value, ast.Call) and called(last.value) in ("show", "print"))


FIGURE_RULES = (figures, drawing)
