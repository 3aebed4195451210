"""One rank's process: its work, what it tells the driver of its end, and when it leaves with the others."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.console.console import Console
from launcher.errors import PREEMPTED, LauncherError, WorkerLost
from launcher.process.signals import Interrupt, LeftEarly

if TYPE_CHECKING:
    pass

import signal
import threading
import traceback
from typing import TYPE_CHECKING

from launcher.errors import DONE, FAILED

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


LEAVE_S = 3
"""How long a worker has to end by itself once another one is lost. The elastic agent would wait for half a minute."""


def _tell(errors: Path, name: str, record: dict[str, Any]) -> None:
    errors.mkdir(exist_ok=True)
    beside = errors / f"{name}.part"
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.replace(errors / f"{name}.json")


def _leave_with_the_others(errors: Path, rank: int) -> None:
    """From now on, SIGTERM ends this process within LEAVE_S where another worker has failed or is gone.

    The agent sends it then, and a batch system may at any time, when the run saves and leaves by itself. What the
    signal wakes is a thread: the main one may sleep, or wait in a collective that nobody will join.
    """
    here = socket.gethostname()  # another node's processes can not be asked after
    errors.mkdir(exist_ok=True)
    (errors / f"rank-{rank}.{here}.pid").write_text(str(os.getpid()))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def lost() -> bool:
        return any(errors.glob("*.json")) or not all(_alive(path.read_text()) for path in errors.glob(f"*.{here}.pid"))

    def watch() -> None:
        while os.read(woken, 1):
            if lost():
                time.sleep(LEAVE_S)
                os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):  # nothing is written yet: it is starting
        return not pid
    return True


def run_rank(folder: str, resume: bool, threads: int, asked: Connection, errors: Path) -> None:
    """What each worker does: its share of the run, and where that fails, its own words for the driver, in `errors`.

    What comes through `asked` is a signal that the driver got.
    """
    import torch

    from launcher.artifacts.folder import read_config
    from launcher.console.masked_output import mask_output
    from launcher.core.trial import this_trial
    from launcher.preflight.settle import refuse_too_large
    from launcher.process.exit import leave, leave_soon, settle
    from launcher.process.forkserver import leave_with_the_driver
    from launcher.process.signals import LeftEarly, leaving_early, listening, stay
    from launcher.train.worker import work

    mask_output()
    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else Accelerate warns and takes a number of its own
    rank = int(os.environ["RANK"])
    path = Path(folder)
    console, interrupt = Console(quiet=rank != 0), Interrupt()
    stay()
    _leave_with_the_others(errors, rank)

    def tell(error: BaseException) -> int:
        """What the driver is told; returns the exit status."""
        record = _record(rank, error)
        _tell(errors, f"rank-{rank}", record)
        return int(record["exit_status"])

    try:
        with (
            leaving_early(interrupt, lambda: tell(LeftEarly())),
            listening(interrupt, lambda text: None, impatient=False),  # the driver has said it
        ):
            leave_with_the_driver(asked, interrupt)
            trial = this_trial()
            report = None if trial is None else trial.reporter()
            work(read_config(path), path, resume, console, interrupt, report, refuse_too_large)
    except BaseException as error:
        status = tell(error)
        settle(status)
        leave_soon()  # until this rank is gone, nobody looks at what it told
        leave(status)
    settle(DONE)


def _record(rank: int, error: BaseException) -> dict[str, Any]:
    """What ended a worker, for the driver."""
    told = isinstance(error, LauncherError)
    early = isinstance(error, LeftEarly)
    return {
        "rank": rank,
        "time": time.time(),
        "exit_status": error.exit_status if isinstance(error, LauncherError) else PREEMPTED if early else FAILED,
        "message": str(error) if told else f"{type(error).__name__}: {error}",
        "waited": isinstance(error, WorkerLost),
        "traceback": None if told or early else traceback.format_exc(),
    }
