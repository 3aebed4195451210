"""Under which id a tracker keeps a run: written into the run's folder, so that a resumed run goes on under the same."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "trackers"


def read_id(folder: Path, tracker: str) -> str | None:
    """The id that `tracker` gave the run in `folder`; None where it has given none yet."""
    try:
        found = json.loads((folder / FOLDER / f"{tracker}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(found["id"]) if isinstance(found, dict) and "id" in found else None


def write_id(folder: Path, tracker: str, value: str) -> None:
    """Keep it, before the tracker is given a line."""
    (folder / FOLDER).mkdir(exist_ok=True)
    path = folder / FOLDER / f"{tracker}.json"
    beside = path.with_name(f".{path.name}")
    beside.write_text(json.dumps({"id": value}) + "\n", encoding="utf-8")
    beside.replace(path)


@contextmanager
def held(folder: Path, tracker: str) -> Iterator[None]:
    """While it is open no other run gives `folder` an id with `tracker`: of the trials that begin together, the first does.

    Where the file system has no locks, two may, and the later one's stands.
    """
    try:
        import fcntl
    except ImportError:  # nor has Windows
        yield
        return
    (folder / FOLDER).mkdir(exist_ok=True)
    with (folder / FOLDER / f".{tracker}.lock").open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def new_id() -> str:
    """Sixteen hex digits."""
    return os.urandom(8).hex()
