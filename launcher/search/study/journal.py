"""The journal of a study: Optuna's file of one record a line, whole whatever happens while a line is written.

A process that dies, or a disk that is full, may leave a line that was not written to its end. Optuna's own would have the next
record stand behind it in the same line, which nobody can read any more: neither that record nor the whole study.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from .away import Waiting
from .lock import HostLock

_BEGINS = b'{"op_code":'


class Journal(JournalFileBackend):
    """The file at `path`, made where there is none; what it can not be given now it is given later (`waiting`)."""

    def __init__(self, path: Path, waiting: Waiting) -> None:
        self._held = HostLock(path.with_name(path.name + ".lock"))
        super().__init__(str(path), lock_obj=self._held)
        self._path, self._waiting = path, waiting
        self._next = (0, 0)  # the next record to be read: its number, and where its line begins

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add those records, all or none of them."""
        written = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        self._waiting(str(self._path), lambda: self._append(written))

    def _append(self, written: bytes) -> None:
        with self._held.held(), self._path.open("rb+") as file:
            end = _end(file.fileno())
            try:
                file.truncate(end)  # what nobody has written to its end
                file.seek(end)
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The records from that number on."""
        number, at = self._next if self._next[0] <= log_number_from else (0, 0)
        for line in BytesIO(self._waiting(str(self._path), partial(self._read, at))):
            if not line.endswith(b"\n"):
                return  # somebody is in the middle of it
            at += len(line)
            for record in _records(line):
                number += 1
                self._next = (number, at)
                if number > log_number_from:
                    yield record

    def _read(self, at: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(at)
            return file.read()


def _records(line: bytes) -> list[dict[str, Any]]:
    """What a line holds: one record; of one that begins in the middle of another, which had not come to its end, the last."""
    at = 0
    while at >= 0:
        try:
            return [json.loads(line[at:])]
        except ValueError:
            at = line.find(_BEGINS, at + 1)
    return []


def _end(file: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(file).st_size
    if end == 0 or os.pread(file, 1, end - 1) == b"\n":
        return end
    while end > 0:
        start = max(0, end - 65536)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
