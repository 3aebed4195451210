"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 (what SLURM sends) ask a run to save and leave.

They reach a run in three ways: sent to its main process alone (kill), to its whole process group (Ctrl-C), or to
every process it has (SLURM). So the processes around a run must not die of them: the server that workers are forked
from holds them back, a worker hears them from the moment it listens, a data worker ignores what is not its parent's.
They come more than once, too (`scancel` and what stands behind it, a person who is in a hurry): what a process has
saved and is about to say by its exit status is not changed by another one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
LEFT = 130
"""Exit status after a second Ctrl-C: 128 + SIGINT, as shells have it."""
LEAVE_S = 3.0
"""How long a process that leaves early has for that before it is ended."""


class LeftEarly(BaseException):
    """A signal came before there was anything to save; raised where the process stands, as KeyboardInterrupt is."""


@dataclass
class Interrupt:
    """What a signal asked for: the handler sets it, the loop reads it at every step's end.

    `told` is called once, by the handler, as soon as there is a signal: to pass it on to where the run is.
    """

    signal: int | None = None
    told: Callable[[], None] | None = None
    quiet: bool = False
    """Whether somebody else says what comes of a signal: a run that is only followed does not save."""
    early: Callable[[], int] | None = None
    """Set while nobody reads `signal`, because nothing has begun that could be saved (see `leaving_early`). Whoever
    begins to read `signal` takes it away."""


_listening: list[Interrupt] = []  # the ones that are open, outermost first
_until_the_end = False  # whether this process is the run's own, and ends with it


def stay() -> None:
    """This process ends with what it is about to do: once its outermost `listening` is over, signals change nothing.

    The interpreter takes a moment to end, and before that puts back what the system does with a signal.
    """
    global _until_the_end
    _until_the_end = True


@contextmanager
def listening(interrupt: Interrupt, say: Callable[[str], None], impatient: bool, last: bool = True) -> Iterator[None]:
    """While it is open, a signal is written into `interrupt`; the loop reads it at the end of a step.

    With `impatient` (a person's own terminal) a second Ctrl-C leaves at once with status 130. Workers are not:
    the terminal and the driver may both send them the same Ctrl-C. Signals that were held back arrive now.
    Where something else follows that is to hear signals itself, this is not the `last` one.
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
            if interrupt.early is not None:
                say(f"{signal.Signals(number).name}: leaving, no step has been taken that could be saved")
                raise LeftEarly
            hint = " (Ctrl-C again leaves at once)" if impatient and number == signal.SIGINT else ""
            if not interrupt.quiet:
                say(f"{signal.Signals(number).name}: saving at the end of this step{hint}")

    outermost = not _listening
    _listening.append(interrupt)
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        held = _mask("SIG_UNBLOCK")
        yield
    finally:
        _listening.pop()
        stays = outermost and last and _until_the_end
        if held and not stays:
            signal.pthread_sigmask(signal.SIG_BLOCK, held)
        for number, handler in before.items():
            # Who has pressed Ctrl-C, and does so again, does not wait for the interpreter's end.
            if not (stays and impatient and number == signal.SIGINT and number in seen):
                signal.signal(number, signal.SIG_IGN if stays else handler)


@contextmanager
def leaving_early(interrupt: Interrupt, left: Callable[[], int]) -> Iterator[None]:
    """While it is open and nobody has begun to read `interrupt.signal`, a signal raises LeftEarly in the main thread.

    Python's handlers wait for that thread to come back to the interpreter. So what the system writes into a pipe as
    a signal comes wakes another one at once, which ends the process where LEAVE_S were not enough, with the status
    that `left` returns. Whoever waited for such a pipe before is told too.
    """
    if interrupt.signal is not None:
        raise LeftEarly
    woken, wake = os.pipe()
    os.set_blocking(wake, False)

    def watch() -> None:
        while byte := os.read(woken, 1):
            if others != -1:
                os.write(others, byte)
            if byte[0] in SIGNALS and interrupt.early is not None:
                time.sleep(LEAVE_S)
                if interrupt.early is not None:
                    os._exit(interrupt.early())
        os.close(woken)

    others = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="leaving early", daemon=True).start()
    _wakes.append(wake)
    interrupt.early = left
    try:
        yield
    finally:
        interrupt.early = None
        _wakes.remove(wake)
        signal.set_wakeup_fd(others)
        os.close(wake)


_wakes: list[int] = []  # the pipes of those that are open


def _forked() -> None:
    """A child that a library forks has signals of its own."""
    if _wakes:
        _wakes.clear()
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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
