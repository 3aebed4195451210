"""What a cluster starts on each node of a job: the driver's second half on the first one, its workers on all of them.

SLURM's tasks call `run`; a pod of Kubernetes runs this module with the folder as its argument.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from launcher.artifacts.folder import CHECKPOINTS, in_use
from launcher.artifacts.log_file import FILE as LOG
from launcher.cluster import kubernetes
from launcher.cluster.base import Entry, Nodes, says
from launcher.cluster.slurm_jobs import AGAIN, INSIDE, LEAVE
from launcher.console.console import Console
from launcher.console.masked_output import mask_output, print_into
from launcher.errors import DONE, FAILED, PREEMPTED
from launcher.process.exit import leave, settle
from launcher.process.signals import Interrupt, LeftEarly, listening, stay


def run(folder: str, max_num_timeout: int | None) -> None:
    """A task of the job: the run in `folder`, here or as this node's share of it.

    Ends the process with the run's exit status where that is not 0, so that SLURM calls a failed job FAILED.
    """
    logging.getLogger("submitit").setLevel(logging.ERROR)
    os.environ["TERM"] = "dumb"  # srun gives its tasks a terminal, of which nothing but the log is left
    mask_output()
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
    stay()
    # From the first moment on: submitit's own handlers would give up a run that is still importing.
    with listening(interrupt, Console().message, impatient=False):
        if (nodes.inside / LEAVE).exists():  # a container hears no signal before this moment
            interrupt.signal = interrupt.signal or signal.SIGTERM
        if restart and nodes.rank == 0:
            _wait_for_the_start_before(path, interrupt)
        status = PREEMPTED if interrupt.signal is not None else share(path, nodes, interrupt)
        if status != DONE and _restarts(job) not in (None, restart):
            Console().message(
                f"job {job} has been started again elsewhere meanwhile: the rest is for that start to say"
            )
        elif nodes.rank == 0 and not (status == PREEMPTED and _requeue(job, nodes.inside, interrupt, max_num_timeout)):
            says(nodes.inside, job, status)
    settle(status)
    if status:
        sys.exit(status)


def _wait_for_the_start_before(folder: Path, interrupt: Interrupt) -> None:
    """A node that SLURM can not reach may still train in the folder: this start of the job goes on when that has ended."""
    if in_use(folder):
        Console().message(
            "an earlier start of this job still trains, on a node that SLURM has given up: waiting for its end"
        )
    while in_use(folder) and interrupt.signal is None:
        time.sleep(1)


def share(folder: Path, nodes: Nodes, interrupt: Interrupt) -> int:
    """A node's part of the run in `folder`, to its end: of the first one the run, of another one its workers, and what
    ends them is the first one's to tell. Returns the exit status."""
    if nodes.rank == 0:
        from .run import run_in_pool

        return run_in_pool(folder, _begun(folder), interrupt, nodes)
    from launcher.artifacts.folder import read_config
    from launcher.errors import LauncherError
    from launcher.launch.elastic import run_workers

    try:
        run_workers(read_config(folder), folder, _begun(folder), Console(quiet=True), interrupt, nodes)
    except LeftEarly:
        return PREEMPTED
    except LauncherError:
        return FAILED
    return PREEMPTED if interrupt.signal is not None else 0


def _begun(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return (folder / CHECKPOINTS).exists()


def _requeue(job: str, inside: Path, interrupt: Interrupt, max_num_timeout: int | None) -> bool:
    """Whether the job goes back into the queue, put there by SLURM itself (preemption) or here (a warning signal)."""
    if (inside / LEAVE).exists():  # whoever asked it to save wants it to stay out
        return False
    slurm_is_here = shutil.which("scontrol") is not None  # which in most containers it is not
    if slurm_is_here:
        asked = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True)
        state = asked.stdout.strip()
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
    if not slurm_is_here:
        Console().message(f"job {job} asks its script, outside of this container, to go back into the queue")
        (inside / AGAIN).touch()
        return True
    Console().message(f"job {job} goes back into the queue")
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        Console().warning(f"scontrol requeue {job}: {done.stderr.strip()}")
    return done.returncode == 0


def _goes_on(job: str) -> bool:
    """Whether SLURM means a job that it is ending to start again."""
    words = _shown(job)
    return words.get("JobState") not in ("CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL") and words.get("Requeue") == "1"


def _restarts(job: str) -> int | None:
    """How often SLURM has started a job again; None where it does not say."""
    told = _shown(job).get("Restarts")
    return None if told is None else int(told)


def _shown(job: str) -> dict[str, str]:
    """What SLURM knows of a job, by its own words; nothing in a container that has no `scontrol`."""
    if shutil.which("scontrol") is None:
        return {}
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    return dict(word.partition("=")[::2] for word in shown.split())


def pod(folder: Path) -> int:
    """What the container of a pod runs: the run in `folder`, or this node's share of it; returns the exit status."""
    job, index = os.environ["LAUNCHER_JOB"], int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    print_into(folder / LOG)
    inside = folder / kubernetes.INSIDE
    nodes = Nodes(index, int(os.environ["LAUNCHER_NODES"]), job, inside, os.environ.get("LAUNCHER_HOST"))
    interrupt = Interrupt()
    with listening(interrupt, Console().message, impatient=False):
        status = share(folder, nodes, interrupt)
        leaves = status == PREEMPTED and nodes.num == 1 and not (inside / "leave").exists()
        if index == 0 and not leaves:  # else it comes back
            says(inside, job, status)
    return status


ENTRY = Entry(run, "launcher.launch.node")


if __name__ == "__main__":
    stay()
    leave(pod(Path(sys.argv[1])))
