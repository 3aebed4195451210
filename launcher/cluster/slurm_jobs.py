"""Which job of SLURM is whose: what stands in a run's folder about its job, and what the queue adds to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.artifacts.job import JOB
from launcher.errors import NotNow

from . import base
from .slurm_states import State, states, waiting

INSIDE = "slurm"
"""The folder inside a run's folder: the script that was submitted, `job.json`, `exit.json`. In a sweep's folder the one
that holds a folder for each array, with the array's script and a link to each run, named by its index."""

LEAVE = "leave"
"""The file in it that tells a job which is asked to save that it shall not go back into the queue."""

AGAIN = "again"
"""The file in it by which a run that has saved asks the job's script, which is outside of any container, to put the job
back into the queue."""


@dataclass(frozen=True)
class Job:
    """A job, by SLURM's own name of it (`123`, or `123_4` in an array), and the folder in which its script lies."""

    name: str
    script: Path


def note(folder: Path, job: Job) -> None:
    """Write down which job the run in `folder` has."""
    content = {"job": job.name, "script": str(job.script), "submitted": time.time()}
    base.write(folder / INSIDE / JOB, content)


def noted(folder: Path) -> Job | None:
    """The job that was last submitted for the run in `folder`. One whose script lies elsewhere is not this run's, whoever
    wrote that down: it would be followed, and cancelled with it."""
    content = base.read(folder / INSIDE / JOB)
    if not content:
        return None
    own, script = folder.resolve(), Path(str(content["script"]))
    places = (own / INSIDE, own.parent / INSIDE)
    return (
        Job(str(content["job"]), script)
        if places[0] == script.resolve() or places[1] == script.resolve().parent
        else None
    )


def said(folder: Path, name: str) -> int | None:
    """The exit status that the job itself has written down, if it has ended for good."""
    return base.said(folder / INSIDE, name)


def under_way(folders: Sequence[Path]) -> dict[Path, Job]:
    """Of the runs in those folders the jobs that wait or run. Raises NotNow where SLURM does not say."""
    begun = [folder for folder in folders if (folder / INSIDE).is_dir() or (folder.parent / INSIDE).is_dir()]
    open_jobs = {folder: job for folder in begun if (job := noted(folder)) and said(folder, job.name) is None}
    known = states({job.name: job.script for job in open_jobs.values()})
    if known is None:
        raise NotNow("cluster=slurm: SLURM does not answer here: neither squeue nor sacct")
    found = {folder: job for folder, job in open_jobs.items() if job.name in known and not known[job.name].over}
    rest = [folder for folder in begun if folder not in found]
    if not rest:
        return found
    # Those of a driver that died before it could write their numbers down.
    listed = waiting()
    if listed is None:
        raise NotNow("cluster=slurm: SLURM does not answer here: squeue fails")
    queue = [Job(name, script.parent) for name, script in listed]
    own = {str(job.script): job for job in queue}
    linked = {str((job.script / job.name.partition("_")[2]).resolve()): job for job in queue if "_" in job.name}
    for folder in rest:
        job = own.get(str(folder / INSIDE)) or linked.get(str(folder))
        if job is not None and said(folder, job.name) is None:
            found[folder] = job
    return found


def described(folders: Sequence[Path]) -> dict[Path, tuple[str, State | None]]:
    """Of each run that had a job: the last one, and its state where SLURM knows it."""
    jobs = {folder: job for folder in folders if (job := noted(folder)) is not None}
    known = states({job.name: job.script for job in jobs.values()}) or {}
    return {folder: (job.name, known.get(job.name)) for folder, job in jobs.items()}
