"""A process that was forked from the warm server, and outlives it where the server alone is killed.

Only the server hears how its children end. When it is gone, a child that lives is watched by its number, and what became of it
stands in its run's result.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.result import read_result
from launcher.errors import DONE, FAILED, PREEMPTED
from launcher.process.holder import holder_of

from .outcome import ENDED

SERVER_GONE = 255
"""What multiprocessing says of a process whose end nobody has told it, dead or alive."""
_LOOK_S = 0.05


class Forked:
    """A process with the folder of its run."""

    def __init__(self, process: BaseProcess, folder: Path) -> None:
        assert process.pid is not None
        self.pid: int = process.pid
        self._process, self._folder, self._holder = process, folder, holder_of(process.pid)

    def status(self) -> int | None:
        """The exit status; None while it runs."""
        status = self._process.exitcode
        if status != SERVER_GONE:
            return status
        return None if self._holder.gone() is False else self._said()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self._holder.gone() is False:
            os.kill(self.pid, number)

    def close(self) -> None:
        """Forget a process that has ended."""
        self._process.close()

    def is_orphan(self) -> bool:
        """Whether its server is gone."""
        return self._process.exitcode == SERVER_GONE

    @property
    def sentinel(self) -> int:
        """What is ready when the process has ended, or its server."""
        return self._process.sentinel

    def _said(self) -> int:
        result = read_result(self._folder) or {}
        if result.get("status") in ENDED:
            return DONE
        if result.get("status") == "preempted":
            return PREEMPTED
        if not result:
            with (self._folder / LOG).open("a", encoding="utf-8") as log:
                log.write("error: it was killed, and so was the server of processes that it came from\n")
        return FAILED


def wait_for(processes: Sequence[Forked], timeout: float) -> None:
    """Return when one of them has ended, or after `timeout` seconds."""
    end = time.monotonic() + timeout
    orphans = [each for each in processes if each.is_orphan()]
    if not orphans:
        wait([each.sentinel for each in processes], timeout)
        return
    others = [each.sentinel for each in processes if each not in orphans]
    while time.monotonic() < end and all(each.status() is None for each in orphans) and not wait(others, 0):
        time.sleep(_LOOK_S)
