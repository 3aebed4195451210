"""What a process prints into a log, without what looks like a secret: libraries print addresses and keys as they have them."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from launcher.artifacts.masking import mask

from .terminal import is_terminal

_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
LONGEST = 1 << 16
"""Characters of a line, or of a private key's lines, that are waited for."""


class Masked(io.TextIOBase):
    """A stream whose lines are masked as they are complete; what is flushed of one is masked as it is."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rest = ""
        self._lock = threading.RLock()  # a signal may come while a line is written, and be told of in the same thread

    def write(self, text: str) -> int:
        with self._lock:
            self._rest += text
            whole, newline, rest = self._rest.rpartition("\n")
            within_key = whole.rfind(_KEY_BEGINS) > whole.rfind(_KEY_ENDS)
            if len(self._rest) > LONGEST:
                self._put()
            elif newline and not within_key:
                self.stream.write(mask(whole + newline))
                self._rest = rest
        return len(text)

    def flush(self) -> None:
        with self._lock:
            self._put()
            self.stream.flush()

    def _put(self) -> None:
        rest, self._rest = self._rest, ""
        if rest:
            self.stream.write(mask(rest))

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # which has none of its own
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # as above
        return self.stream.errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def print_into(log: Path) -> None:
    """From now on what this process prints goes to the end of a log, masked."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    mask_output()


def mask_output() -> None:
    """From now on what this process prints is masked, where nobody sits before it: stdout, stderr, and the handlers of logs
    that have them already. What compiled code prints by itself is not."""
    made: dict[int, Masked] = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Masked) and not is_terminal(stream):
            made[id(stream)] = Masked(stream)
            setattr(sys, name, made[id(stream)])
    loggers = [
        logging.root,
        *(each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    for handler in (handler for logger in loggers for handler in logger.handlers):
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in made:
            handler.setStream(made[id(handler.stream)])
