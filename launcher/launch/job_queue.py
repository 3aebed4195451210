"""Runs the fits of a procedure through a pool: every free slot gets the next one at once; what is done is not done again.

The state is the folder tree: a job whose
`result.json` says that it ended is done, one whose `config.yaml` is there has begun and is resumed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from launcher.artifacts.folder import CONFIG, plain, read_config, write_config
from launcher.artifacts.result import RESULT, read_result
from launcher.core.pool import Pool
from launcher.core.procedure import Job
from launcher.errors import DONE, PREEMPTED, ConfigError, TrainingError
from launcher.process.signals import Interrupt

from .outcome import ENDED, settle
from .retry import Patience


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
    jobs: Iterable[Job],
    folder: Path,
    pool: Pool,
    interrupt: Interrupt,
    told: Callable[[Outcome], None] = lambda outcome: None,
    stop_on_failure: bool = False,
    said: Callable[[str], None] = lambda text: None,
) -> dict[str, Outcome]:
    """Run all jobs under `folder`; returns what became of each, by name, in the jobs' order.

    `told` hears of each job as it ends, `said` of a cluster that is away for a moment. A job that fails ends the others
    only with `stop_on_failure`. After a signal (`interrupt`) nothing is started, what runs is asked to save and leave,
    and those left out are missing.
    """
    interrupt.early = None  # it is read here
    waiting = list(jobs)
    order = [job.name for job in waiting]
    outcomes: dict[str, Outcome] = {}
    for job in list(waiting):
        result = read_result(folder / job.name)
        if result is not None and result["status"] in ENDED:
            outcomes[job.name] = Outcome(job, 0, result)
            waiting.remove(job)
    running: dict[Any, Job] = {}
    patience = Patience(said)
    cancelled = False
    try:
        while running or (waiting and not cancelled):
            ready = [job for job in waiting if all(name in outcomes and outcomes[name].ended for name in job.after)]
            if not ready and not running:
                break  # what is left waits for a job that failed
            while ready and len(running) < pool.slots and not cancelled:
                job = ready.pop(0)
                try:
                    handle = patience.ask(partial(_submit, job, folder, pool, outcomes), bool(running))
                except ConfigError as error:
                    if running or outcomes:  # which stay, to be resumed
                        raise TrainingError(f"{job.name}: {error}") from error
                    raise
                if handle is None:
                    break
                waiting.remove(job)
                running[handle] = job
            pool.wait(0.5)
            for handle in list(running):
                status = pool.poll(handle)
                if status is None:
                    continue
                job = running.pop(handle)
                result = settle(folder / job.name, status, job.config)
                outcomes[job.name] = outcome = Outcome(job, status, result)
                told(outcome)
            failed = any(not outcome.ended and outcome.status != PREEMPTED for outcome in outcomes.values())
            if not cancelled and (interrupt.signal is not None or (failed and stop_on_failure)):
                cancelled = True
                pool.cancel(list(running))
    finally:
        if running:
            pool.cancel(list(running))
    return {name: outcomes[name] for name in order if name in outcomes}


def _submit(job: Job, folder: Path, pool: Pool, outcomes: dict[str, Outcome]) -> Any:
    own = folder / job.name
    began = (own / CONFIG).exists()
    own.mkdir(parents=True, exist_ok=True)
    if not began:
        results = {name: outcomes[name].result or {} for name in job.after}
        write_config(job.config if job.decide is None else job.decide(job.config, results), own)
    return pool.submit(own, resume=began)


def take_up_changes(fits: Sequence[Job], folder: Path) -> None:
    """A fit that began with another config than it has now (a resume may lengthen the run) goes on with the new one."""
    changed: set[str] = set()
    for fit in fits:
        own = folder / fit.name
        if not (own / CONFIG).exists():
            continue
        if fit.decide is not None:  # what it was made of is not what it would be made of now: it begins anew
            if changed & set(fit.after):
                shutil.rmtree(own)
        elif plain(read_config(own)) != plain(fit.config):
            write_config(fit.config, own)
            (own / RESULT).unlink(missing_ok=True)
            changed.add(fit.name)
