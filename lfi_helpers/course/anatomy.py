"""The anatomy that every notebook of the course has: order, ids, tags, sizes, exercises.

Reads notebooks, never executes them. Every rule is a function from a notebook to a list of
violations, each one a sentence that says what was expected and what came.
"""

import ast
import re
from statistics import median

from lfi_helpers.course.code_rules import CODE_RULES, code_cells, lines
from lfi_helpers.course.figure_rules import FIGURE_RULES
from lfi_helpers.course.names import undefined_names
from lfi_helpers.course.notebooks import NAME, source, tags
from lfi_helpers.course.refusals import defaults

KERNELSPEC = {
    "name": "python3",
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
}
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FOREIGN_PATH = re.compile(
    r"(?<![\w.])(/(home|root|tmp|work|usr|mnt|data|content|scratch|opt|var|Users)/|~/"
    r"|[A-Z]:\\(Users|Windows|Program|Temp))"
)
BANNED_WORDS = re.compile(r"\b(simply|obviously|trivially|TODO|FIXME)\b", re.IGNORECASE)


def violations(name: str, notebook: dict) -> list[str]:
    """List everything in which the notebook ``name`` departs from the anatomy."""
    match = NAME.fullmatch(name)
    if match is None:
        return ["name: expected NN_verb_phrase.ipynb"]
    found = _title(notebook, match["number"])
    broken = _not_python(notebook)
    if broken:
        return [*found, *broken]
    for rule in (*RULES, *CODE_RULES, *FIGURE_RULES, undefined_names):
        found += rule(notebook)
    return found


def _markdown(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def _format(notebook: dict) -> list[str]:
    found = []
    version = (notebook.get("nbformat"), notebook.get("nbformat_minor"))
    if version != (4, 5):
        found.append(f"format: expected 4.5, got {version}")
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    if notebook["metadata"] != metadata:
        found.append(f"metadata: expected {metadata}, got {notebook['metadata']}")
    for cell in code_cells(notebook):
        if cell["outputs"] or cell["execution_count"] is not None:
            found.append(f"{cell['id']}: expected no stored outputs")
    return found


def _ids(notebook: dict) -> list[str]:
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    found = [f"{id!r}: expected a slug as the cell's id" for id in ids if not SLUG.fullmatch(id)]
    return found + [f"{id}: expected unique ids" for id in sorted(set(ids)) if ids.count(id) > 1]


def _title(notebook: dict, number: str) -> list[str]:
    first = notebook["cells"][0] if notebook["cells"] else {}
    text = source(first)
    if first.get("cell_type") != "markdown" or first.get("id") != "title":
        return ["title: expected a markdown cell with this id at the top"]
    found = []
    if not re.match(rf"# {number} \u00b7 \S+ \S+", text):
        found.append(f"title: expected '# {number} \u00b7 Verb phrase' in the first line")
    image = rf"!\[headline figure: [^\]]{{10,}}\]\(\.\./docs/gallery/{number}\.png\)"
    if not re.search(image, text):
        found.append(f"title: expected ![headline figure: ...](../docs/gallery/{number}.png)")
    parts = re.split(r"What you['\u2019]ll (do|learn|need)\b", text)
    if parts[1::2] != ["do", "learn", "need"]:
        found.append("title: expected What you'll do, What you'll learn, What you'll need")
    learn = "".join(parts[4:5])
    points = re.findall(r"^\s*[-*] (.*)", learn, re.MULTILINE)
    if not 3 <= len(points) <= 5:
        found.append(f"title: expected a list of 3-5 abilities to learn, got {len(points)}")
    found += [f"title: abilities are not 'about': {p!r}" for p in points if "about" in p.split()]
    if not re.search(r"arXiv|Cranmer", text):
        found.append("title: expected the talk or paper it comes from")
    return found


def _order(notebook: dict) -> list[str]:
    ids = [cell.get("id") for cell in notebook["cells"]]
    found = []
    first = [cell.get("id") for cell in code_cells(notebook)][:3]
    if first != ["imports", "parameters", "setup"]:
        found.append(f"order: expected imports, parameters, setup as first code, got {first}")
    missing = {"question", "check-headline", "in-practice"} - set(ids)
    found += [f"order: expected a cell {id}" for id in sorted(missing)]
    if "in-practice" in ids:
        after = notebook["cells"][ids.index("in-practice") :]
        if any(cell["cell_type"] == "code" for cell in after):
            found.append("in-practice: expected only text from here on")
    if not any(re.search(r"^#+ .*break", source(c), re.I | re.M) for c in _markdown(notebook)):
        found.append("order: expected a section that breaks the method on purpose (Break it)")
    return found


def _parameters(notebook: dict) -> list[str]:
    tagged = [cell for cell in notebook["cells"] if "parameters" in tags(cell)]
    if [cell.get("id") for cell in tagged] != ["parameters"]:
        return ["parameters: expected exactly one cell with this id and this tag"]
    try:
        values = defaults(source(tagged[0]))
    except ValueError as error:
        return [f"parameters: expected lines NAME = literal, got {error}"]
    if list(values.items())[:2] != [("SCALE", "teaching"), ("SEED", 0)] or len(values) > 4:
        return [f"parameters: expected SCALE = 'teaching', SEED = 0, at most two more: {values}"]
    return []


def _sizes(notebook: dict) -> list[str]:
    sizes = {cell["id"]: lines(cell) for cell in code_cells(notebook)}
    words = sum(len(source(cell).split()) for cell in _markdown(notebook))
    limits = [
        ("cells", len(notebook["cells"]), 20, 45),
        ("words of text", words, 600, 1800),
        ("median lines of a code cell", median(sizes.values() or [0]), 1, 8),
        ("lines of code", sum(sizes.values()), 1, 180),
        ("lines in imports", sizes.get("imports", 0), 1, 15),
    ]
    found = [
        f"{what}: expected {low}-{high}, got {got:g}"
        for what, got, low, high in limits
        if not low <= got <= high
    ]
    return found + [f"{id}: expected <= 30 lines, got {n}" for id, n in sizes.items() if n > 30]


def _exercises(notebook: dict) -> list[str]:
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    cells = dict(zip(ids, notebook["cells"], strict=True))
    numbers = sorted(int(id[9:]) for id in ids if re.fullmatch(r"exercise-\d+", id))
    if numbers != list(range(1, len(numbers) + 1)) or not 2 <= len(numbers) <= 4:
        return [f"exercises: expected 2-4 cells exercise-1, exercise-2 ..., got {numbers}"]
    found = []
    for k in numbers:
        wanted = [f"exercise-{k}", f"answer-{k}", f"solution-{k}", f"check-exercise-{k}"]
        if [id for id in ids if id in wanted] != wanted:
            found.append(f"exercise-{k}: expected the cells {', '.join(wanted)} in this order")
            continue
        found += _exercise(k, *(cells[id] for id in wanted))
    return found


def _exercise(k: int, question: dict, answer: dict, solution: dict, check: dict) -> list[str]:
    found = []
    if "<details>" not in source(question):
        found.append(f"exercise-{k}: expected a hint in a <details> block")
    if not re.search(rf"^answer_{k} = None", source(answer), re.MULTILINE):
        found.append(f"answer-{k}: expected answer_{k} = None")
    hidden = solution["metadata"].get("jupyter", {}).get("source_hidden")
    if "solution" not in tags(solution) or hidden is not True:
        found.append(f"solution-{k}: expected the tag solution and a hidden source")
    if not re.search(rf"\bsolution_{k}\b.*=", source(solution)):
        found.append(f"solution-{k}: expected it to compute solution_{k}")
    value = f"solution_{k} if answer_{k} is None else answer_{k}"
    if value not in " ".join(source(check).split()):
        found.append(f"check-exercise-{k}: expected it to check {value}")
    return found


def _text(notebook: dict) -> list[str]:
    found = []
    for cell in notebook["cells"]:
        for pattern, what in ((FOREIGN_PATH, "absolute path"), (BANNED_WORDS, "word")):
            found += [
                f"{cell.get('id')}: {what} {match[0]!r} does not belong here"
                for match in pattern.finditer(source(cell))
            ]
    return found


def _not_python(notebook: dict) -> list[str]:
    found = []
    for cell in code_cells(notebook):
        try:
            ast.parse(source(cell))
        except SyntaxError as error:
            text = (error.text or "").strip()
            found.append(f"{cell['id']}: expected plain Python without magics, got {text!r}")
    return found


RULES = (_format, _ids, _order, _parameters, _sizes, _exercises, _text)
