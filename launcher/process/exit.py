"""The end of a process in which something hangs: a thread that never comes back must not keep it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from typing import NoReturn

from launcher.errors import FAILED

GRACE_S = 5.0
"""How long the interpreter's own end may take, once the main thread has left."""

_status = FAILED  # what an exception that nobody caught ends with
_LOCK = threading.Lock()
_watching = False


def leave(status: int) -> NoReturn:
    """End the main thread, and with it the process, with `status`."""
    settle(status)
    gc.freeze()  # or the interpreter looks once more through all that was ever imported, for a second
    sys.exit(status)


def settle(status: int) -> None:
    """What this process ends with, where its main thread does not say it by `leave` but returns."""
    global _status
    _status = status


def leave_all_behind() -> None:
    """From now on the process ends GRACE_S after its main thread, whoever else is still at work in it.

    The interpreter would wait for threads that are not daemons, and for what libraries do at its end: for ever, where
    one of them hangs.
    """
    global _watching
    with _LOCK:
        if not _watching:
            _watching = True
            threading.Thread(target=_watch, name="leaving", daemon=True).start()


def leave_soon() -> None:
    """From now on the process ends within GRACE_S, whatever its main thread still waits for: at the end of a child that
    is for its own children, which may not hear it."""

    def end() -> None:
        time.sleep(GRACE_S)
        os._exit(_status)

    threading.Thread(target=end, name="leaving", daemon=True).start()


def _watch() -> None:
    threading.main_thread().join()
    time.sleep(GRACE_S)
    os._exit(_status)
