"""The fork server: a warm process that the fits' processes are forked from."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext

from launcher.errors import FAILED
from launcher.process.signals import Interrupt, held_back

PRELOAD = [
    "torch",
    "torch._dynamo",
    "accelerate",
    "hydra.utils",
    "launcher.train.build",
    "launcher.functional.calibration",
    "launcher.memory.activations",
    "launcher.parallel.single",
    "launcher.preflight.capacity",
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
