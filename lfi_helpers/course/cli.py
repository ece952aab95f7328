"""The command line: ``python -m lfi_helpers.course run 30``; never does the work itself."""

import argparse
import sys
from pathlib import Path

from lfi_helpers.course.notebooks import UsageError, find, select, strays
from lfi_helpers.records import SCALES


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say.

    Returns:
        0 if all is well; 1 if a notebook did not run, a claim did not hold or a budget was not
        kept; 2 if the request makes no sense; 130 after Ctrl-C.
    """
    asked = _parser().parse_args(arguments)
    try:
        return asked.command(asked)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what has finished is kept; run again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lfi_helpers.course",
        description="Run the notebooks of the course, judge their claims and budgets, report.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(command.__name__.lstrip("_"), help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--notebooks", type=Path, default=Path("notebooks"), metavar="FOLDER")
        return sub

    add(_list, "list the notebooks")
    run = add(_run, "run notebooks and judge their claims and budgets")
    run.add_argument("wanted", nargs="*", metavar="NB", help="a number (30) or a file name")
    run.add_argument("--scale", choices=SCALES, default="teaching")
    run.add_argument("--seed", type=_natural, default=0)
    run.add_argument("--workers", type=_positive, default=2)
    run.add_argument("--force", action="store_true", help="run unchanged notebooks again")
    lint = add(_lint, "check the anatomy of notebooks without running them")
    lint.add_argument("wanted", nargs="*", metavar="NB", help="a number (30) or a file name")
    report = add(_report, "show the results of the last run again")
    gallery = add(_gallery, "refresh the pictures and the map of the course")
    for command in (run, report, gallery):
        command.add_argument("--out", type=Path, default=Path("build"), metavar="FOLDER")
    return parser


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected an integer in [0, 2**63), got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)


def _course(asked: argparse.Namespace) -> list:
    """Find the notebooks, and say which files are passed over."""
    for name in strays(asked.notebooks):
        print(f"passed over: {name} is not named NN_verb_phrase.ipynb")
    return find(asked.notebooks)


def _list(asked: argparse.Namespace) -> int:
    for notebook in _course(asked):
        print(f"{notebook.number}  {notebook.title}  ({notebook.path.name})")
    return 0


def _run(asked: argparse.Namespace) -> int:
    from lfi_helpers.course.progress import Progress
    from lfi_helpers.course.results import Request
    from lfi_helpers.course.schedule import run

    course = _course(asked)
    wanted = select(course, asked.wanted)
    request = Request(asked.out, asked.scale, asked.seed, asked.workers, asked.force)
    return _show(run(wanted, course, request, Progress()), course, request)


def _report(asked: argparse.Namespace) -> int:
    from lfi_helpers.course.report import last_request
    from lfi_helpers.course.results import valid

    request = last_request(asked.out)
    course = _course(asked)
    records = {notebook.number: valid(notebook, request) for notebook in course}
    missing = [number for number, record in records.items() if record is None]
    if missing:
        print(f"not run, or changed since: {', '.join(missing)}")
    return _show([record for record in records.values() if record], course, request)


def _show(records: list[dict], course: list, request) -> int:
    """Print the table and the failures of these records; 1 if one is not ok."""
    from lfi_helpers.course.report import failures, table, write_index
    from lfi_helpers.course.results import write_claims

    page = write_index(write_claims(course, request), request)
    if records:
        print(f"\n{table(records)}\n")
    if failed := failures(records):
        print(f"{failed}\n")
    print(f"results: {request.out / 'claims.json'}, {page}")
    return int(any(record["status"] != "ok" for record in records))


def _lint(asked: argparse.Namespace) -> int:
    from lfi_helpers.course.anatomy import violations
    from lfi_helpers.course.code_rules import defined_twice
    from lfi_helpers.course.notebooks import read

    course = _course(asked)
    found = 0
    for notebook in select(course, asked.wanted):
        for violation in violations(notebook.path.name, read(notebook.path)):
            print(f"{notebook.path.name}: {violation}")
            found += 1
    for violation in defined_twice({n.path.name: read(n.path) for n in course}):
        print(violation)
        found += 1
    return int(found > 0)


def _gallery(asked: argparse.Namespace) -> int:
    from lfi_helpers.course.gallery import refresh_map, refresh_pictures

    course = _course(asked)
    gallery = asked.notebooks.parent / "docs" / "gallery"
    outcome = refresh_pictures(course, asked.out, gallery)
    for number, text in outcome.items():
        print(f"{number} {text}")
    changed = refresh_map(course, asked.notebooks / "README.md", gallery)
    print(f"map {'new' if changed else 'same'}")
    return int(any(text not in ("new", "same") for text in outcome.values()))
