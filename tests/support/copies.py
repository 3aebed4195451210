"""A copy of the source, to be changed by a test."""

from __future__ import annotations

import shutil
from pathlib import Path

from .harness import ROOT


def copy_source(root: Path) -> Path:
    """Copy what runs into an empty folder; returns it. `python -m launcher` there, with it as PYTHONPATH, runs the copy."""
    for name in ("launcher", "conf", "tasks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root
