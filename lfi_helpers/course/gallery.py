"""Refresh docs/gallery and the map of the course from executed copies; never executes a notebook.

A picture that has not changed is left alone, so that it makes no new version in the repository.
"""

import base64
import io
import re
from pathlib import Path

from lfi_helpers.course.notebooks import Notebook, alt_text, promise, read, tags
from lfi_helpers.course.results import digest, load

MAX_BYTES = 80_000
WIDTHS = (800, 640, 480, 320)
COLOURS = (256, 64, 16)
BEGIN, END = "<!-- map of the course: begin -->", "<!-- map of the course: end -->"


def refresh_pictures(notebooks: list[Notebook], out: Path, gallery: Path) -> dict[str, str]:
    """Write the headline figure of every notebook with a good teaching run to ``NN.png``.

    Returns:
        For each notebook "new", "same", or why its picture was not refreshed.
    """
    return {n.number: _refresh(n, out, gallery / f"{n.number}.png") for n in notebooks}


def _refresh(notebook: Notebook, out: Path, target: Path) -> str:
    record = load(out, notebook.number)
    copy = out / "executed" / notebook.path.name
    if record is None or record["status"] != "ok" or not copy.exists():
        return "no good run"
    if record["fingerprint"]["scale"] != "teaching":
        return "not run at teaching scale"
    if record["fingerprint"]["notebook"] != digest(notebook.path):
        return "changed since it was run"
    picture = headline_picture(read(copy))
    if picture is None:
        return "no picture in a cell tagged headline"
    small = shrink(picture)
    if target.exists() and _same(small, target.read_bytes()):
        return "same"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(small)
    return "new"


def headline_picture(notebook: dict) -> bytes | None:
    """Return the last PNG of the cell tagged ``headline``; None if there is none."""
    pictures = [
        output["data"]["image/png"]
        for cell in notebook["cells"]
        if "headline" in tags(cell)
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return base64.b64decode("".join(pictures[-1])) if pictures else None


def shrink(picture: bytes) -> bytes:
    """Return the PNG with at most ``MAX_BYTES``: the widest, then the most colours that fit.

    Raises:
        ValueError: if none fits.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        page = Image.new("RGB", image.size, "white")
        rgba = image.convert("RGBA")
        page.paste(rgba, mask=rgba)
    for width in WIDTHS:
        size = (min(width, page.width), round(page.height * min(1, width / page.width)))
        small = page.resize(size, Image.Resampling.LANCZOS)
        for colours in COLOURS:
            stream = io.BytesIO()
            small.quantize(colours).save(stream, "PNG", optimize=True)
            if stream.tell() <= MAX_BYTES:
                return stream.getvalue()
    raise ValueError(f"picture: expected one that fits {MAX_BYTES} bytes, got {page.size}")


def _same(one: bytes, other: bytes) -> bool:
    """Do two pictures show the same, whatever their encoding?"""
    from PIL import Image, ImageChops, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
            if a.size != b.size:
                return False
            return ImageChops.difference(a.convert("RGB"), b.convert("RGB")).getbbox() is None
    except UnidentifiedImageError:
        return False


def refresh_map(notebooks: list[Notebook], page: Path, gallery: Path) -> bool:
    """Rewrite the table between the markers of a markdown page; return whether it changed.

    A page that does not exist is made; to a page without markers the table is appended.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else "# The notebooks\n"
    if BEGIN not in old or END not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    table = "\n".join(_table(notebooks, page, gallery))
    between = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    new = between.sub(lambda _: f"{BEGIN}\n{table}\n{END}", old)
    if page.exists() and new == page.read_text(encoding="utf-8"):
        return False
    page.write_text(new, encoding="utf-8")
    return True


def _table(notebooks: list[Notebook], page: Path, gallery: Path) -> list[str]:
    lines = ["| NN | Notebook | What you'll do | |", "|---|---|---|---|"]
    for notebook in notebooks:
        content = read(notebook.path)
        link = f"[{notebook.title}]({notebook.path.name})"
        picture = _picture(content, gallery / f"{notebook.number}.png", page)
        cells = (notebook.number, link, promise(content), picture)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return lines


def _picture(content: dict, picture: Path, page: Path) -> str:
    import html
    import os

    if not picture.exists():
        return ""
    alt = next((alt_text(cell) for cell in content["cells"] if "headline" in tags(cell)), "")
    where = Path(os.path.relpath(picture, page.parent)).as_posix()
    return f'<img src="{where}" alt="{html.escape(alt)}" width="240">'
