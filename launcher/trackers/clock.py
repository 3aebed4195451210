"""Clock: when a line of metrics.jsonl was written, of a run whose sessions are told again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from launcher.artifacts import provenance
from launcher.artifacts.metrics_file import FILE


class Clock:
    """From seconds of training to the time of day.

    A line has the seconds of training over all sessions; provenance.json has for each session how many there were when
    it began and when that was. What a resume has repeated is of the later session. Where a folder does not know, its
    last line is as old as the file.
    """

    def __init__(self, folder: Path, records: Sequence[dict[str, Any]] = ()) -> None:
        found = provenance.read(folder) or {}
        told = [each.get("training") for each in [*found.get("before", []), found]]
        self._sessions: list[tuple[float, float]] = [
            (each["time_s"], datetime.fromisoformat(each["began"]).timestamp()) for each in told if each
        ]
        if not self._sessions and records:
            self._sessions = [(records[-1]["time_s"], (folder / FILE).stat().st_mtime)]

    @property
    def began(self) -> float:
        """When the run began, in seconds since 1970; of one that has nothing yet, now."""
        began: float = self._sessions[0][1] if self._sessions else time.time()
        return began

    def at(self, record: dict[str, Any]) -> float:
        """When a line was written, in seconds since 1970."""
        time_s: float = record["time_s"]
        offset, began = next((each for each in reversed(self._sessions) if each[0] <= time_s), self._sessions[0])
        when: float = began + time_s - offset
        return when
