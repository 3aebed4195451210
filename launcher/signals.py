"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 (what SLURM sends) ask a run to save and leave.

They reach a run in three ways: sent to its main process alone (kill), to its whole process group (Ctrl-C), or to
every process it has (SLURM). So the processes around a run must not die of them: the server that workers are forked
from holds them back, a worker hears them from the moment it listens, a data worker ignores what is not its parent's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
LEFT = 130
"""Exit status after a second Ctrl-C: 128 + SIGINT, as shells have it."""


@dataclass
class Interrupt:
    """What a signal asked for: the handler sets it, the loop reads it at every step's end.

    `told` is called once, by the handler, as soon as there is a signal: to pass it on to where the run is.
    """

    signal: int | None = None
    told: Callable[[], None] | None = None
    quiet: bool = False
    """Whether somebody else says what comes of a signal: a run that is only followed does not save."""


@contextmanager
def listening(interrupt: Interrupt, say: Callable[[str], None], impatient: bool) -> Iterator[None]:
    """While it is open, a signal is written into `interrupt`; the loop reads it at the end of a step.

    With `impatient` (a person's own terminal) a second Ctrl-C leaves at once with status 130. Workers are not:
    the terminal and the driver may both send them the same Ctrl-C. Signals that were held back arrive now.
    """
    owner = os.getpid()
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a child that a library forked: the signal is about this run, not about its helpers
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if impatient and number == signal.SIGINT and signal.SIGINT in seen:
            os._exit(LEFT)
        seen.append(number)
        if interrupt.signal is None:
            interrupt.signal = number
            if interrupt.told is not None:
                interrupt.told()
            hint = " (Ctrl-C again leaves at once)" if impatient and number == signal.SIGINT else ""
            if not interrupt.quiet:
                say(f"{signal.Signals(number).name}: saving at the end of this step{hint}")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    held = _mask("SIG_UNBLOCK")
    try:
        yield
    finally:
        if held:
            signal.pthread_sigmask(signal.SIG_BLOCK, held)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes started meanwhile begin with the signals held back: they wait, and are lost only with the process."""
    held = _mask("SIG_BLOCK")
    try:
        yield
    finally:
        if free := set(SIGNALS) - held:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, free)


def obey_parent_alone(worker_id: int = 0) -> None:
    """In a process started under `held_back`: it ends when the process that asked for it has ended, or sends it SIGTERM;
    no other signal is its. Where the system can not tell who sent a signal, it waits for the former.

    The process that asked is not always the one that it was forked from: under a forkserver that is the server, which
    lives on. Takes what `DataLoader` gives its `worker_init_fn`.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def outlive() -> None:
        parent.join()
        os._exit(0)

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            continue
        os._exit(0)

    threading.Thread(target=outlive, name="parent", daemon=True).start()
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=watch, name="signals", daemon=True).start()


def _mask(how: str) -> set[int]:
    """Block or unblock the signals in this thread; returns those of them that were blocked before."""
    if not hasattr(signal, "pthread_sigmask"):
        return set(SIGNALS) if how == "SIG_BLOCK" else set()
    return set(signal.pthread_sigmask(getattr(signal, how), SIGNALS)) & set(SIGNALS)
