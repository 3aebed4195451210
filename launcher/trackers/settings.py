"""What a service's own users set: its environment variables decide where the config says nothing, before our defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError, did_you_mean

from .run_ids import read_id

_YES = ("1", "true", "yes", "on")


def chosen(value: Any, variable: str, default: Any = None) -> Any:
    """The config's value; without one the variable's, without that the default."""
    return os.environ.get(variable) or default if value is None else value


def switched_on(variable: str) -> bool:
    """Whether a variable says yes."""
    return os.environ.get(variable, "").strip().lower() in _YES


def mode_of(value: str | None, variable: str, modes: tuple[str, ...], default: str) -> str:
    """The config's mode, else the variable's, else the default. Raises ConfigError for one that there is not here."""
    found = str(chosen(value, variable, default)).strip().lower()
    if found not in modes:
        raise ConfigError(f"{variable}={found}: expected {', '.join(modes)}.{did_you_mean(found, modes)}")
    return found


def run_id(folder: Path, tracker: str, variable: str, group: Any) -> str | None:
    """The id that the run in `folder` has, or that the variable gives it. Raises ConfigError where it can not be obeyed."""
    own, asked = read_id(folder, tracker), os.environ.get(variable) or None
    if asked is None or asked == own:
        return own
    if group:
        raise ConfigError(f"{variable}={asked} names one run, and this is one of several, of {group}")
    if own is not None:
        raise ConfigError(f"{variable}={asked}: the run that is resumed has the id {own}")
    return asked
