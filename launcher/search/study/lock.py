"""A lock between processes, of one machine or of several that share a folder, and who holds what.

Optuna's own lock of a journal outlives a process that was killed while it held it, and then costs everybody half a
minute. This one says who holds it, so that whoever waits on the same machine sees at once that nobody does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from launcher.adapters.optuna import BaseJournalFileLock
from launcher.process.holder import Holder, myself

GRACE_S = 30.0
"""After so long a lock of another machine is taken to be left behind."""


class HostLock(BaseJournalFileLock):
    """The right to change what lies beside `path`. Not for two threads of one process.

    On one machine the kernel hands it from process to process (`lockf`) and takes it back from one that dies. Between
    machines whose file system does not know that, a link holds it, as in Optuna's own.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._link = path, path.with_name(path.name + ".held")
        self._file: int | None = None

    def acquire(self) -> bool:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(self._file)
        except BaseException:  # a full disk has no room for a link either
            os.close(self._file)
            raise
        return True

    def _acquire(self, file: int) -> None:
        with contextlib.suppress(ImportError, OSError):  # no such lock here: the link alone has to do
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX)
        me = myself()
        seen, since = None, time.monotonic()
        while True:
            try:
                self._link.symlink_to(f"{me.host}|{me.boot}|{me.pid}|{me.started}")
                return
            except FileExistsError:
                held = self._held()
            if held != seen:
                seen, since = held, time.monotonic()
            if held is not None and (held.gone() or held == me or time.monotonic() - since > GRACE_S):
                self._break()
            else:
                time.sleep(0.002)

    def release(self) -> None:
        if self._held() == myself():  # else somebody has taken it for left behind, and it may be theirs by now
            self._link.unlink(missing_ok=True)
        assert self._file is not None
        os.close(self._file)
        self._file = None

    def _held(self) -> Holder | None:
        try:
            host, boot, pid, started = str(self._link.readlink()).split("|")
        except OSError:
            return None
        return Holder(host, boot, int(pid), started)

    def _break(self) -> None:
        aside = self._link.with_name(f"{self._link.name}-{uuid4().hex}")
        with contextlib.suppress(OSError):
            self._link.rename(aside)
            aside.unlink()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it meanwhile."""
        self.acquire()
        try:
            yield
        finally:
            self.release()
