"""What SLURM starts on each node of a job: the driver's second half on the first one, its workers on all of them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from launcher.console import Console
from launcher.errors import FAILED, PREEMPTED
from launcher.leaving import settle
from launcher.signals import Interrupt, listening

from .engine import Nodes
from .jobs import INSIDE, LEAVE


def run(folder: str, max_num_timeout: int | None, environment: dict[str, str]) -> None:
    """A task of the job: the run in `folder`, here or as this node's share of it, with `environment` added to its own.
    Ends the process with the run's exit status where that is not 0, so that SLURM calls a failed job FAILED."""
    os.environ.update(environment)
    logging.getLogger("submitit").setLevel(logging.WARNING)
    os.environ["TERM"] = "dumb"  # srun gives its tasks a terminal, of which nothing but the log is left
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ["SLURM_JOB_ID"] if task is None else f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    path = Path(folder)
    nodes = Nodes(
        int(os.environ.get("SLURM_NODEID", "0")),
        int(os.environ.get("SLURM_JOB_NUM_NODES", "1")),
        f"{job}-{restart}",
        path / INSIDE,
    )
    interrupt = Interrupt()
    # From the first moment on: submitit's own handlers would give up a run that is still importing.
    with listening(interrupt, Console().message, impatient=False):
        status = share(path, nodes, interrupt)
        if nodes.rank == 0 and not (status == PREEMPTED and _requeue(job, nodes.inside, interrupt, max_num_timeout)):
            told = nodes.inside / ".exit.json"
            told.write_text(json.dumps({"job": job, "status": status}), encoding="utf-8")
            told.replace(nodes.inside / "exit.json")
    settle(status)
    if status:
        sys.exit(status)


def share(folder: Path, nodes: Nodes, interrupt: Interrupt) -> int:
    """A node's part of the run in `folder`, to its end: of the first one the run, of another one its workers, and what
    ends them is the first one's to tell. Returns the exit status."""
    if nodes.rank == 0:
        from launcher.place import run_in_pool

        return run_in_pool(folder, _begun(folder), interrupt, nodes)
    from launcher.elastic import run_workers
    from launcher.errors import LauncherError
    from launcher.folder import read_config

    try:
        run_workers(read_config(folder), folder, _begun(folder), Console(quiet=True), interrupt, nodes)
    except LauncherError:
        return FAILED
    return PREEMPTED if interrupt.signal is not None else 0


def _begun(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return (folder / "checkpoints").exists()


def _requeue(job: str, inside: Path, interrupt: Interrupt, max_num_timeout: int | None) -> bool:
    """Whether the job goes back into the queue, put there by SLURM itself (preemption) or here (a warning signal)."""
    if (inside / LEAVE).exists():  # whoever asked it to save wants it to stay out
        return False
    asked = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T|%L"], capture_output=True, text=True)
    state, _, _ = asked.stdout.strip().partition("|")
    if state == "CANCELLED":
        return False
    if state not in ("RUNNING", "SUSPENDED"):  # COMPLETING, PREEMPTED, REQUEUED…: SLURM has decided
        return _goes_on(job)
    if interrupt.signal == signal.SIGUSR2 and max_num_timeout is not None:
        counted = inside / "timeouts"
        timeouts = int(counted.read_text()) if counted.exists() else 0
        if timeouts >= max_num_timeout:
            Console().message(
                f"the time of job {job} is over once more than cluster.max_num_timeout={max_num_timeout} allows"
            )
            return False
        counted.write_text(str(timeouts + 1))
    Console().message(f"job {job} goes back into the queue")
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        Console().warning(f"scontrol requeue {job}: {done.stderr.strip()}")
    return done.returncode == 0


def _goes_on(job: str) -> bool:
    """Whether SLURM means a job that it is ending to start again."""
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    words = dict(word.partition("=")[::2] for word in shown.split())
    return words.get("JobState") not in ("CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL") and words.get("Requeue") == "1"
