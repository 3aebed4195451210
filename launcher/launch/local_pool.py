"""Pools: places that run a finished config in a folder. Verbs: submit and poll; cancel, abort
and kill, which end a run more and more roughly.

A folder that `submit` gets holds `config.yaml`; what became of it stands in its `result.json`. A pool adds only
what the folder cannot say: that a process died without a word.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from launcher.errors import FAILED
from launcher.process.signals import Interrupt, held_back, stay

from .forked import Forked, wait_for

PRELOAD = [
    "torch",
    "torch._dynamo",
    "accelerate",
    "hydra.utils",
    "launcher.train.build",
    "launcher.functional.calibration",
    "launcher.memory.activations",
    "launcher.parallel.single",
    "launcher.launch.driver",
    "launcher.procedures.single",
    "launcher.train.worker",
    "launcher.train.loops.supervised",
]
"""What the server imports once, so that each process forked from it starts, and evaluates, in hundredths of a second."""


_SURE = ("accelerate", "hydra", "launcher", "numpy", "optuna", "pandas", "skops", "sklearn", "torch", "torchmetrics")
"""Whose import does not fail, and does nothing else; other modules are imported with more care (`foreign`)."""
FOREIGN = "LAUNCHER_PRELOAD"
"""Names them to the server, with commas between them."""
FENCE = "LAUNCHER_FENCE"
"""What tells a trial's process with which fencing number of its lease it was started (`lease`)."""
LOOK_S = 1.0
"""How often it looks whether that still holds."""


class Pool(Protocol):
    """Where fits run. `submit` returns a handle, a pool's own word for what it has started; `poll` returns None while a
    fit runs, and once the exit status of its handle, which is then void."""

    slots: int
    outlives: bool
    """Whether what it runs goes on when the driver is gone, and is found again by `submit`."""

    def warm_up(self) -> None: ...

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> Any: ...

    def poll(self, handle: Any) -> int | None: ...

    def cancel(self, handles: Sequence[Any]) -> None: ...

    def abort(self, handle: Any) -> None: ...

    def kill(self, handle: Any) -> None: ...

    def wait(self, timeout: float) -> None: ...


@runtime_checkable
class Together(Pool, Protocol):
    """A pool that takes many runs at once, and itself sees to it that no more than its slots are under way."""

    def submit_all(self, folders: Sequence[Path]) -> list[Any]:
        """Submit the runs in those folders; returns their handles."""
        ...


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


def start_server(preload: list[str]) -> BaseContext:
    """The server that processes are forked from, with those modules imported; signals to the whole group are not its."""
    foreign = [name for name in preload if name.partition(".")[0] not in _SURE]
    os.environ.pop(FOREIGN, None)
    if foreign:
        os.environ[FOREIGN] = ",".join(foreign)
    sure = [name for name in preload if name not in foreign]
    multiprocessing.set_forkserver_preload(
        ["launcher.process.preloaded", *sure, *(["launcher.process.foreign_modules"] if foreign else [])]
    )
    ensure_server()
    return multiprocessing.get_context("forkserver")


def ensure_server() -> None:
    """See that the server runs; one that was killed is started again, with what it imports."""
    from multiprocessing import forkserver, resource_tracker

    with held_back():
        resource_tracker.ensure_running()
    with held_back():  # once more: starting the other one has let some of them through again
        forkserver.ensure_running()


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(folder: str, resume: bool, threads: int, environment: dict[str, str]) -> None:
    """What a pool's process does: the run in `folder`, its words in log.txt, its exit status for the pool."""
    import faulthandler

    os.environ.update(environment)
    import torch

    from launcher.launch.driver import run_in_pool
    from launcher.process.exit import leave

    torch.set_num_threads(threads)
    log = os.open(Path(folder) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
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


def leave_with_the_driver(
    asked: Connection | None = None, interrupt: Interrupt | None = None, lost: Callable[[], bool] | None = None
) -> None:
    """From now on this process ends when the process that asked for it does: the driver's next start must find the
    folder free. It ends at once, as if killed, which any run survives.

    What comes through `asked` is a signal that the driver got, and is written into `interrupt`. It ends too when `lost`
    says that the trial is another driver's by now: its own may have been stopped, and can not end it.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        from multiprocessing.connection import wait

        if asked is not None and interrupt is not None:
            told = parent.sentinel not in wait([parent.sentinel, asked])
            main = threading.main_thread().ident
            if told and interrupt.signal is None and interrupt.early is not None and main is not None:
                signal.pthread_kill(main, signal.SIGTERM)  # it does not look, and is to leave at once
            elif told and interrupt.signal is None:
                interrupt.signal = signal.SIGTERM
        while not wait([parent.sentinel], None if lost is None else LOOK_S) and not (lost is not None and lost()):
            pass
        os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()
