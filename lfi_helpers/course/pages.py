"""Turn executed copies into HTML pages with nbconvert; never executes or judges anything.

nbconvert does not know that the description of a figure stands in its cell's metadata, so one
block of its template is replaced.
"""

import os
import re
from pathlib import Path

from lfi_helpers.course.notebooks import source

TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
     alt="{{ cell.metadata.get('mystnb', {}).get('image', {}).get('alt', '') | escape_html }}">
</div>
{%- endblock data_png -%}
"""
LINK = re.compile(r"(?<=\]\()(?=\.\./)")


def write_page(copy: Path, page: Path, notebooks: Path) -> None:
    """Write the page of an executed copy; links of the notebook keep pointing where they did."""
    import nbformat

    notebook = nbformat.read(copy, as_version=4)
    prefix = f"{os.path.relpath(notebooks, page.parent)}/"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(prefix, source(cell))
    page.write_text(_html(notebook, page.stem), encoding="utf-8")


def write_markdown_page(text: str, page: Path, title: str) -> None:
    """Write a page that holds one text in markdown."""
    import nbformat.v4

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    page.write_text(_html(notebook, title), encoding="utf-8")


def _html(notebook: object, title: str) -> str:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    loader = DictLoader({"course.html.j2": TEMPLATE})
    exporter = HTMLExporter(extra_loaders=[loader], template_file="course.html.j2")
    return exporter.from_notebook_node(notebook, {"metadata": {"name": title}})[0]
