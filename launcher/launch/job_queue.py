"""Runs the jobs of a procedure through a pool: every free slot gets the next one at once; what is done is not done again.

The state is the folder tree: a job whose `result.json` says that it ended is done, one whose `config.yaml` is there has
begun and is resumed. So a run that is resumed is laid out anew from its first job on, and comes to where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from launcher.artifacts.folder import CONFIG, plain, read_config, write_config
from launcher.artifacts.inputs import digests, read_inputs, write_inputs
from launcher.artifacts.result import RESULT, read_result
from launcher.core.pool import Pool
from launcher.core.procedure import Job, Results
from launcher.errors import DONE, PREEMPTED, ConfigError, TrainingError
from launcher.process.signals import Interrupt

from .outcome import ENDED, settle
from .retry import Patience

_MISSING = object()


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the exit status (negative: the signal that killed it) and its result, if it wrote one."""

    job: Job
    status: int
    result: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        return self.status == DONE and self.result is not None and self.result["status"] in ENDED

    @property
    def reason(self) -> str:
        """Why it ended, in the words of its result."""
        return "" if self.result is None else str(self.result["reason"])


def run_jobs(
    lay_out: Callable[[Results], list[Job]],
    folder: Path,
    pool: Pool,
    interrupt: Interrupt,
    told: Callable[[Outcome], None] = lambda outcome: None,
    said: Callable[[str], None] = lambda text: None,
) -> dict[str, Outcome]:
    """Run the jobs that `lay_out` gives for the results so far, under `folder`, until it gives none; returns what became of
    each, by name, in the order in which they were laid out.

    `told` hears of each job as it ends, `said` of a cluster that is away for a moment. A job that fails ends the others.
    After a signal (`interrupt`) nothing is started, what runs is asked to save and leave, and those left out are missing.
    """
    interrupt.early = None  # it is read here
    queue = _Queue(lay_out, folder, pool, told, said)
    try:
        while queue.fill():
            pool.wait(0.5)
            queue.collect()
            if interrupt.signal is not None or queue.failed():
                queue.cancel()
        queue.refuse_stuck()
    finally:
        queue.leave()
    return queue.outcomes()


class _Queue:
    """The jobs of a run on their way: laid out, waiting for others, ready, running, ended."""

    def __init__(
        self,
        lay_out: Callable[[Results], list[Job]],
        folder: Path,
        pool: Pool,
        told: Callable[[Outcome], None],
        said: Callable[[str], None],
    ) -> None:
        self._lay_out, self._folder, self._pool, self._told = lay_out, folder, pool, told
        self._patience = Patience(said)
        self._order: list[str] = []
        self._waiting: list[Job] = []
        self._ready: list[Job] = []
        self._running: dict[Any, Job] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._done: Results = {}
        self._asked: int | None = None  # how many jobs were done when the procedure was last asked
        self._cancelled = False

    def outcomes(self) -> dict[str, Outcome]:
        """What became of each job that has ended."""
        return {name: self._outcomes[name] for name in self._order if name in self._outcomes}

    def failed(self) -> bool:
        """Whether a job has failed."""
        return any(not each.ended and each.status != PREEMPTED for each in self._outcomes.values())

    def fill(self) -> bool:
        """Give every free slot a job, if there is one; whether any runs."""
        while not self._cancelled and len(self._running) < self._pool.slots and self._next_ready():
            job = self._ready[0]
            try:
                handle = self._patience.ask(partial(self._submit, job), bool(self._running))
            except ConfigError as error:
                if self._running or self._outcomes:  # what they do stays, to be resumed
                    raise TrainingError(f"{job.name}: {error}") from error
                raise
            if handle is None:
                return True  # the cluster takes it later
            self._running[handle] = self._ready.pop(0)
        return bool(self._running)

    def collect(self) -> None:
        """Take up what became of the jobs that have ended."""
        for handle in list(self._running):
            status = self._pool.poll(handle)
            if status is not None:
                job = self._running.pop(handle)
                result = settle(self._folder / job.name, status, job.config)
                self._told(self._ended(Outcome(job, status, result)))

    def cancel(self) -> None:
        """Start nothing any more, and ask what runs, once, to save and leave."""
        if not self._cancelled:
            self._cancelled = True
            self.leave()

    def refuse_stuck(self) -> None:
        """Raise TrainingError where jobs wait for others that the procedure has not laid out."""
        absent = {name for job in self._waiting for name in job.sources} - set(self._order)
        if absent and not self._cancelled:
            stuck = ", ".join(job.name for job in self._waiting)
            raise TrainingError(f"the procedure has no job {', '.join(sorted(absent))}, for which {stuck} would wait")

    def leave(self) -> None:
        """Ask what runs to save and leave."""
        if self._running:
            self._pool.cancel(list(self._running))

    def _ended(self, outcome: Outcome) -> Outcome:
        self._outcomes[outcome.job.name] = outcome
        if outcome.ended and outcome.result is not None:
            self._done[outcome.job.name] = outcome.result
        return outcome

    def _next_ready(self) -> bool:
        """Whether there is a job to start. The procedure is asked for further ones only when none is left: it makes a
        config for each."""
        self._admit()
        while not self._ready and self._asked != len(self._done):
            self._asked = len(self._done)
            new = [job for job in self._laid_out() if job.name not in self._order]
            self._order += [job.name for job in new]
            self._waiting += new
            self._admit()
        return bool(self._ready)

    def _laid_out(self) -> list[Job]:
        try:
            return self._lay_out(self._done)
        except ConfigError as error:
            if self._outcomes:
                raise TrainingError(str(error)) from error
            raise

    def _admit(self) -> None:
        """Whose jobs have all ended, is ready; what stands done in the folder already, is done."""
        for job in list(self._waiting):
            if not self._done.keys() >= set(job.sources):
                continue
            self._waiting.remove(job)
            job = _with_inputs(job, self._folder)
            _take_up(job, self._folder)
            result = read_result(self._folder / job.name)
            if result is not None and result["status"] in ENDED:
                self._ended(Outcome(job, DONE, result))
            else:
                self._ready.append(job)

    def _submit(self, job: Job) -> Any:
        (self._folder / RESULT).unlink(missing_ok=True)  # of the whole run, which goes on
        own = self._folder / job.name
        began = (own / CONFIG).exists()
        if not began:
            own.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(_beside(own), ignore_errors=True)  # of a driver that was killed as it took it away
            if job.sources:
                write_inputs(own, digests(self._folder, job.sources))
            write_config(job.config, own)
        return self._pool.submit(own, resume=began)


def _with_inputs(job: Job, folder: Path) -> Job:
    """The job with the paths of its inputs in its config. Raises TrainingError for one that is not there."""
    if not job.inputs:
        return job
    config = job.config.copy()
    for key, each in job.inputs.items():
        path = (folder / each.job / each.path).absolute()
        if not path.exists():
            raise TrainingError(f"{job.name}: {key}: {each.job} has left no {each.path} ({path})")
        if OmegaConf.select(config, key, default=_MISSING) is _MISSING:
            raise TrainingError(f"{job.name}: there is no key {key!r} for what {each.job} has left")
        OmegaConf.update(config, key, str(path))
    return replace(job, given=config)


def _take_up(job: Job, folder: Path) -> None:
    """Make a job that has begun before go on as it is wanted now: anew where a job that it follows from was run again,
    with the new config where that is another one (a resume may lengthen the run)."""
    own = folder / job.name
    if not (own / CONFIG).exists():
        return
    if read_inputs(own) != digests(folder, job.sources):
        own.rename(_beside(own))  # first: half a folder would pass for a job that has not begun
        shutil.rmtree(_beside(own))
    elif plain(read_config(own)) != plain(job.config):
        (own / RESULT).unlink(missing_ok=True)  # first: with the new config in place it would stand for the new run
        write_config(job.config, own)


def _beside(own: Path) -> Path:
    """What a job's folder is called while it is taken away."""
    return own.with_name(f".{own.name}")
