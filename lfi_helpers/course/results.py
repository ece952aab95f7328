"""Records of runs that outlive the runner: one file per notebook, claims.json from all of them.

Writes atomically, so that a kill loses no finished notebook; never runs or judges one.
"""

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import lfi_helpers
from lfi_helpers.course.notebooks import Notebook, UsageError
from lfi_helpers.course.watch import Limits

LIMITS = {
    "teaching": Limits(wall_s=600, cpu_s=75, peak_bytes=1.2e9),
    "full": Limits(wall_s=6 * 3600),
}
PACKAGE = Path(lfi_helpers.__file__).parent
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
CLAIMED = ("title", "status", "wall_s", "cpu_s", "peak_mb", "claims")


@dataclass(frozen=True)
class Request:
    """One request to the runner: which scale and seed, where, and within which limits."""

    out: Path
    scale: str = "teaching"
    seed: int = 0
    workers: int = 2
    force: bool = False
    package: Path = PACKAGE
    limits: Limits | None = None

    @property
    def parameters(self) -> dict:
        """Return the parameters of every notebook of this request."""
        return {"SCALE": self.scale, "SEED": self.seed}

    @property
    def bounds(self) -> Limits:
        """Return the limits of this request, by default those of its scale."""
        return self.limits or LIMITS[self.scale]

    @cached_property
    def circumstances(self) -> dict:
        """Return what every result of this request depends on, as it is when first asked for."""
        files = sorted(self.package.rglob("*.py"))
        sums = [f"{file.relative_to(self.package)} {digest(file)}" for file in files]
        package = hashlib.sha256("\n".join(sums).encode()).hexdigest()
        return {
            "package": package,
            "scale": self.scale,
            "seed": self.seed,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, without importing anything."""
    ours = {"python": platform.python_version(), "lfi_helpers": lfi_helpers.__version__}
    return ours | {name: metadata.version(name) for name in LIBRARIES}


def digest(path: Path) -> str:
    """Return the sha256 of a file's content, or the reason why it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return str(error.strerror)


def fingerprint(notebook: Notebook, request: Request) -> dict:
    """Return all that a result depends on: two equal ones need only one run."""
    return {"notebook": digest(notebook.path), **request.circumstances}


def prepare(out: Path) -> None:
    """Make the output folders and try them.

    Raises:
        UsageError: if nothing can be written there.
    """
    probe = out / "records" / ".probe"
    try:
        for name in ("records", "executed", "logs"):
            (out / name).mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        message = f"out: expected a folder that can be written, got {out}: {error.strerror}"
        raise UsageError(message) from error


def write_json(path: Path, value: object) -> None:
    """Write a JSON file so that a reader finds the old one or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def record_path(out: Path, number: str) -> Path:
    """Return where the record of a notebook stands."""
    return out / "records" / f"{number}.json"


def load(out: Path, number: str) -> dict | None:
    """Return a notebook's record; None if there is none that can be read."""
    try:
        return json.loads(record_path(out, number).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def valid(notebook: Notebook, request: Request) -> dict | None:
    """Return the notebook's record if running it again would repeat it."""
    record = load(request.out, notebook.number)
    if record is None or record["fingerprint"] != fingerprint(notebook, request):
        return None
    return record


def write_claims(notebooks: list[Notebook], request: Request) -> list[dict]:
    """Assemble claims.json from all valid records of these notebooks; return the records."""
    records = [r for r in (valid(notebook, request) for notebook in notebooks) if r]
    claims = {
        "scale": request.scale,
        "seed": request.seed,
        "versions": request.circumstances["versions"],
        "notebooks": {r["number"]: {key: r[key] for key in CLAIMED} for r in records},
    }
    write_json(request.out / "claims.json", claims)
    return records
