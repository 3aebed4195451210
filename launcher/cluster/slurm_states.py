"""What SLURM says of a job: from `squeue`, else from `sacct`, and only if it is the job that was submitted here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20.0
"""How long a question may take; a controller that is down blocks for ten."""

OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "REVOKED")
"""States that nothing follows. PREEMPTED is not one: the job is put back into the queue a moment later."""


@dataclass(frozen=True)
class State:
    """A job's state in SLURM's word, the nodes it is or was on, and why it waits, where it does."""

    name: str
    nodes: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        return self.name in OVER

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        why = f" ({self.reason})" if self.name == "PENDING" and self.reason not in ("", "None") else ""
        return f"{self.name}{where}{why}"


def states(jobs: dict[str, Path]) -> dict[str, State] | None:
    """The state of each job that SLURM knows, given the folder in which its script lies; None if it does not answer.

    A cluster that was set up anew counts its jobs from 1 again: an id alone could be another job of last month. So the
    path of the script tells them apart; the accounts hold it some seconds after the job's state. A task of an array is a
    job of its own, `123_4`.
    """
    if not jobs:
        return {}
    queued = _ask(["squeue", "-h", "-r", "-t", "all", "-j", _listed(jobs), "-o", "%i|%T|%N|%r|%o"])
    found = {} if queued is None else _read(queued, jobs)
    missing = {job: folder for job, folder in jobs.items() if job not in found}
    if not missing:
        return found
    fields = "JobID,State,NodeList,Reason,SubmitLine"
    told = _ask(["sacct", "-n", "-X", "-P", "-j", _listed(job.partition("_")[0] for job in missing), "-o", fields])
    if queued is None and told is None:
        return None
    return found | ({} if told is None else _read(told, missing))


def waiting() -> list[tuple[str, Path]] | None:
    """The jobs that wait or run, each with the script that was submitted; None if SLURM does not answer."""
    answer = _ask(["squeue", "-h", "-r", "-t", "PENDING,RUNNING,COMPLETING,SUSPENDED,REQUEUED", "-o", "%i|%o"])
    if answer is None:
        return None
    pairs = (line.partition("|") for line in answer.splitlines())
    return [(name, Path(command)) for name, _, command in pairs]


def _listed(jobs: Iterable[str]) -> str:
    return ",".join(sorted(set(jobs)))


def _read(answer: str, jobs: dict[str, Path]) -> dict[str, State]:
    found: dict[str, State] = {}
    rest: dict[str, State] = {}  # tasks cancelled before they began: `sacct` has one row for all, called as the array
    for line in answer.splitlines():
        job, name, nodes, reason, command = [*line.split("|", 4), "", "", "", ""][:5]
        unassigned = nodes in ("None assigned", "(null)")
        state = State(name.split()[0], "" if unassigned else nodes, reason)  # "CANCELLED by 0"
        tasks = [(one, found) for one in _tasks(job)]
        if job.isdecimal() and state.name == "CANCELLED":
            tasks += [(one, rest) for one in jobs if one.startswith(f"{job}_")]
        for one, known in tasks:
            if one in jobs and (not command or f"{jobs[one]}/" in command):
                known[one] = state
    return rest | found


def _tasks(job: str) -> list[str]:
    """The tasks that one line is about: `sacct` puts those of an array that wait into one, `123_[2-4,7%2]`."""
    array, bracket, rest = job.partition("_[")
    if not bracket:
        return [job]
    found = []
    for part in rest.rstrip("]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():  # sacct may cut a long list short by "..."
            found += [f"{array}_{number}" for number in range(int(first), int(last or first) + 1)]
    return found


def _ask(command: list[str]) -> str | None:
    """What a command prints; None where it is missing, hangs, or can not reach its daemon."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return done.stdout
