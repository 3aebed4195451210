"""Jobs of SLURM as a pool: one a run, or an array of those that are known together."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.artifacts.job import EXIT
from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.result import RESULT, read_result
from launcher.errors import FAILED, PREEMPTED, ConfigError, NotNow

from .base import wait
from .slurm_jobs import AGAIN, INSIDE, LEAVE, Job, note, noted, said, under_way
from .slurm_states import states

if TYPE_CHECKING:
    from .base import Entry
    from .slurm import Slurm

_ASK_EVERY = (1.0, 15.0)  # seconds between questions to the controller: at first, and at most
_UNKNOWN = 120.0  # seconds after which a job that SLURM knows nothing of is given up,
_LAST_WORDS = 3.0  # one that has ended without a word,
_UNSEEN = 60.0  # one that has ended well, whose words must still be on their way through the file system
_SCANCEL_S = 20.0
"""How long `scancel` may take, which tries again by itself where the controller is busy."""
_AWAY = (
    "Unable to contact slurm controller",
    "Unable to establish configuration source",
    "Unable to establish controller machine",
    "Socket timed out",
    "Connection refused",
    "Zero Bytes were transmitted",
    "Transport endpoint is not connected",
)
"""What sbatch says where the controller is not there."""
_FULL = ("submit limit", "Resource temporarily unavailable", "temporarily unable to accept job")
"""What it says where there are as many jobs as a person, or the cluster, may have."""
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")


@dataclass
class SlurmPool:
    """Jobs of one driver. What it knows of them stands in their folders too, so that another driver can go on.

    A job tells its own end by a file, which is seen at once; the controller is asked for those that can not.
    """

    asked: Slurm
    entry: Entry
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
        return self._all([folder], environment or {})[0]

    def submit_all(self, folders: Sequence[Path]) -> list[str]:
        """The jobs of the runs in those folders: those under way, and one array for the others."""
        return self._all(folders, {})

    def _all(self, folders: Sequence[Path], environment: Mapping[str, str]) -> list[str]:
        wanted = [folder.resolve() for folder in folders]
        found = under_way(wanted)
        for folder, job in found.items():
            if noted(folder) != job:  # its driver died too early for that
                note(folder, job)
        new = [folder for folder in wanted if folder not in found]
        with _in_the_job(environment):
            if len(new) == 1:
                found |= self._submit(new, new[0] / INSIDE, new[0] / LOG, 1)
            elif new:
                where = new[0].parent / INSIDE / f"array-{time.time_ns()}"
                where.mkdir(parents=True)
                for index, folder in enumerate(new):
                    (where / str(index)).symlink_to(folder)
                found |= self._submit(new, where, where / "%a" / LOG, max(1, self.slots - len(found)))
        self._jobs |= {found[folder].name: (folder, found[folder]) for folder in wanted}
        self._every = _ASK_EVERY[0]
        return [found[folder].name for folder in wanted]

    def _submit(self, folders: Sequence[Path], where: Path, log: Path, parallelism: int) -> dict[Path, Job]:
        """A job, or of several runs an array of which `parallelism` run at once; its script lies in `where`."""
        from submitit.core.utils import FailedJobError

        for folder in folders:
            (folder / INSIDE).mkdir(exist_ok=True)
            for name in (EXIT, LEAVE, AGAIN):
                (folder / INSIDE / name).unlink(missing_ok=True)
        try:
            executor = self.asked.executor(where, log)
            executor.update_parameters(array_parallelism=parallelism)
            with redirect_stderr(io.StringIO()), executor.batch():  # what sbatch says comes once, from here
                jobs = [executor.submit(self.entry.run, str(folder), self.asked.max_num_timeout) for folder in folders]
        except FailedJobError as error:
            if where.name != INSIDE:
                shutil.rmtree(where)
            raise _refusal(str(error)) from None
        made = {folder: Job(job.job_id, where) for folder, job in zip(folders, jobs, strict=True)}
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
        for name, (folder, job) in open_jobs.items():
            state = known.get(name)
            if state is not None and not state.over:
                self._silent.pop(name, None)
                continue
            since = self._silent.setdefault(name, now)
            for inside in (folder, folder / INSIDE):
                os.utime(inside)  # a client of NFS that asked too early believes for a minute that nothing is there
            result = read_result(folder) if _is_since(folder, job) else None
            ended = result is not None and result["status"] in ("completed", "stopped", "pruned")
            left = (folder / INSIDE / LEAVE).exists()
            patience = _LAST_WORDS
            if state is None and not left:
                patience = _UNKNOWN
            elif state is not None and state.name == "COMPLETED" and not ended:
                patience = _UNSEEN
            if now - since < patience:
                self._every = _ASK_EVERY[0]
                continue
            cancelled = left if state is None else state.name == "CANCELLED"
            self._status[name] = 0 if ended else PREEMPTED if cancelled else FAILED
            if not ended and not left:
                words = (
                    f"error: SLURM job {name}: {state or 'SLURM knows nothing of it any more'}{_last_words(folder)}\n"
                )
                with (folder / LOG).open("a", encoding="utf-8") as log:
                    log.write(words)

    def cancel(self, handles: Sequence[str]) -> None:
        """Ask the jobs' runs to save and leave; those that still wait are taken out of the queue.

        Those first, and all together: a task of an array that ends lets the next one begin, and SLURM takes no signal
        for a task while others of its array wait.
        """
        if not handles:  # without a job's number scancel means every job of this person
            return
        for handle in handles:
            (self._jobs[handle][0] / INSIDE / LEAVE).touch()
        for how in ("--state=PENDING", "--signal=TERM"):
            _scancel(how, *handles)
        self._every = _ASK_EVERY[0]  # of one that had not begun nobody but the controller can tell the end

    def abort(self, handle: str) -> None:
        """End the run, and have it write into its log where it was."""
        _scancel("--signal=ABRT", handle)

    def kill(self, handle: str) -> None:
        """End the job as it is."""
        _scancel("--signal=KILL", handle)
        _scancel(handle)

    def wait(self, timeout: float) -> None:
        """Return when a job has said that it ended, or after `timeout` seconds."""
        wait([(folder / INSIDE, name) for name, (folder, _) in self._jobs.items()], timeout)


def _scancel(*words: str) -> None:
    """Ask SLURM to signal jobs or to end them, without waiting for longer than it may take."""
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["scancel", *words], capture_output=True, timeout=_SCANCEL_S)


def _last_words(folder: Path) -> str:
    """The last line of a run's log that is not one of SLURM's own, to be put behind what SLURM calls the job."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip() and not line.startswith(("srun:", "slurmstepd:"))]
    return f"; its last words: {said[-1]}" if said else ""


def _is_since(folder: Path, job: Job) -> bool:
    """Whether the result in a run's folder was written since the job was submitted: another one tells of a job before it."""
    script = job.script / f"{job.name.partition('_')[0]}_submission.sh"
    try:
        return (folder / RESULT).stat().st_mtime >= script.stat().st_mtime
    except OSError:
        return False


@contextmanager
def _in_the_job(variables: Mapping[str, str]) -> Iterator[None]:
    """What is submitted meanwhile has this process's environment, with those variables, and without those that SLURM
    gave it where it runs in a job itself: they would be taken for options.

    They go by the environment, not by a file: the address of a study's storage may hold a password.
    """
    before = dict(os.environ)
    given = ("SLURM_", "SLURMD_", "SRUN_") if "SLURM_JOB_ID" in before else ()
    for name in before:
        if name.startswith(given) and name not in _KEPT:
            del os.environ[name]
    os.environ.update({"SUBMITIT_LOG_LEVEL": "ERROR"} | dict(variables))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _refusal(text: str) -> ConfigError:
    """SLURM's own words in what submitit says of a submission that failed, and whether another one may do."""
    lines = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    words = " ".join(lines) or text.strip().partition("\n")[0]
    if any(part in words for part in _AWAY):
        return NotNow(f"cluster=slurm: SLURM does not answer here: {words}")
    if any(part in words for part in _FULL):
        return NotNow(f"cluster=slurm: SLURM takes no more jobs now: {words}", full=True)
    return ConfigError(f"cluster=slurm: {words}")
