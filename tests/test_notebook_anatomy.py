"""Every notebook has the anatomy of the course, and every rule of it catches a planted fault."""

import copy
from pathlib import Path

import pytest

from lfi_helpers.course.anatomy import KERNELSPEC, violations
from lfi_helpers.course.cli import main
from lfi_helpers.course.code_rules import defined_twice
from lfi_helpers.course.names import undefined_names
from lfi_helpers.course.notebooks import find, read, strays

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COURSE = find(NOTEBOOKS)


@pytest.mark.parametrize("notebook", COURSE, ids=lambda notebook: notebook.number)
def test_notebook_has_the_anatomy(notebook):
    found = violations(notebook.path.name, read(notebook.path))
    assert not found, "\n".join(found)


def test_no_function_is_defined_in_two_notebooks():
    assert defined_twice({n.path.name: read(n.path) for n in COURSE}) == []


def test_every_file_has_a_name_of_the_course():
    assert strays(NOTEBOOKS) == []


# A minimal good notebook, and what each rule says of a fault planted in it.

TITLE = """# 30 \u00b7 Weigh two coins

![headline figure: two histograms of coins](../docs/gallery/30.png)

**What you'll do**: weigh.

**What you'll learn**

- to weigh a coin;
- to weigh two;
- to compare them.

**What you'll need**: nothing. From arXiv:1506.02169.
"""
HINT = "Guess.\n<details><summary>Hint</summary>Think.</details>"
WORDS = "word " * 200
ALT = {"mystnb": {"image": {"alt": "A line that rises from left to right."}}}
HIDDEN = {"jupyter": {"source_hidden": True}}


def text(id, source):
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": source}


def code(id, source, *tags, **metadata):
    metadata = {"tags": list(tags), **metadata} if tags else metadata
    rest = {"outputs": [], "execution_count": None}
    return {"cell_type": "code", "id": id, "metadata": metadata, "source": source, **rest}


def exercise(k):
    value = f"solution_{k} if answer_{k} is None else answer_{k}"
    return [
        text(f"exercise-{k}", HINT),
        code(f"answer-{k}", f"answer_{k} = None  # your prediction"),
        code(f"solution-{k}", f"solution_{k} = 2 * {k}", "solution", **HIDDEN),
        code(
            f"check-exercise-{k}", f'check("exercise {k}: x", {value}, near=1, within=9)', "check"
        ),
    ]


def good():
    imports = "import matplotlib.pyplot as plt\nfrom lfi_helpers import plots, run"
    setup = (
        "this = run.start(SCALE, SEED)\n"
        'N_SIM = {"teaching": 10, "full": 100}[SCALE]\n'
        "plots.style()"
    )
    cells = [
        text("title", TITLE),
        code("imports", f"{imports}\nfrom lfi_helpers.checks import check"),
        code("parameters", 'SCALE = "teaching"\nSEED = 0  # all numbers', "parameters"),
        code("setup", setup),
        text("question", f"## The question\n{WORDS}"),
        code(
            "data", "x = list(range(N_SIM))\ndef twice(value):\n    return [2 * v for v in value]"
        ),
        *(code(f"figure-{k}", "plt.plot(x)\nplt.show()", "figure", **ALT) for k in (1, 2)),
        code("figure-headline", "plots.overlay(twice(x));", "figure", "headline", **ALT),
        code("check-headline", 'check("length", len(x), above=3)', "check"),
        text("break-it", f"## Break it\n{WORDS}"),
        *exercise(1),
        *exercise(2),
        text("in-practice", f"## In practice\n{WORDS}"),
    ]
    metadata = {"kernelspec": dict(KERNELSPEC), "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def test_good_notebook_has_no_violation():
    assert violations("30_weigh_coins.ipynb", good()) == []


def at(notebook, id):
    return next(cell for cell in notebook["cells"] if cell["id"] == id)


def source(id, old, new):
    """Return a fault: ``old`` becomes ``new`` in the source of a cell."""

    def plant(notebook):
        cell = at(notebook, id)
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return plant


def append(id, line):
    """Return a fault: one more line at the end of a cell."""

    def plant(notebook):
        at(notebook, id)["source"] += f"\n{line}"

    return plant


def change(which, **fields):
    """Return a fault: other fields of a cell."""
    return lambda notebook: at(notebook, which).update(copy.deepcopy(fields))


def insert(*cells, before="break-it"):
    """Return a fault: more cells before one."""

    def plant(notebook):
        index = notebook["cells"].index(at(notebook, before))
        notebook["cells"][index:index] = copy.deepcopy(cells)

    return plant


def drop(*ids):
    """Return a fault: cells that are gone."""

    def plant(notebook):
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in ids]

    return plant


def untag(id):
    return change(id, metadata={})


FAULTS = {
    # file
    "old format": (lambda n: n.update(nbformat_minor=4), "format: expected 4.5"),
    "kernel": (lambda n: n["metadata"]["kernelspec"].update(name="lampe"), "metadata: expected"),
    "version": (lambda n: n["metadata"]["language_info"].update(version="3"), "metadata: expect"),
    "output": (change("data", outputs=[{}]), "data: expected no stored outputs"),
    "count": (change("data", execution_count=1), "data: expected no stored outputs"),
    "id": (change("data", id="cell_7"), "'cell_7': expected a slug"),
    "twin ids": (change("data", id="question"), "question: expected unique ids"),
    # title
    "no title": (drop("title"), "title: expected a markdown cell with this id"),
    "number": (source("title", "# 30", "# 31"), "title: expected '# 30 \u00b7 Verb phrase'"),
    "one word": (source("title", "Weigh two coins", "Coins"), "title: expected '# 30"),
    "picture": (source("title", "gallery/30.png", "gallery/3.png"), "title: expected ![headline"),
    "parts": (source("title", "What you'll need", "You need"), "title: expected What you'll do"),
    "abilities": (source("title", "- to weigh two;\n", ""), "3-5 abilities to learn, got 2"),
    "about": (source("title", "to weigh a coin", "about coins"), "abilities are not 'about'"),
    "origin": (source("title", "arXiv:1506.02169", "somewhere"), "expected the talk or paper"),
    # order
    "setup late": (insert(code("early", "y = 1"), before="setup"), "imports, parameters, setup"),
    "question": (change("question", id="ask"), "order: expected a cell question"),
    "headline check": (change("check-headline", id="check-it"), "a cell check-headline"),
    "practice": (drop("in-practice"), "order: expected a cell in-practice"),
    "code after": (lambda n: n["cells"].append(code("z", "z = 1")), "in-practice: expected only"),
    "nothing breaks": (source("break-it", "## Break it", "## Go on"), "breaks the method on purp"),
    # parameters
    "no tag": (untag("parameters"), "parameters: expected exactly one cell"),
    "two tags": (insert(code("p", "P = 1", "parameters")), "parameters: expected exactly one"),
    "other scale": (source("parameters", '"teaching"', '"full"'), "expected SCALE = 'teaching'"),
    "seed": (
        source("parameters", "SEED = 0", "SEED = 1"),
        "expected SCALE = 'teaching', SEED = 0",
    ),
    "many": (append("parameters", "A = 1\nB = 2\nC = 3"), "at most two more"),
    "derived": (append("parameters", "N = 2 * SEED"), "expected lines NAME = literal"),
    # sizes
    "few cells": (drop(*(c["id"] for c in exercise(2))), "cells: expected 20-45, got 16"),
    "many cells": (insert(*(text(f"t-{k}", "") for k in range(30))), "cells: expected 20-45, got"),
    "few words": (change("break-it", source="## Break it"), "words of text: expected 600-1800"),
    "many words": (append("break-it", WORDS * 7), "words of text: expected 600-1800"),
    "long cell": (append("data", "y = 1\n" * 30), "data: expected <= 30 lines, got 33"),
    "long median": (
        lambda n: [c.update(source=c["source"] + "\n#" * 8) for c in n["cells"]],
        "median lines of a code cell: expected 1-8",
    ),
    "much code": (
        insert(*(code(f"c-{k}", "y = 1\n" * 29) for k in range(6))),
        "lines of code: ex",
    ),
    "long imports": (append("imports", "import os\n" * 13), "lines in imports: expected 1-15"),
    # figures
    "few figures": (drop("figure-1"), "figures: expected 3-6 cells tagged figure, got 2"),
    "no headline": (change("figure-headline", metadata={"tags": ["figure"], **ALT}), "headline: "),
    "two headlines": (
        change("figure-1", metadata={"tags": ["figure", "headline"], **ALT}),
        "headline: expected exactly one figure with this tag, got 2",
    ),
    "no alt": (change("figure-1", metadata={"tags": ["figure"]}), "figure-1: expected a sentence"),
    "no figure tag": (untag("figure-1"), "figure-1: it draws: expected the tag figure"),
    "drawn by function": (
        insert(code("f", "def show_it():\n    plt.plot(x)"), code("g", "show_it()")),
        "g: it draws: expected the tag figure",
    ),
    "draws nothing": (change("figure-1", source="y = 1"), "tagged figure: expected it to draw"),
    "object shown": (change("figure-1", source="plt.plot(x)"), "plt.show() or a semicolon"),
    # exercises
    "one exercise": (drop(*(c["id"] for c in exercise(2))), "exercises: expected 2-4 cells"),
    "numbering": (change("exercise-2", id="exercise-3"), "exercises: expected 2-4 cells"),
    "no solution": (drop("solution-1"), "exercise-1: expected the cells exercise-1, answer-1"),
    "hint": (source("exercise-1", "<details>", ""), "exercise-1: expected a hint"),
    "answer": (source("answer-1", "None", "2"), "answer-1: expected answer_1 = None"),
    "open solution": (
        change("solution-1", metadata={"tags": ["solution"]}),
        "solution-1: expected",
    ),
    "unused answer": (
        source("check-exercise-1", "solution_1 if answer_1 is None else answer_1", "solution_1"),
        "check-exercise-1: expected it to check solution_1 if",
    ),
    # text
    "path": (append("question", "See /home/me/data."), "question: absolute path '/home/'"),
    "path in code": (append("data", "y = '/tmp/x'"), "data: absolute path '/tmp/'"),
    "home": (append("data", "y = '~/x'"), "data: absolute path '~/'"),
    "windows": (append("data", "y = r'C:\\Users\\me'"), "data: absolute path 'C:"),
    "hype": (append("question", "This is simply so."), "question: word 'simply'"),
    "unfinished": (append("data", "# TODO"), "data: word 'TODO'"),
    # code
    "magic": (append("data", "%matplotlib inline"), "data: expected plain Python without magics"),
    "shell": (append("data", "!pip install x"), "data: expected plain Python without magics"),
    "late import": (append("data", "import os"), "data: expected imports in the cell imports"),
    "network": (append("imports", "import urllib.request"), "imports: no network: urllib"),
    "subprocess": (append("imports", "from subprocess import run"), "imports: no shell: subproc"),
    "download": (append("data", "twice(x, download=True)"), "data: no network: download="),
    "address": (append("data", "y = 'https://example.org/x'"), "data: no network: https:"),
    "hidden warnings": (
        append("data", "warnings.filterwarnings('ignore')"),
        "are shown, not filt",
    ),
    "global seed": (append("data", "torch.manual_seed(0)"), "comes from this.generator(k)"),
    "legacy random": (append("data", "y = np.random.rand(3)"), "randomness derives from SEED"),
    "unseeded": (append("data", "y = np.random.default_rng()"), "randomness derives from SEED"),
    "writes": (append("data", "y = open('x', 'w')"), "data: open: no files"),
    "device": (append("data", "y = x.cuda()"), "data: x.cuda: the device is this.device"),
    # claims
    "no claim": (
        lambda n: [c.update(source="y = 1") for c in n["cells"] if c["id"].startswith("check-")],
        "claims: expected at least one check",
    ),
    "check tag": (untag("check-headline"), "check-headline: expected claims in cells check-"),
    "check id": (insert(code("c", 'check("c", x[0], below=1)', "check")), "c: expected claims in"),
    "empty check": (change("check-headline", source="y = 1"), "check-headline: expected a claim"),
    "try": (
        change("check-headline", source="try:\n    check('a', x[0], below=1)\nfinally:\n    pass"),
        "check-headline: expected no try, if or function around a claim",
    ),
    "if": (
        change("check-headline", source="if N_SIM > 50:\n    check('a', x[0], below=1)"),
        "check-headline: expected no try, if or function around a claim",
    ),
    "twice": (append("check-headline", 'check("length", len(x), above=2)'), "claim made twice"),
    "text of a claim": (
        source("check-headline", '"length"', 'f"{N_SIM}"'),
        "claim as a plain text",
    ),
    "trivial": (source("check-headline", "len(x)", "4"), "a number that was computed"),
    "bare": (source("check-headline", ", len(x)", ""), "expected check(text, value"),
    # scale and names
    "not started": (
        source("setup", "run.start(SCALE, SEED)", "run.start()"),
        "run.start(SCALE, SE",
    ),
    "scale flow": (
        append("data", "y = 1 if SCALE == 'full' else 2"),
        "data: expected SCALE only in",
    ),
    "scale late": (append("data", "y = {'full': 1}[SCALE]"), "data: expected SCALE only in setup"),
    "hidden state": (
        insert(code("early", "y = later + 1"), code("late", "later = 1")),
        "early: later is used before it is defined",
    ),
    "from nowhere": (append("data", "y = nowhere"), "data: nowhere is used before it is defined"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named(fault):
    plant, message = FAULTS[fault]
    notebook = good()
    plant(notebook)
    found = violations("30_weigh_coins.ipynb", notebook)
    assert any(message in violation for violation in found), found


def test_claim_may_name_the_case_of_a_loop():
    notebook = good()
    append("check-headline", "for k in x:\n    check(f'coin {k}', x[k], above=-1)")(notebook)
    assert violations("30_weigh_coins.ipynb", notebook) == []


@pytest.mark.parametrize("name", ["30.ipynb", "30_Weigh.ipynb", "3_weigh.ipynb", "30-weigh.ipynb"])
def test_name_of_the_file(name):
    assert violations(name, good()) == ["name: expected NN_verb_phrase.ipynb"]


USES = {
    # cells, then the names that are used too early
    "function sees its cell": (["def f():\n    return y\ny = 1"], []),
    "function needs its cell": (["def f():\n    return y", "y = 1"], ["y"]),
    "nested function": (["def f():\n    def g():\n        return y\n    return g"], ["y"]),
    "arguments are local": (["def f(a, *b, c=1, **d):\n    return a, b, c, d"], []),
    "default is immediate": (["def f(a=b):\n    return a\nb = 1"], []),
    "comprehension": (["y = [a + b for a in range(3) for b in range(a)]"], []),
    "comprehension needs": (["y = [a + b for a in range(3)]"], ["b"]),
    "loop defines": (["for i in range(3):\n    s = i\n    print(s)"], []),
    "with defines": (["with display() as f:\n    f()"], []),
    "same line": (["y = y + 1"], ["y"]),
    "augmented": (["y += 1"], ["y"]),
    "lambda": (["f = lambda a: a + b"], ["b"]),
    "class": (["class A:\n    n = 1\n    m = n"], []),
    "unpacked": (["a, (b, *c) = 1, (2, 3)\nprint(a, b, c)"], []),
    "walrus": (["if (n := 1) > 0:\n    print(n)"], []),
    "deleted": (["y = 1\ndel y\nprint(y)"], ["y"]),
    "imported": (["import a.b\nfrom c import d as e\nprint(a, e)"], []),
    "attribute is no name": (["x = 1\nx.y = 2\nprint(x.y)"], []),
    "built in": (["print(len(display))"], []),
}


@pytest.mark.parametrize("case", USES)
def test_names_used_too_early(case):
    cells, expected = USES[case]
    notebook = {"cells": [code(f"c-{k}", source) for k, source in enumerate(cells)]}
    found = undefined_names(notebook)
    assert [violation.split()[1] for violation in found] == expected


def test_function_in_two_notebooks_is_named():
    cells = {"cells": [code("data", "def twice(x):\n    return 2 * x")]}
    assert defined_twice({"30_a.ipynb": cells}) == []
    found = defined_twice({"30_a.ipynb": cells, "31_b.ipynb": cells})
    assert found == ["twice: defined in 30_a.ipynb and 31_b.ipynb: move it to the package"]


def test_lint_command_names_file_and_fault(tmp_path, capsys):
    import json

    bad = good()
    append("data", "y = nowhere")(bad)
    (tmp_path / "30_weigh_coins.ipynb").write_text(json.dumps(good()))
    assert main(["lint", "--notebooks", str(tmp_path)]) == 0
    (tmp_path / "30_weigh_coins.ipynb").write_text(json.dumps(bad))
    assert main(["lint", "30", "--notebooks", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "30_weigh_coins.ipynb: data: nowhere is used before it is defined" in shown
