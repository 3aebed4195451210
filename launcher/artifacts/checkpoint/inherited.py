"""What a run goes on from that another one has left: its checkpoint and its curve, with options of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from launcher.artifacts.folder import CHECKPOINTS
from launcher.artifacts.metrics_file import FILE as METRICS
from launcher.errors import ConfigError

FILE = "inherited.json"


def inherit(source: Path, folder: Path) -> int:
    """Give a run that has not begun the newest checkpoint of the run in `source`; returns its step. Raises ConfigError."""
    steps = [
        int(name) for each in (source / CHECKPOINTS).glob("step-*") if (name := each.name[len("step-") :]).isdigit()
    ]
    if not steps:
        raise ConfigError(f"{folder}: there is no checkpoint in {source} that it could go on from")
    name = f"step-{max(steps)}"
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # half of it, of a driver that was killed
    shutil.copytree(source / CHECKPOINTS / name, folder / CHECKPOINTS / name)
    shutil.copyfile(source / METRICS, folder / METRICS)
    (folder / FILE).write_text(json.dumps({"run": source.name, "step": max(steps)}), encoding="utf-8")
    return max(steps)


def step_of(folder: Path) -> int | None:
    """The step at which a run has taken over from another one; None of a run that began by itself."""
    try:
        known = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    step: int = known["step"]
    return step
