"""SLURM: a run is one job, its nodes are tasks, and what a job asks for has the names of hydra-submitit-launcher."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import time
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.errors import FAILED, PREEMPTED, ConfigError
from launcher.result import read_result

from .states import of_folder, states

if TYPE_CHECKING:
    from submitit import SlurmExecutor

INSIDE = "slurm"
"""The folder inside a run's folder: the script that was submitted, `job.json`, `exit.json`."""

LEAVE = "leave"
"""The file in it that tells a job which is asked to save that it shall not go back into the queue."""

_ASK_EVERY = (1.0, 15.0)  # seconds between questions to the controller: at first, and at most
_UNKNOWN = 120.0  # seconds after which a job that SLURM knows nothing of is given up


@dataclass(frozen=True)
class Slurm:
    """What a job asks of SLURM.

    `nodes` tasks, one a node, each with `cpus_per_task` processors and `gpus_per_node` GPUs; `mem_gb` is a node's.
    After `timeout_min` minutes the job ends; `signal_delay_s` seconds before, it is warned, saves and goes back into
    the queue, at most `max_num_timeout` times (null: as often as it takes). `setup` lines run in the script before
    anything else; `python` is the interpreter there, `container` a command that it is run by, such as
    `apptainer exec --nv image.sif`. `extra` holds any other option of sbatch by its long name. With `wait=false` the
    command returns once a single run is submitted.
    """

    packages: ClassVar[dict[str, str]] = {"submitit": "submitit"}

    nodes: int = 1
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
    python: str | None = None
    container: str | None = None
    signal_delay_s: int = 120
    max_num_timeout: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    wait: bool = True

    def pool(self, slots: int) -> SlurmPool:
        """A pool that has at most `slots` jobs at once."""
        return SlurmPool(self, slots)

    def under_way(self, folder: Path) -> bool:
        """Whether a job of the run in `folder` waits or runs."""
        return under_way(folder.resolve()) is not None

    def script(self, folder: Path) -> str:
        """The script that `sbatch` would get for the run in `folder`."""
        executor = self.executor(folder.resolve())
        return executor._make_submission_file_text(executor._submitit_command_str, uid="")

    def executor(self, folder: Path) -> SlurmExecutor:
        """submitit's executor for the run in `folder`. Raises ConfigError where there is no SLURM."""
        from submitit import SlurmExecutor

        python = " ".join(part for part in (self.container, self.python) if part) or None
        if self.container and not self.python:
            python = f"{self.container} python"
        try:
            executor = SlurmExecutor(folder=folder / INSIDE, python=python)
        except RuntimeError:
            raise ConfigError("cluster=slurm: there is no srun here; this is for a machine that submits jobs") from None
        log = str(folder / "log.txt")
        same = (
            *(
                "nodes",
                "gpus_per_node",
                "cpus_per_task",
                "partition",
                "account",
                "qos",
                "constraint",
                "exclude",
                "gres",
            ),
            *("comment", "cpus_per_gpu", "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "setup", "signal_delay_s"),
        )
        asked = {name: getattr(self, name) for name in same} | {
            "job_name": self.name,
            "time": self.timeout_min,
            "mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M",
            "ntasks_per_node": 1,
        }
        more = ["--output", log, "--open-mode=append", "--kill-on-bad-exit=1", *(self.srun_args or [])]
        executor.update_parameters(
            **{name: value for name, value in asked.items() if value is not None},
            stderr_to_stdout=True,
            srun_args=more,
            additional_parameters={"output": log, "requeue": True, **self.extra},
        )
        return executor


@dataclass
class SlurmPool:
    """Jobs of one driver. What it knows of them stands in their folders too, so that another driver can go on.

    A job tells its own end by a file, which is seen at once; the controller is asked for those that can not.
    """

    asked: Slurm
    slots: int = 1
    outlives: bool = True
    _folders: dict[int, Path] = field(default_factory=dict)
    _silent: dict[int, float] = field(default_factory=dict)  # since when SLURM knows nothing of a job, or calls it over
    _status: dict[int, int] = field(default_factory=dict)
    _asked_at: float = 0.0
    _every: float = _ASK_EVERY[0]

    def warm_up(self) -> None:
        """Import what the first submission needs."""
        import submitit  # noqa: F401

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
        """The job of the run in `folder`: the one that is under way, else a new one. Raises ConfigError, with SLURM's
        own reason, for one that the cluster refuses."""
        folder = folder.resolve()
        job = under_way(folder)
        if job is None:
            job = self._submit(folder, dict(environment or {}))
        self._folders[job] = folder
        self._every = _ASK_EVERY[0]
        return job

    def _submit(self, folder: Path, environment: dict[str, str]) -> int:
        from submitit.core.utils import FailedJobError

        from . import node

        inside = folder / INSIDE
        inside.mkdir(exist_ok=True)
        for name in ("exit.json", LEAVE):
            (inside / name).unlink(missing_ok=True)
        try:
            with redirect_stderr(io.StringIO()):  # what sbatch says comes once, from here
                job = self.asked.executor(folder).submit(node.run, str(folder), self.asked.max_num_timeout, environment)
        except FailedJobError as error:
            raise ConfigError(f"cluster=slurm: {_reason(str(error))}") from None
        number = int(job.job_id)
        beside = inside / ".job.json"
        beside.write_text(json.dumps({"job": number, "submitted": time.time()}), encoding="utf-8")
        beside.replace(inside / "job.json")
        return number

    def poll(self, handle: int) -> int | None:
        """The exit status of a job's run, once it has one and will not go on."""
        status = self._status.get(handle, said(self._folders[handle], handle))
        if status is None:
            self._ask()
            status = self._status.get(handle)
        if status is not None:
            for known in (self._folders, self._silent, self._status):
                known.pop(handle, None)
        return status

    def _ask(self) -> None:
        """Ask the controller about all jobs that have not ended, unless it was asked a moment ago."""
        now = time.monotonic()
        if now - self._asked_at < self._every:
            return
        open_jobs = {job: folder for job, folder in self._folders.items() if job not in self._status}
        known = states(open_jobs)
        self._asked_at, self._every = time.monotonic(), min(self._every * 1.3, _ASK_EVERY[1])
        if known is None:  # it does not answer: the jobs may well go on
            return
        for job, folder in open_jobs.items():
            state = known.get(job)
            if state is not None and not state.over:
                self._silent.pop(job, None)
                continue
            since = self._silent.setdefault(job, now)
            if now - since < (3.0 if state is not None else _UNKNOWN):
                self._every = _ASK_EVERY[0]
                continue  # its last words may still be on their way through a file system of the network
            result = read_result(folder)
            ended = result is not None and result["status"] in ("completed", "stopped", "pruned")
            cancelled = state is not None and state.name == "CANCELLED"
            self._status[job] = 0 if ended else PREEMPTED if cancelled else FAILED
            if not ended:
                with (folder / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"error: SLURM job {job}: {state or 'SLURM knows nothing of it any more'}\n")

    def cancel(self, handle: int) -> None:
        """Ask a job's run to save and leave; one that still waits is taken out of the queue."""
        (self._folders[handle] / INSIDE / LEAVE).touch()
        for how in (["--state=PENDING"], ["--signal=TERM"]):
            subprocess.run(["scancel", *how, str(handle)], capture_output=True)

    def abort(self, handle: int) -> None:
        """End the run, and have it write into its log where it was."""
        subprocess.run(["scancel", "--signal=ABRT", str(handle)], capture_output=True)

    def kill(self, handle: int) -> None:
        """End the job as it is."""
        subprocess.run(["scancel", "--signal=KILL", str(handle)], capture_output=True)
        subprocess.run(["scancel", str(handle)], capture_output=True)

    def wait(self, timeout: float) -> None:
        """Return when a job has said that it ended, or after `timeout` seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if any(said(folder, job) is not None for job, folder in self._folders.items()):
                return
            time.sleep(0.1)


def said(folder: Path, job: int) -> int | None:
    """The exit status that the job itself has written down, if it has ended for good."""
    try:
        told = json.loads((folder / INSIDE / "exit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(told["status"]) if told["job"] == job else None


def job_of(folder: Path) -> int | None:
    """The number of the job that was last submitted for the run in `folder`."""
    try:
        return int(json.loads((folder / INSIDE / "job.json").read_text(encoding="utf-8"))["job"])
    except (OSError, ValueError):
        return None


def under_way(folder: Path) -> int | None:
    """The job of the run in `folder` that waits or runs."""
    if not (folder / INSIDE).is_dir():
        return None
    job = job_of(folder)
    if job is not None and said(folder, job) is None:
        state = (states({job: folder}) or {}).get(job)
        if state is not None and not state.over:
            return job
    return of_folder(folder / INSIDE)


def _reason(text: str) -> str:
    """SLURM's own words in what submitit says of a submission that failed."""
    lines = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    return " ".join(lines) or shlex.quote(text.strip())
