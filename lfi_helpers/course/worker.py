"""Execute one notebook with papermill, in a process of its own; never judges what came out.

Usage (by ``watch`` only): ``python -m lfi_helpers.course.worker JOB``, where JOB is a JSON text
with source, copy, page, parameters, cells. The process lives no longer than its standard input.
"""

import json
import os
import sys
import threading
from pathlib import Path


def main(job: dict) -> int:
    """Execute the notebook and write its page; return 0 if no cell raised."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Validating IRIs costs 1.5 CPU s at import and no notebook has one; jsonschema does without.
    sys.modules["rfc3987_syntax"] = None
    import papermill
    from papermill.engines import papermill_engines

    from lfi_helpers.course.pages import write_page

    papermill_engines.register("course", _engine(Path(job["cells"])))
    status = 0
    try:
        papermill.execute_notebook(
            job["source"],
            job["copy"],
            job["parameters"],
            engine_name="course",
            kernel_name="python3",
            progress_bar=False,
            iopub_timeout=60,
        )
    except papermill.PapermillExecutionError:
        status = 1  # the copy holds the traceback
    write_page(Path(job["copy"]), Path(job["page"]), Path.cwd())
    return status


def _engine(cells: Path) -> type:
    """Return papermill's engine, made to write the number of finished cells into a file."""
    from papermill.engines import NBClientEngine

    class CountingEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, *args, **settings):
            complete = nb_man.cell_complete

            def cell_complete(cell, cell_index=None, **kwargs):
                complete(cell, cell_index=cell_index, **kwargs)
                cells.write_text(str(cell_index + 1))

            nb_man.cell_complete = cell_complete
            return super().execute_managed_notebook(nb_man, *args, **settings)

    return CountingEngine


def _die_with_parent() -> None:
    """Wait for the end of standard input: the runner is gone, so the kernel must go too."""
    import psutil

    while os.read(0, 1):
        pass
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
