"""Status: how a run or the trials of a study are, which jobs they are, and where their logs lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.console.console import Console
from launcher.errors import DONE, ConfigError

if TYPE_CHECKING:
    pass


def _status(config: DictConfig, console: Console) -> int:
    """How a run or the trials of a study are, which jobs they are, and where their logs lie."""
    from launcher.cluster.follow import report

    asked = Path(config.run or config.study)
    folder = next((path for path in (asked, Path("multirun") / asked) if path.is_dir()), None)
    if folder is None:
        raise ConfigError(f"{'run' if config.run else 'study'}={asked}: no such folder")
    inside = sorted(path.parent for path in folder.glob("*/config.yaml"))
    inside.sort(key=lambda path: (not path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0))
    own = folder / "config.yaml"
    folders = [*([folder] if own.exists() or own.is_symlink() else []), *inside]
    if not folders:
        raise ConfigError(f"{folder}: no run is here")
    rows = [("run", "state", "job", "log"), *report(folders)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        console.message("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return DONE
