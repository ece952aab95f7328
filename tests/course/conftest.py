"""Tiny notebooks, good and deliberately bad, and a look at what a runner leaves behind."""

import json

import psutil
import pytest

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
IMPORTS = (
    "import os, sys, time\n"
    "from lfi_helpers.checks import check\n"
    "from lfi_helpers.records import RUN_MIME, publish"
)
PARAMETERS = 'SCALE = "teaching"\nSEED = 0'
SETUP = 'publish(RUN_MIME, {"scale": SCALE, "seed": SEED}, "set up")'
CHECK = 'check("two and two", 2 + 2, near=4, within=0.5)'


def cell(id, source, *tags, **metadata):
    """Return a code cell without outputs."""
    metadata = {"tags": list(tags), **metadata} if tags else metadata
    return {
        "cell_type": "code",
        "id": id,
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


@pytest.fixture(scope="session")
def tiny():
    """Return a function that builds a good notebook of five cells, changed as asked.

    ``body`` are code cells before the claim; ``setup``, ``check`` and ``parameters`` (a list of
    sources, one cell each) replace the good ones.
    """

    def build(*body, setup=SETUP, check=CHECK, parameters=(PARAMETERS,), kernel=KERNEL):
        title = "# 01 \u00b7 Try the runner\n\n**What you'll do**: add two\nand two.\n\nMore."
        head = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": title}
        numbered = [
            cell(f"parameters-{k}" if k else "parameters", source, "parameters")
            for k, source in enumerate(parameters)
        ]
        body = [c if isinstance(c, dict) else cell(f"body-{k}", c) for k, c in enumerate(body)]
        cells = [head, cell("imports", IMPORTS), *numbered, cell("setup", setup)]
        claim = [cell("check-headline", check, "check")] if check else []
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        return {
            "cells": [*cells, *body, *claim],
            "metadata": metadata,
            "nbformat": 4,
            "nbformat_minor": 5,
        }

    return build


@pytest.fixture(scope="session")
def code_cell():
    """Return the function that builds a code cell."""
    return cell


@pytest.fixture(scope="session")
def write():
    """Return a function that writes notebooks, given by their file names, into a folder."""

    def write(folder, notebooks):
        folder.mkdir(parents=True, exist_ok=True)
        for name, notebook in notebooks.items():
            text = notebook if isinstance(notebook, str) else json.dumps(notebook)
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def left_behind():
    """Return a function that lists the processes still at work in a folder of notebooks."""

    def look(folder):
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    return look
