"""inputs.json: the jobs that a job of a procedure follows from, each with what its result was when this one started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from .files import object_of
from .result import RESULT

FILE = "inputs.json"


def digests(folder: Path, jobs: Sequence[str]) -> dict[str, str]:
    """The digest of each job's result.json, by the job's name; `folder` is that of the whole run."""
    return {name: hashlib.blake2b((folder / name / RESULT).read_bytes(), digest_size=8).hexdigest() for name in jobs}


def write_inputs(folder: Path, sources: dict[str, str]) -> None:
    """Write it beside and rename it."""
    beside = folder / f".{FILE}"
    beside.write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    beside.replace(folder / FILE)


def read_inputs(folder: Path) -> dict[str, str]:
    """The digests of when the job in `folder` started; none of a job that needs no other. Raises ConfigError where the
    file is damaged."""
    return object_of(folder / FILE, "take it away, and the job begins anew") or {}
