"""Pools: places that run a finished config in a folder. Verbs: submit and poll; cancel, abort
and kill, which end a run more and more roughly.

A folder that `submit` gets holds `config.yaml`; what became of it stands in its `result.json`. A pool adds only
what the folder cannot say: that a process died without a word.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from launcher.artifacts.log_file import FILE as LOG
from launcher.errors import FAILED
from launcher.process.forkserver import FENCE, PRELOAD, cores, ensure_server, leave_with_the_driver, start_server
from launcher.process.signals import stay

from .forked import Forked, wait_for


@dataclass
class LocalPool:
    """Processes on this machine, forked from a warm server; each has its share of the cores.

    A process that crashes takes nothing with it: its status is what `poll` returns (negative: the signal).
    """

    slots: int = 1
    preload: tuple[str, ...] = ()
    """Modules that its processes will need beside those that every fit does."""
    outlives: bool = False
    _processes: dict[int, Forked] = field(default_factory=dict)
    _context: BaseContext | None = None

    def warm_up(self) -> None:
        """Start the server now: it imports what it has to while the driver does other things."""
        if self._context is None:
            self._context = start_server([*PRELOAD, *self.preload])

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
        """Start the run in `folder`, with those variables in its environment; returns a handle."""
        self.warm_up()
        asked = os.environ.get("OMP_NUM_THREADS", "")  # a person's word counts for trials too
        threads = max(1, min(cores() // self.slots, int(asked) if asked.isdigit() else cores()))
        arguments = (str(folder), resume, threads, dict(environment or {}))
        process = Forked(self._started(arguments, folder.name), folder)
        self._processes[process.pid] = process
        return process.pid

    def _started(self, arguments: tuple[Any, ...], name: str) -> BaseProcess:
        """A process of the server's; of another server, where that one has been killed meanwhile."""
        assert self._context is not None
        ensure_server()
        for left in (1, 0):
            process: BaseProcess = self._context.Process(target=_run, args=arguments, name=name)  # type: ignore[attr-defined]
            try:
                process.start()
                break
            except (EOFError, OSError):
                if not left:
                    raise
                ensure_server()
        return process

    def poll(self, handle: int) -> int | None:
        status = self._processes[handle].status()
        if status is not None:
            self._processes.pop(handle).close()
        return status

    def cancel(self, handles: Sequence[int]) -> None:
        """Ask the runs to save and leave."""
        for handle in handles:
            self._processes[handle].send(signal.SIGTERM)

    def abort(self, handle: int) -> None:
        """End the run, and have it write into its log where it was."""
        self._processes[handle].send(signal.SIGABRT)

    def kill(self, handle: int) -> None:
        """End the run as it is."""
        self._processes[handle].send(signal.SIGKILL)

    def wait(self, timeout: float) -> None:
        """Return when one of the running processes has ended, or after `timeout` seconds."""
        if self._processes:
            wait_for(list(self._processes.values()), timeout)
        else:
            time.sleep(timeout)


def _run(folder: str, resume: bool, threads: int, environment: dict[str, str]) -> None:
    """What a pool's process does: the run in `folder`, its words in log.txt, its exit status for the pool."""
    import faulthandler

    os.environ.update(environment)
    import torch

    from launcher.console.masked_output import print_into
    from launcher.process.exit import leave

    from .run import run_in_pool

    torch.set_num_threads(threads)
    print_into(Path(folder) / LOG)
    faulthandler.enable()  # where a crash of compiled code was, for the log
    lost = _fenced(Path(folder))
    if lost is not None and lost():
        leave(FAILED)
    leave_with_the_driver(lost=lost)
    stay()
    status = run_in_pool(Path(folder), resume)
    sys.stdout.flush()
    sys.stderr.flush()
    leave(status)


def _fenced(folder: Path) -> Callable[[], bool] | None:
    """Asks whether the trial has changed hands since this process was started; None where it is no trial."""
    from launcher.process import lease

    fence = os.environ.get(FENCE)
    return None if fence is None else partial(lease.lost, folder, int(fence))
