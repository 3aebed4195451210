"""What the tests on a real SLURM say to it, and read from the folders of their runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.slurm import Slurm

WORDS = [
    "model=mlp",
    "model.dropout=0.2",
    "training.max_steps=60",
    "training.max_epochs=null",
    "training.log_every=5",
    "training.eval_every=20",
    "training.checkpoint_every=10",
    "tracker=[]",
    "task._target_=tests.support.signalled.Slow",
]
QUICK = [*WORDS, "+task.seconds=0"]
SLOW = [*WORDS, "+task.seconds=0.15"]
CLUSTER = ["cluster=slurm", "cluster.timeout_min=10", "cluster.mem_gb=2"]
PATIENCE_S = 120.0


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def job(folder: Path) -> str:
    """The number of the job that trains in the folder."""
    return str(json.loads((folder / "slurm" / "job.json").read_text())["job"])


def jobs(slurm: Slurm) -> set[str]:
    """The numbers of the jobs that wait or run."""
    return set(slurm("squeue", "-h", "-o", "%i").split())


def accounted(slurm: Slurm, number: str) -> str:
    """The state in which SLURM's accounting keeps a job, once it keeps one that is over."""
    over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    def state() -> str:
        return slurm("sacct", "-n", "-X", "-P", "-j", number, "-o", "State")

    until(lambda: state().startswith(over), f"sacct does not say that job {number} is over")
    return state()


def until(true: Callable[[], Any], what: str) -> None:
    """Return when it is true."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def written(path: Path, text: str) -> Callable[[], bool]:
    """Whether a file is there that holds the text."""
    return lambda: path.exists() and text in path.read_text()


def kill(number: str, variable: str, word: str, forked: bool = False) -> None:
    """SIGKILL to the processes of a job that have `variable` in their environment and `word` in their command; with
    `forked` to those alone that such a process has started."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            told, command = (entry / "environ").read_text(errors="replace"), (entry / "cmdline").read_text()
            if {f"SLURM_JOB_ID={number}", variable} <= set(told.split("\0")) and word in command:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    doomed = [pid for pid, parent in found.items() if not forked or parent in found]
    assert doomed
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
