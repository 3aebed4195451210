"""Under which id a tracker keeps a run: written into the run's folder, so that a resumed run goes on under the same."""

from __future__ import annotations

import json
import os
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


def new_id() -> str:
    """Sixteen hex digits."""
    return os.urandom(8).hex()
