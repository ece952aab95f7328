"""What a person reads after a run: a table, failing cells, an index page; never runs one."""

from pathlib import Path

from lfi_helpers.course.notebooks import UsageError
from lfi_helpers.course.results import Request


def table(records: list[dict]) -> str:
    """Return the table of these records, one line per notebook."""
    import pandas as pd

    return pd.DataFrame([_row(record) for record in records]).to_string(index=False)


def _row(record: dict) -> dict:
    held = sum(claim["ok"] for claim in record["claims"])
    slowest = record["slowest"]
    return {
        "NN": record["number"],
        "title": record["title"],
        "status": record["status"],
        "claims": f"{held}/{len(record['claims'])}",
        "CPU s": f"{record['cpu_s']:.1f}",
        "wall s": f"{record['wall_s']:.1f}",
        "peak MB": f"{record['peak_mb']:.0f}",
        "slowest cell": f"{slowest['id']} {slowest['seconds']:.1f} s" if slowest else "-",
    }


def failures(records: list[dict]) -> str:
    """Return the reason and the failing cell of each notebook that is not ok."""
    parts = []
    for record in records:
        if record["status"] != "ok":
            head = f"== {record['file']}: {record['status']}: {record['reason']}"
            parts.append(f"{head}\n{record['failure']}".rstrip())
    return "\n\n".join(parts)


def write_index(records: list[dict], request: Request) -> Path:
    """Write index.html: the table, linking executed copies and their pages."""
    from lfi_helpers.course.pages import write_markdown_page

    lines = [f"# The course at scale {request.scale}, seed {request.seed}", ""]
    columns = [*_row(records[0]), "read"] if records else ["nothing has run"]
    lines += [_line(columns), _line(["---"] * len(columns))]
    lines += [_line([*_row(record).values(), _links(record, request.out)]) for record in records]
    failed = failures(records)
    if failed:
        lines += ["", "```text", failed, "```"]
    page = request.out / "index.html"
    write_markdown_page("\n".join(lines), page, "The course")
    return page


def _line(values: list[str]) -> str:
    return f"| {' | '.join(str(value).replace('|', '&#124;') for value in values)} |"


def _links(record: dict, out: Path) -> str:
    copy = Path("executed") / record["file"]
    found = [path for path in (copy.with_suffix(".html"), copy) if (out / path).exists()]
    return ", ".join(f"[{path.suffix[1:]}]({path.as_posix()})" for path in found)


def last_request(out: Path) -> Request:
    """Return the scale and seed of the last run into this folder.

    Raises:
        UsageError: if there was none.
    """
    import json

    try:
        claims = json.loads((out / "claims.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"out: expected the results of a run, got none in {out}") from error
    return Request(out, scale=claims["scale"], seed=claims["seed"])
