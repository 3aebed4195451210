"""The page of a run that still goes on: written anew after a checkpoint, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.artifacts import evidence
from launcher.artifacts.folder import CHECKPOINTS

LOOK_S = 2.0
"""Seconds between two looks for a checkpoint that is new."""
SHARE = 0.005
"""The most of the time that goes into pages: one that took a second is not written again for 200."""


class LivePage:
    """Writes `report.html` whenever `checkpoints/last` points to another step; the loop does not know of it. `look` gives
    what is known by then of the held-out samples, for evidence.json."""

    def __init__(self, folder: Path, look: Callable[[], dict[str, Any]] = dict) -> None:
        self._folder, self._look = folder, look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write no more; returns when a page that is being written is done."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        link, seen, pause = self._folder / CHECKPOINTS / "last", "", LOOK_S
        while not self._ended.wait(pause):
            pause = LOOK_S
            step = link.readlink().name if link.is_symlink() else ""
            if step == seen:
                continue
            started = time.perf_counter()
            with contextlib.suppress(Exception):  # the page at the end says what is wrong with it
                from .run_page import write

                evidence.write(self._folder, self._look())
                write(self._folder)
            seen, pause = step, max(LOOK_S, (time.perf_counter() - started) / SHARE)
