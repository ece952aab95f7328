"""Find the notebooks of the course and read what they say of themselves; never executes one."""

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

NAME = re.compile(r"(?P<number>\d{2}[a-z]?)_[a-z0-9]+(_[a-z0-9]+)*\.ipynb")
PROMISE = re.compile(
    r"What you['\u2019]ll do\W*(?P<text>\w.*?)(?=\n\s*\n|\n\W*What you['\u2019]ll|\Z)", re.DOTALL
)


class UsageError(ValueError):
    """What was asked for cannot be done: the message says what was expected and what came."""


@dataclass(frozen=True)
class Notebook:
    """One notebook of the course: its number and its file."""

    number: str
    path: Path

    @property
    def title(self) -> str:
        """Return the title without its number, or the file's name if the file has none."""
        try:
            return heading(read(self.path)) or self.path.stem
        except (OSError, ValueError):
            return self.path.stem


def find(folder: Path) -> list[Notebook]:
    """List the files of ``folder`` named ``NN_verb_phrase.ipynb``, in the order of their numbers.

    Raises:
        UsageError: if there is none, or two share a number.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.ipynb")):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        number = match["number"]
        if number in found:
            raise UsageError(
                f"notebooks: expected one file per number, got {found[number].path.name} "
                f"and {path.name}"
            )
        found[number] = Notebook(number, path.absolute())
    if not found:
        raise UsageError(f"notebooks: expected files NN_verb_phrase.ipynb in {folder}, got none")
    return list(found.values())


def strays(folder: Path) -> list[str]:
    """List the notebooks in ``folder`` whose names are not of the course."""
    names = (path.name for path in Path(folder).glob("*.ipynb"))
    return sorted(name for name in names if not NAME.fullmatch(name))


def select(notebooks: list[Notebook], wanted: list[str]) -> list[Notebook]:
    """Return the notebooks wanted, by number or file name; all of them if none is named.

    Raises:
        UsageError: if one is unknown; the message names the close ones and all numbers.
    """
    if not wanted:
        return notebooks
    by_name = {}
    for notebook in notebooks:
        for name in (notebook.number, notebook.path.stem, notebook.path.name):
            by_name[name] = notebook
    for name in wanted:
        if Path(name).name not in by_name:
            close = get_close_matches(Path(name).name, by_name, n=3, cutoff=0.5)
            hint = f" (close: {', '.join(close)})" if close else ""
            numbers = ", ".join(notebook.number for notebook in notebooks)
            raise UsageError(f"notebook: expected one of {numbers}, got {name!r}{hint}")
    chosen = {by_name[Path(name).name].number for name in wanted}
    return [notebook for notebook in notebooks if notebook.number in chosen]


def read(path: Path) -> dict:
    """Return a notebook's JSON as it stands.

    Raises:
        UsageError: if it is not JSON, or not an object with cells.
    """
    path = Path(path)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path.name}: expected a notebook, got {error}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UsageError(f"{path.name}: expected a notebook, got no list of cells")
    return notebook


def source(cell: dict) -> str:
    """Return a cell's text (the format allows a text or a list of lines)."""
    text = cell.get("source", "")
    return text if isinstance(text, str) else "".join(text)


def tags(cell: dict) -> list[str]:
    """Return a cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def alt_text(cell: dict) -> str:
    """Return the description of a cell's figure: metadata ``mystnb.image.alt``."""
    return cell.get("metadata", {}).get("mystnb", {}).get("image", {}).get("alt", "")


def heading(notebook: dict) -> str:
    """Return the text of the first heading, without ``NN \u00b7``."""
    match = re.search(r"^# (?:\d{2}[a-z]?\s*\u00b7\s*)?(.+)$", _markdown(notebook), re.MULTILINE)
    return match[1].strip() if match else ""


def promise(notebook: dict) -> str:
    """Return the sentence after *What you'll do*, on one line."""
    match = PROMISE.search(_markdown(notebook))
    return " ".join(match["text"].split()) if match else ""


def _markdown(notebook: dict) -> str:
    cells = (cell for cell in notebook["cells"] if cell.get("cell_type") == "markdown")
    return source(next(cells, {}))
