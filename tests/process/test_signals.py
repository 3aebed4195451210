"""Signals: noted once, heard late if they came early, and no end of the processes around a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from launcher.data.batches import Batches
from launcher.data.samples import Batch, Samples
from launcher.process.forkserver import start_server
from launcher.process.signals import SIGNALS, Interrupt, listening


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_said_once(number: int) -> None:
    said: list[str] = []
    told: list[int] = []
    interrupt = Interrupt(told=lambda: told.append(1))
    before = signal.getsignal(number)
    with listening(interrupt, said.append, impatient=False):
        assert interrupt.signal is None
        for _ in range(3):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.signal == number
    assert said == [f"{signal.Signals(number).name}: saving at the end of this step"]
    assert told == [1]
    assert signal.getsignal(number) == before


IMPATIENT = """
import os, signal, sys
from launcher.process.signals import Interrupt, listening
interrupt = Interrupt()
with listening(interrupt, print, impatient=True):
    for name in sys.argv[1:]:
        os.kill(os.getpid(), getattr(signal, name))
    print("still here", signal.Signals(interrupt.signal).name)
"""


@pytest.mark.parametrize(
    ("sent", "status", "last"),
    [
        (["SIGINT"], 0, "still here SIGINT"),
        (["SIGINT", "SIGINT"], 130, "SIGINT: saving at the end of this step (Ctrl-C again leaves at once)"),
        (["SIGTERM", "SIGINT"], 0, "still here SIGTERM"),
        (["SIGTERM", "SIGINT", "SIGINT"], 130, "SIGTERM: saving at the end of this step"),
        (["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTERM"], 0, "still here SIGINT"),
    ],
)
def test_a_second_ctrl_c_leaves_at_once(sent: list[str], status: int, last: str) -> None:
    command = [sys.executable, "-u", "-c", IMPATIENT, *sent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.splitlines()[-1] == last


HELD_BACK = """
import os, signal
from launcher.process.signals import SIGNALS, Interrupt, held_back, listening
interrupt = Interrupt()
with held_back():
    os.kill(os.getpid(), signal.SIGUSR2)
    with listening(interrupt, print, impatient=False):
        pass
    os.kill(os.getpid(), signal.SIGINT)  # again held back
    assert signal.SIGINT in signal.sigpending()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(SIGNALS)
print(signal.Signals(interrupt.signal).name)
"""


def test_a_signal_that_was_held_back_is_heard_when_somebody_listens() -> None:
    done = subprocess.run([sys.executable, "-c", HELD_BACK], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["SIGUSR2: saving at the end of this step", "SIGUSR2"]


def _fork(child: Callable[[], None]) -> int:
    """The exit status of a forked child (negative: the signal that ended it)."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0), (signal.SIGUSR1, 0)]
)
def test_a_helper_that_a_library_forks_can_be_ended(number: int, status: int) -> None:
    interrupt = Interrupt()
    with listening(interrupt, lambda text: None, impatient=True):
        assert _fork(lambda: os.kill(os.getpid(), number)) == status
    assert interrupt.signal is None


class Numbers(Samples):
    """The numbers from 0 on; each fetch takes some time."""

    decodes = True

    def __len__(self) -> int:
        return 64

    def fetch(self, indices: Tensor) -> Batch:
        time.sleep(0.01)
        return {"x": indices.clone()}


def test_data_workers_outlive_every_signal_but_their_parents() -> None:
    batches = Batches(Numbers(), batch_size=8, seed=0, num_workers=2).start(0)
    expected = Batches(Numbers(), batch_size=8, seed=0).start(0)
    workers: list[BaseProcess] = list(batches._workers)  # type: ignore[attr-defined]
    for _ in range(12):
        for worker in workers:
            assert worker.pid is not None
            for number in SIGNALS:
                # From another process than its parent, as SLURM and the terminal send them.
                subprocess.run(["kill", f"-{number}", str(worker.pid)], check=True)
        assert torch.equal(next(batches)[0]["x"], next(expected)[0]["x"])
    workers[0].terminate()
    workers[0].join(20)
    assert workers[0].exitcode == 0
    workers[1].terminate()
    workers[1].join(20)
    assert workers[1].exitcode == 0


def _listen() -> None:
    time.sleep(0.3)  # what a process does before it listens
    interrupt = Interrupt()
    with listening(interrupt, lambda text: None, impatient=False):
        for _ in range(3000):  # as long as a busy machine may take to start `kill`
            if interrupt.signal is not None:
                break
            time.sleep(0.01)
    sys.exit(interrupt.signal or 1)


def test_a_worker_hears_what_came_before_it_listened_and_the_server_lives() -> None:
    from multiprocessing import forkserver, resource_tracker

    context = start_server(["torch"])
    server: int = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    tracker: int = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    for number in SIGNALS:
        process = context.Process(target=_listen)  # type: ignore[attr-defined]
        process.start()
        subprocess.run(["kill", f"-{number}", str(process.pid), str(server), str(tracker)], check=True)
        process.join(60)
        assert process.exitcode == number
    start_server([])
    assert forkserver._forkserver._forkserver_pid == server  # type: ignore[attr-defined]
    assert resource_tracker._resource_tracker._pid == tracker  # type: ignore[attr-defined]
