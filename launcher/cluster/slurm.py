"""SLURM: a run is one job, its nodes are tasks, and what a job asks for has the names of hydra-submitit-launcher."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.adapters.submitit import script_of
from launcher.artifacts.log_file import FILE as LOG
from launcher.errors import ConfigError

from . import slurm_jobs

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from .base import Entry
    from .slurm_pool import SlurmPool


_DEAF = """sh -c 'trap "" USR1 USR2 TERM; exec "$@"' sh"""
"""Runs a container whose own process does not die of the signals that are for the run in it, which hears them itself."""


@dataclass(frozen=True)
class Slurm:
    """What a job asks of SLURM.

    `nodes` tasks, one a node, each with `cpus_per_task` processors and `gpus_per_node` GPUs; `mem_gb` is a node's.
    After `timeout_min` minutes the job ends; `signal_delay_s` seconds before (at most half of the time), it is warned,
    saves and goes back into the queue, at most `max_num_timeout` times (null: as often as it takes). `setup` lines run in the script before
    anything else; `python` is the interpreter there, `container` a command that it is run by, such as
    `apptainer exec --nv image.sif`. `extra` holds any other option of sbatch by its long name. With `wait=false` the
    command returns once a single run is submitted.

    `tasks_per_node` of hydra-submitit-launcher are processes here: the one task of a node has the processors and GPUs
    of as many, and starts them. At most `array_parallelism` jobs of a sweep run at once where `hydra.sweeper.n_jobs` says
    nothing; null is 256 where no trial needs another one's result, and else one. No job begins before `begin`, in
    seconds since 1970, which `start` sets.
    """

    packages: ClassVar[dict[str, str]] = {"submitit": "submitit"}

    nodes: int = 1
    tasks_per_node: int | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    timeout_min: int = 60
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    comment: str | None = None
    cpus_per_gpu: int | None = None
    gpus_per_task: int | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    name: str = "launcher"
    setup: list[str] | None = None
    srun_args: list[str] | None = None
    use_srun: bool = True
    python: str | None = None
    container: str | None = None
    signal_delay_s: int = 120
    max_num_timeout: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    array_parallelism: int | None = None
    begin: float | None = None
    wait: bool = True

    def __post_init__(self) -> None:
        if not self.use_srun:
            raise ConfigError("cluster.use_srun=false: it is srun that starts a task on each node, and that warns it")
        if self.array_parallelism is not None and self.array_parallelism < 1:
            raise ConfigError(f"cluster.array_parallelism={self.array_parallelism}: expected at least 1")

    def pool(self, slots: int, entry: Entry) -> SlurmPool:
        """A pool that has at most `slots` jobs at once."""
        from .slurm_pool import SlurmPool

        return SlurmPool(self, entry, slots)

    def under_way(self, folder: Path) -> bool:
        """Whether a job of the run in `folder` waits or runs."""
        return bool(slurm_jobs.under_way([folder.resolve()]))

    def told(self, folders: Sequence[Path]) -> dict[Path, tuple[str, str]]:
        """Of each run that had a job: the last one, and its state in SLURM's words (nothing where it knows none)."""
        known = slurm_jobs.described([folder.resolve() for folder in folders])
        found = {folder: known[folder.resolve()] for folder in folders if folder.resolve() in known}
        return {folder: (name, "" if state is None else str(state)) for folder, (name, state) in found.items()}

    def ends(self, handle: str) -> str:
        """The command that ends a job."""
        return f"scancel {handle}"

    def script(self, folder: Path, entry: Entry, runs: int = 1, slots: int = 1) -> str:
        """The script that `sbatch` would get for the run in `folder`, or for an array of the sweep's runs there."""
        inside = folder.resolve() / slurm_jobs.INSIDE
        if runs == 1:
            executor = self._executor(inside, inside.parent / LOG)
        else:
            executor = self._executor(inside / "array", inside / "array" / "%a" / LOG)
            executor.update_parameters(array_parallelism=slots)
            executor.parameters["map_count"] = runs
        return script_of(executor)

    def executor(self, inside: Path, log: Path) -> SlurmExecutor:
        """submitit's executor, with what it writes `inside`. Raises ConfigError where there is no SLURM."""
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "cluster=slurm: there is no sbatch here; this is for a machine that submits jobs, "
                "action=plan shows the script without"
            )
        if "%" in str(inside):
            raise ConfigError(
                f"cluster=slurm: {inside}: SLURM reads a percent sign in a path as its own; choose another folder"
            )
        return self._executor(inside, log)

    def _executor(self, inside: Path, log: Path) -> SlurmExecutor:
        from submitit import SlurmExecutor

        class Executor(SlurmExecutor):
            """Makes scripts on any machine."""

            @classmethod
            def affinity(cls) -> int:
                return 2

        python = self.python
        if self.container:
            python = f"{_DEAF} {self.container} {self.python or 'python'}"
        executor = Executor(folder=inside, python=python)
        same = (
            *("nodes", "gpus_per_node", "partition", "account", "qos", "constraint", "exclude", "gres", "comment"),
            *("cpus_per_gpu", "mem_per_gpu", "mem_per_cpu"),
        )
        asked = {name: getattr(self, name) for name in same} | {
            "job_name": self.name,
            "setup": _with_again(inside, self.setup or []),
            "time": self.timeout_min,
            "mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M",
            "ntasks_per_node": 1,
            "signal_delay_s": min(self.signal_delay_s, 30 * self.timeout_min),
        }
        for name in ("cpus_per_task", "gpus_per_task"):
            each = getattr(self, name)
            asked[name] = None if each is None else each * (self.tasks_per_node or 1)
        more_options: dict[str, Any] = {"output": str(log), "requeue": True}
        if self.begin is not None and self.begin > time.time():  # from now on: the clock there may be another zone's
            more_options["begin"] = f"now+{ceil(self.begin - time.time())}"
        more = ["--output", str(log), "--open-mode=append", "--kill-on-bad-exit=1", *(self.srun_args or [])]
        executor.update_parameters(
            **{name: value for name, value in asked.items() if value is not None},
            stderr_to_stdout=True,
            srun_args=more,
            additional_parameters=more_options | self.extra,
        )
        return executor


def _with_again(inside: Path, setup: Sequence[str]) -> list[str]:
    """The lines of a job's script before its command: those of `setup`, and such that put the job back into the queue for
    a run that can not, in a container without SLURM. A job that SLURM itself is ending meanwhile is left to it."""
    task = f"${{SLURM_ARRAY_TASK_ID:+$SLURM_ARRAY_TASK_ID/{slurm_jobs.INSIDE}/}}"
    runs = '[ "$(squeue -h -j $SLURM_JOB_ID -o %T)" = RUNNING ]'
    back = f'rm "$LAUNCHER_AGAIN" 2> /dev/null && {runs} && scontrol requeue $SLURM_JOB_ID'
    return [
        f"LAUNCHER_AGAIN={shlex.quote(str(inside))}/{task}{slurm_jobs.AGAIN}",
        'rm -f "$LAUNCHER_AGAIN"',
        *setup,
        "LAUNCHER_TRAP=$(trap -p EXIT)",  # what the lines above may have asked for is done too
        f'trap \'{back}; eval "set -- $LAUNCHER_TRAP"; eval "$3"\' EXIT',
    ]
