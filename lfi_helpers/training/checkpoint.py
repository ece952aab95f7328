"""Checkpoints that survive a kill at any moment: atomic, fingerprinted, never code. Knows no loop.

``torch.load`` does not notice a flipped bit, so every file has its SHA-256 in a manifest that is
written last and compared before anything is loaded. Files hold tensors and numbers only
(``weights_only=True``).
"""

import hashlib
import io
import json
import os
import warnings
from pathlib import Path

import torch

SCHEMA = 2


class Store:
    """A folder with the last two checkpoints of one training run.

    Args:
        folder: made if it does not exist.
        config: what identifies the run; another run's checkpoints are refused, not overwritten.
    """

    def __init__(self, folder: str | Path, config: dict):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config, sort_keys=True, default=str)
        self.config = hashlib.sha256(text.encode()).hexdigest()
        for stale in self.folder.glob("*.tmp"):
            stale.unlink()

    def save(self, step: int, state: dict) -> None:
        """Write the state of a step; when this returns, it is on the disk."""
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getvalue()
        name = f"step-{step:012d}"
        self._write(f"{name}.pt", content)
        sha256 = hashlib.sha256(content).hexdigest()
        manifest = {"schema": SCHEMA, "config": self.config, "step": step, "sha256": sha256}
        self._write(f"{name}.json", json.dumps(manifest).encode())
        for old in sorted(self.folder.glob("step-*.json"))[:-2]:
            old.with_suffix(".pt").unlink(missing_ok=True)
            old.unlink()

    def load(self, device: torch.device) -> dict | None:
        """Return the newest intact state, None if there is none.

        A damaged one is named in a warning, and the one before it is used.

        Raises:
            ValueError: if the checkpoints belong to other data, settings or another module.
        """
        for path in sorted(self.folder.glob("step-*.json"), reverse=True):
            content = self._verified(path)
            if content is not None:
                return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        return None

    def _verified(self, path: Path) -> bytes | None:
        try:
            manifest = json.loads(path.read_text())
            content = path.with_suffix(".pt").read_bytes()
            intact = hashlib.sha256(content).hexdigest() == manifest["sha256"]
            schema, config = manifest["schema"], manifest["config"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            intact, reason = False, f"{type(error).__name__}: {error}"
        else:
            reason = "its content does not match its fingerprint"
        if not intact:
            warnings.warn(f"checkpoint {path.stem} is damaged ({reason}); skipped", stacklevel=4)
            return None
        if (schema, config) != (SCHEMA, self.config):
            raise ValueError(
                f"checkpoint: expected one of this run (same data, settings and module), "
                f"got another's in {self.folder}: choose another folder or delete it"
            )
        return content

    def _write(self, name: str, content: bytes) -> None:
        """Write a whole file or none: temporary file, fsync, rename, fsync of the folder."""
        temporary = self.folder / f"{name}.tmp"
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
