"""The gallery and the map of the course, made from executed copies."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from lfi_helpers.course import gallery, results
from lfi_helpers.course.cli import main
from lfi_helpers.course.notebooks import find
from lfi_helpers.course.results import Request, digest

ALT = {"mystnb": {"image": {"alt": "Two curves | on top of each other."}}}


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def smooth(width, height):
    """Return a figure-like picture: a gradient."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.stack([np.tile(ramp, (height, 1))] * 3, axis=-1)


@pytest.fixture
def course(tmp_path, tiny, code_cell, write, monkeypatch):
    """Lay down one notebook with a good teaching run; return a function that changes its run."""
    draw = code_cell("draw", "plot()", "figure", "headline", **ALT)
    name = "01_draw_it.ipynb"
    folder = write(tmp_path / "notebooks", {name: tiny(draw)})
    out = tmp_path / "build"
    results.prepare(out)

    def ran(picture, **changes):
        copy = tiny({**draw, "outputs": []})
        data = {"image/png": base64.b64encode(picture).decode()} if picture else {}
        output = {"output_type": "display_data", "metadata": {}, "data": data}
        copy["cells"][4]["outputs"] = [output]
        write(out / "executed", {name: copy})
        content = {"notebook": digest(folder / name), "scale": "teaching", **changes}
        record = {"number": "01", "status": "ok", "fingerprint": content}
        results.write_json(results.record_path(out, "01"), record)

    monkeypatch.chdir(tmp_path)
    ran.notebooks, ran.out = folder, out
    ran.pictures = tmp_path / "docs" / "gallery"
    return ran


def test_picture_is_written_once_and_rewritten_only_when_it_changes(course, capsys):
    picture = course.pictures / "01.png"
    course(png(smooth(900, 500)))
    assert main(["gallery"]) == 0
    first = picture.read_bytes()
    picture.touch()
    before = picture.stat().st_mtime_ns
    assert main(["gallery"]) == 0
    assert picture.stat().st_mtime_ns == before
    course(png(255 - smooth(900, 500)))
    assert main(["gallery"]) == 0
    assert picture.read_bytes() != first
    assert [line for line in capsys.readouterr().out.splitlines() if line[:2] == "01"] == [
        "01 new",
        "01 same",
        "01 new",
    ]


@pytest.mark.parametrize("kind", ["smooth", "noise", "transparent"])
def test_picture_is_small_and_keeps_its_shape(kind):
    rng = np.random.default_rng(0)
    pixels = {
        "smooth": smooth(1600, 900),
        "noise": rng.integers(0, 255, (900, 1600, 3), dtype=np.uint8),
        "transparent": np.zeros((900, 1600, 4), dtype=np.uint8),
    }[kind]
    small = gallery.shrink(png(pixels))
    assert len(small) <= gallery.MAX_BYTES
    with Image.open(io.BytesIO(small)) as image:
        assert image.width <= 800
        assert image.width / image.height == pytest.approx(16 / 9, rel=0.01)
        if kind == "transparent":
            assert image.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_small_picture_is_not_blown_up():
    with Image.open(io.BytesIO(gallery.shrink(png(smooth(120, 90))))) as image:
        assert image.size == (120, 90)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": "full"}, "not run at teaching scale"),
        ({"notebook": "other"}, "changed since it was run"),
    ],
)
def test_picture_comes_only_from_a_run_of_what_is_there(course, capsys, changes, reason):
    course(png(smooth(90, 50)), **changes)
    assert main(["gallery"]) == 1
    assert f"01 {reason}" in capsys.readouterr().out
    assert not (course.pictures / "01.png").exists()


def test_notebook_without_run_or_picture_is_named(course, capsys):
    assert main(["gallery"]) == 1
    course(None)
    assert main(["gallery"]) == 1
    shown = capsys.readouterr().out
    assert "01 no good run" in shown
    assert "01 no picture in a cell tagged headline" in shown


def test_map_is_refreshed_between_its_markers_only(course):
    course(png(smooth(90, 50)))
    page = course.notebooks / "README.md"
    page.write_text(f"# Map\n\nBefore.\n\n{gallery.BEGIN}\nold\n{gallery.END}\n\nAfter.\n")
    main(["gallery"])
    text = page.read_text()
    assert text.startswith("# Map\n\nBefore.\n")
    assert text.endswith(f"{gallery.END}\n\nAfter.\n")
    row = (
        "| 01 | [Try the runner](01_draw_it.ipynb) | add two and two. | "
        '<img src="../docs/gallery/01.png" alt="Two curves &#124; on top of each other." '
        'width="240"> |'
    )
    assert row in text.splitlines()
    assert "old" not in text
    assert not gallery.refresh_map(find(course.notebooks), page, course.pictures)


def test_map_is_made_where_there_is_none(course):
    page = course.notebooks / "README.md"
    assert gallery.refresh_map(find(course.notebooks), page, course.pictures)
    text = page.read_text()
    assert gallery.BEGIN in text
    assert "<img" not in text, "no picture, no broken image"


def test_fingerprint_scale_is_the_one_of_the_request(tmp_path, course):
    notebook = find(course.notebooks)[0]
    recorded = results.fingerprint(notebook, Request(tmp_path, scale="full"))
    assert recorded["scale"] == "full"
    assert json.loads(json.dumps(recorded)) == recorded, "a record read back compares equal"
