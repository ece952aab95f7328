"""Say how far a run is: a live line per notebook on a terminal, else plain start and finish lines.

Never knows what a notebook is about.
"""

import sys
from threading import Lock


class Progress:
    """Lines on standard output; its methods may be called from several threads."""

    def __init__(self, live: bool | None = None):
        """Show live bars if ``live``; by default on a terminal only."""
        self._live = sys.stdout.isatty() if live is None else live
        self._bars = {}
        self._lock = Lock()

    def start(self, number: str, cells: int) -> None:
        """Say that a notebook with so many cells starts."""
        with self._lock:
            if self._live:
                from tqdm import tqdm

                self._bars[number] = tqdm(
                    total=cells, desc=number, unit="cell", leave=False, file=sys.stdout
                )
            else:
                print(f"{number} starts: {cells} cells", flush=True)

    def cells(self, number: str, done: int) -> None:
        """Say how many cells of a notebook are done."""
        with self._lock:
            if number in self._bars:
                self._bars[number].n = done
                self._bars[number].refresh()

    def finish(self, number: str, line: str) -> None:
        """Say how a notebook ended."""
        with self._lock:
            if number in self._bars:
                self._bars.pop(number).close()
            if self._live:
                from tqdm import tqdm

                tqdm.write(line, file=sys.stdout)
            else:
                print(line, flush=True)
