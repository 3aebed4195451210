"""The range test as an action: it prints the suggestion and writes the curve."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import make_folder, remove_folder, write_config
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.preflight.lr_find import find


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """`action=lr_find`: the test alone, in a folder of its own; returns the exit status. Raises ConfigError."""
    console = Console()
    made = make_folder(folder)
    try:
        write_config(config, folder)
        rate = find(config, folder, console)
    except ConfigError:
        remove_folder(folder, made)
        raise
    if rate is not None:
        console.message(f"train with it: add optimizer.lr={rate:.3g}")
    return DONE
