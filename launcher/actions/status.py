"""Status: how a run or the trials of a study are, which jobs they are, and where their logs lie."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import CONFIG
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Print the state of `config.run`, or of each trial of `config.study`."""
    from launcher.cluster.follow import report

    console = Console()
    asked = Path(config.run or config.study)
    place = next((path for path in (asked, Path("multirun") / asked) if path.is_dir()), None)
    if place is None:
        raise ConfigError(f"{'run' if config.run else 'study'}={asked}: no such folder")
    inside = sorted(path.parent for path in place.glob(f"*/{CONFIG}"))
    inside.sort(key=lambda path: (not path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0))
    own = place / CONFIG
    folders = [*([place] if own.exists() or own.is_symlink() else []), *inside]
    if not folders:
        raise ConfigError(f"{place}: no run is here")
    rows = [("run", "state", "job", "log"), *report(folders)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        console.message("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return DONE
