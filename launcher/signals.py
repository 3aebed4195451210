"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 (what SLURM sends) ask a run to save and leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


@dataclass
class Interrupt:
    """What a signal asked for: the handler sets it, the loop reads it at every step's end."""

    signal: int | None = None


@contextmanager
def listening(interrupt: Interrupt, say: Callable[[str], None], impatient: bool) -> Iterator[None]:
    """While it is open, a signal is written into `interrupt`; the loop reads it at the end of a step.

    With `impatient` (a person's own terminal) a second Ctrl-C leaves at once with status 130. Workers are not:
    the terminal and the driver may both send them the same Ctrl-C.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if impatient and number == signal.SIGINT and interrupt.signal == signal.SIGINT:
            os._exit(130)
        if interrupt.signal is None:
            interrupt.signal = number
            hint = " (Ctrl-C again leaves at once)" if impatient and number == signal.SIGINT else ""
            say(f"{signal.Signals(number).name}: saving at the end of this step{hint}")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
