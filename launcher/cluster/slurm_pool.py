"""Jobs of SLURM as a pool: one a run, or an array of those that are known together."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import FAILED, PREEMPTED, ConfigError
from launcher.result import read_result

from .jobs import INSIDE, LEAVE, Job, note, noted, said, under_way
from .states import states

if TYPE_CHECKING:
    from .slurm import Slurm

_ASK_EVERY = (1.0, 15.0)  # seconds between questions to the controller: at first, and at most
_UNKNOWN = 120.0  # seconds after which a job that SLURM knows nothing of is given up


@dataclass
class SlurmPool:
    """Jobs of one driver. What it knows of them stands in their folders too, so that another driver can go on.

    A job tells its own end by a file, which is seen at once; the controller is asked for those that can not.
    """

    asked: Slurm
    slots: int = 1
    outlives: bool = True
    _jobs: dict[str, tuple[Path, Job]] = field(default_factory=dict)  # with the folders of their runs
    _silent: dict[str, float] = field(default_factory=dict)  # since when SLURM knows nothing of a job, or calls it over
    _status: dict[str, int] = field(default_factory=dict)
    _asked_at: float = 0.0
    _every: float = _ASK_EVERY[0]

    def warm_up(self) -> None:
        """Import what the first submission needs."""
        import submitit  # noqa: F401

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> str:
        """The job of the run in `folder`: the one that is under way, else a new one. Raises ConfigError, with SLURM's
        own reason, for one that the cluster refuses."""
        return self.submit_all([(folder, environment or {})])[0]

    def submit_all(self, runs: Sequence[tuple[Path, Mapping[str, str]]]) -> list[str]:
        """The jobs of those runs (folder and environment each): those under way, and one array for the others."""
        found = under_way([folder.resolve() for folder, _ in runs])
        for folder, job in found.items():
            if noted(folder) != job:  # its driver died too early for that
                note(folder, job)
        new = [(folder.resolve(), environment) for folder, environment in runs if folder.resolve() not in found]
        if len(new) == 1:
            folder = new[0][0]
            found |= self._submit(new, folder / INSIDE, folder / "log.txt", 1)
        elif new:
            where = new[0][0].parent / INSIDE / f"array-{time.time_ns()}"
            where.mkdir(parents=True)
            for index, (folder, _) in enumerate(new):
                (where / str(index)).symlink_to(folder)
            found |= self._submit(new, where, where / "%a" / "log.txt", max(1, self.slots - len(found)))
        names = [found[folder.resolve()].name for folder, _ in runs]
        self._jobs |= {found[folder.resolve()].name: (folder.resolve(), found[folder.resolve()]) for folder, _ in runs}
        self._every = _ASK_EVERY[0]
        return names

    def _submit(
        self, runs: Sequence[tuple[Path, Mapping[str, str]]], where: Path, log: Path, parallelism: int
    ) -> dict[Path, Job]:
        """A job, or of several runs an array of which `parallelism` run at once; its script lies in `where`."""
        from submitit.core.utils import FailedJobError

        from . import node

        for folder, _ in runs:
            (folder / INSIDE).mkdir(exist_ok=True)
            for name in ("exit.json", LEAVE):
                (folder / INSIDE / name).unlink(missing_ok=True)
        try:
            executor = self.asked.executor(where, log)
            executor.update_parameters(array_parallelism=parallelism)
            with redirect_stderr(io.StringIO()), executor.batch():  # what sbatch says comes once, from here
                jobs = [
                    executor.submit(node.run, str(folder), self.asked.max_num_timeout, dict(environment))
                    for folder, environment in runs
                ]
        except FailedJobError as error:
            if where.name != INSIDE:
                shutil.rmtree(where)
            raise ConfigError(f"cluster=slurm: {_reason(str(error))}") from None
        made = {folder: Job(job.job_id, where) for (folder, _), job in zip(runs, jobs, strict=True)}
        for folder, job in made.items():
            note(folder, job)
        return made

    def poll(self, handle: str) -> int | None:
        """The exit status of a job's run, once it has one and will not go on."""
        status = self._status.get(handle, said(self._jobs[handle][0], handle))
        if status is None:
            self._ask()
            status = self._status.get(handle)
        if status is not None:
            self._jobs.pop(handle)
            self._silent.pop(handle, None)
            self._status.pop(handle, None)
        return status

    def _ask(self) -> None:
        """Ask the controller about all jobs that have not ended, unless it was asked a moment ago."""
        now = time.monotonic()
        if now - self._asked_at < self._every:
            return
        open_jobs = {name: known for name, known in self._jobs.items() if name not in self._status}
        known = states({name: job.script for name, (_, job) in open_jobs.items()})
        self._asked_at, self._every = time.monotonic(), min(self._every * 1.3, _ASK_EVERY[1])
        if known is None:  # it does not answer: the jobs may well go on
            return
        for name, (folder, _) in open_jobs.items():
            state = known.get(name)
            if state is not None and not state.over:
                self._silent.pop(name, None)
                continue
            since = self._silent.setdefault(name, now)
            if now - since < (3.0 if state is not None else _UNKNOWN):
                self._every = _ASK_EVERY[0]
                continue  # its last words may still be on their way through a file system of the network
            result = read_result(folder)
            ended = result is not None and result["status"] in ("completed", "stopped", "pruned")
            cancelled = state is not None and state.name == "CANCELLED"
            self._status[name] = 0 if ended else PREEMPTED if cancelled else FAILED
            if not ended:
                with (folder / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"error: SLURM job {name}: {state or 'SLURM knows nothing of it any more'}\n")

    def cancel(self, handle: str) -> None:
        """Ask a job's run to save and leave; one that still waits is taken out of the queue."""
        (self._jobs[handle][0] / INSIDE / LEAVE).touch()
        for how in (["--state=PENDING"], ["--signal=TERM"]):
            subprocess.run(["scancel", *how, handle], capture_output=True)

    def abort(self, handle: str) -> None:
        """End the run, and have it write into its log where it was."""
        subprocess.run(["scancel", "--signal=ABRT", handle], capture_output=True)

    def kill(self, handle: str) -> None:
        """End the job as it is."""
        subprocess.run(["scancel", "--signal=KILL", handle], capture_output=True)
        subprocess.run(["scancel", handle], capture_output=True)

    def wait(self, timeout: float) -> None:
        """Return when a job has said that it ended, or after `timeout` seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if any(said(folder, job) is not None for job, (folder, _) in self._jobs.items()):
                return
            time.sleep(0.1)


def _reason(text: str) -> str:
    """SLURM's own words in what submitit says of a submission that failed."""
    lines = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    return " ".join(lines) or shlex.quote(text.strip())
