"""How a tracker gets later what it could not be told: the command, in words."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.console.summary import COMMAND, override

if TYPE_CHECKING:
    from .base import Tracker

_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")


def later(tracker: Tracker, folder: Path, config: dict[str, Any], result: dict[str, Any]) -> str:
    """The command that tells the tracker all of the run, with the settings that it has in the run's config."""
    if result.get("status") == "preempted":
        return f"{COMMAND} {override('resume', folder)} tells it all"
    words = [f"tracker=[{tracker.name}]", *_settings(tracker, config)]
    return f"{COMMAND} action=replay {override('run', folder)} {shlex.join(words)} tells it all"


def _settings(tracker: Tracker, config: dict[str, Any]) -> Iterator[str]:
    """The overrides of the settings that are not its class's own; the password in an address is left out."""
    known = inspect.signature(type(tracker).__init__).parameters
    for key, value in ((config.get("tracker") or {}).get(tracker.name) or {}).items():
        if key in known and isinstance(value, str | int | float | bool) and value != known[key].default:
            yield _PASSWORD.sub(r"\1:***@", f"tracker.{tracker.name}.{key}={value}")
