"""metrics.jsonl: one JSON object a line, append-only, handed to the operating system at each line.

A finite float is written in its shortest form that reads back as the same 64 bits. JSON has no other floats: the
rest are the strings "NaN", "Infinity" and "-Infinity", which Python's and NumPy's `float` read, and `read` here does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from launcher.artifacts.files import refuse_special
from launcher.artifacts.result import NOT_FINITE, spelled
from launcher.errors import ConfigError, TrainingError

FILE = "metrics.jsonl"


def encode(record: dict[str, Any]) -> bytes:
    """One line of the file, its end included."""
    try:
        text = json.dumps(record, allow_nan=False)
    except ValueError:
        text = json.dumps({key: spelled(value) for key, value in record.items()}, allow_nan=False)
    return text.encode() + b"\n"


class NoRecord(ConfigError, ValueError):
    """A line of metrics.jsonl that is no record: a value to whoever passes over it, and to a person one message."""


def decode(line: bytes) -> dict[str, Any]:
    """The record of one line. Raises ValueError for a line that is none."""
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("expected a JSON object")
    return {key: NOT_FINITE.get(value, value) if isinstance(value, str) else value for key, value in record.items()}


def content(path: Path) -> bytes:
    """The whole file. Raises OSError, and ConfigError for a pipe or a device, which has no end."""
    refuse_special(path)
    return path.read_bytes()


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, in order; none where there is no file.

    A last line without its end belongs to a run that was killed while writing it, and is left out.
    Raises NoRecord for any other line that is not a record, with its number.
    """
    try:
        lines = content(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NoRecord(f"{path}: {error.strerror}") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = decode(line)
            if not all(isinstance(value, int | float) for value in (record.get("step"), *record.values())):
                raise ValueError("expected numbers by name, and 'step' among them")
            records.append(record)
        except ValueError as error:
            raise NoRecord(f"{path}:{number}: {error}") from error
    return records


def odd_lines(path: Path) -> int:
    """How many lines of a file are no records, but for a last one that was cut short."""
    try:
        lines = content(path).split(b"\n")[:-1]
    except OSError:
        return 0
    odd = 0
    for line in lines:
        try:
            odd += "step" not in decode(line)
        except ValueError:
            odd += 1
    return odd


class Lines:
    """The file while it is written. `offset` is its length: a checkpoint keeps it, and a resume cuts the file there."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Opens the file, cut after `offset` bytes; a shorter one is cut after its last whole line. Raises TrainingError."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TrainingError(f"{path}: {error.strerror}") from error
        size = os.fstat(self._file).st_size
        self.offset = offset if size >= offset else os.pread(self._file, size, 0).rfind(b"\n") + 1
        if size != self.offset:  # else it keeps the time of its last line, which a later reader may ask for
            os.ftruncate(self._file, self.offset)

    def append(self, record: dict[str, Any]) -> None:
        """Add one line. Raises TrainingError where the disk does not take it; the file then ends with the line before."""
        rest = memoryview(encode(record))
        length = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, self.offset)
            raise TrainingError(
                f"{self.path}: {error.strerror}. The file is whole up to the line before; with that put right, `resume=` goes on"
            ) from error
        self.offset += length

    def sync(self) -> None:
        """Return when every line is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
