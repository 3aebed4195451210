"""A pool of one place: this process, which runs a fit before `submit` returns."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.artifacts.log_file import FILE as LOG
from launcher.process.signals import Interrupt


@dataclass
class Here:
    """For fits that take less time than a process to run them. A signal to the process is written into `interrupt`."""

    interrupt: Interrupt
    slots: int = 1
    outlives: bool = False
    _status: dict[int, int] = field(default_factory=dict)

    def warm_up(self) -> None:
        """This process is as warm as it will be."""

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
        """Run the fit in `folder` to its end, its words in its log; returns a handle."""
        from .run import run_in_pool

        handle = len(self._status)
        with (
            (folder / LOG).open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            self._status[handle] = run_in_pool(folder, resume, self.interrupt)
        return handle

    def poll(self, handle: int) -> int | None:
        return self._status[handle]

    def cancel(self, handles: Sequence[int]) -> None:
        """They have ended."""

    def abort(self, handle: int) -> None:
        """It has ended."""

    def kill(self, handle: int) -> None:
        """It has ended."""

    def wait(self, timeout: float) -> None:
        """There is nothing to wait for."""
