"""What the tests on a real SLURM say to it, and read from the folders of their runs."""

from __future__ import annotations

import json
import time
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
]
SLOW = ["task._target_=tests.signalled.Slow", "+task.seconds=0.15"]
CLUSTER = ["cluster=slurm", "cluster.timeout_min=10", "cluster.mem_gb=2"]


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
    state = ""
    for _ in range(200):
        state = slurm("sacct", "-n", "-X", "-P", "-j", number, "-o", "State")
        if state and state.split()[0] not in ("RUNNING", "PENDING", "COMPLETING"):
            break
        time.sleep(0.1)
    return state
