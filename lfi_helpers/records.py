"""What a notebook tells the runner: run and claim records beside a line of text.

Imports nothing heavy, judges nothing.
"""

import json

SCALES = ("teaching", "full")
RUN_MIME = "application/vnd.lfi.run+json"
CLAIM_MIME = "application/vnd.lfi.claim+json"


def publish(mime: str, record: dict, text: str) -> None:
    """Show ``text``; in a notebook, attach ``record`` to it as an output of type ``mime``."""
    if _in_notebook():
        from IPython.display import display

        display({"text/plain": text, mime: json.loads(json.dumps(record))}, raw=True)
    else:
        print(text)


def _in_notebook() -> bool:
    """Is this code run by a Jupyter kernel? (a terminal's IPython has no kernel)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
