"""evaluation.json: the metrics of a run's best weights, computed once more."""

from __future__ import annotations

import json
from pathlib import Path

from .provenance import provenance

FILE = "evaluation.json"


def write(folder: Path, step: int, metrics: dict[str, float]) -> Path:
    """Write the metrics of the weights of a step, with the origin of this process; returns the file."""
    path = folder / FILE
    content = {"step": step, "metrics": metrics} | provenance()
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
