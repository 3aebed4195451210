"""A single run on a cluster, as its person sees it: the job's number, its log as it grows, its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.console import Console
from launcher.errors import DONE
from launcher.signals import Interrupt

from .slurm import job_of
from .states import states

if TYPE_CHECKING:
    from launcher.search.pool import Pool


def follow(pool: Pool, handle: int, folder: Path, begin: int, console: Console, interrupt: Interrupt) -> int:
    """Print the log of a job from the byte `begin` on until it has ended; returns the run's exit status.

    A signal detaches: the job goes on, and what follows it again is said.
    """
    log, state = folder / "log.txt", ""
    position = begin
    while True:
        status = pool.poll(handle)
        position = _print_from(log, position)
        if status is not None:
            _print_the_rest(log, position)
            return status
        if interrupt.signal is not None:
            console.message(
                f"detached: job {handle} goes on. python -m launcher action=status run={folder} says how it is, "
                f"python -m launcher resume={folder} follows it again, scancel {handle} ends it"
            )
            return DONE
        if position == begin:  # nothing has been printed yet: why does it wait?
            now = str((states({handle: folder.resolve()}) or {}).get(handle, ""))
            if now and now != state and not now.startswith("RUNNING"):
                console.message(f"job {handle}: {now}")
                state = now
        pool.wait(1.0)


def _print_from(log: Path, position: int) -> int:
    """Print what was appended to the log since `position`; returns where it ends now."""
    if not log.exists():
        return position
    with log.open("rb") as file:
        file.seek(position)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]  # a line is printed when it is whole
    sys.stdout.write(whole.decode(errors="replace"))
    sys.stdout.flush()
    return position + len(whole)


def _print_the_rest(log: Path, position: int) -> None:
    """What SLURM writes into the log once the run has said that it ended: until nothing more comes."""
    for _ in range(10):
        time.sleep(0.2)
        last, position = position, _print_from(log, position)
        if position == last:
            return


def report(folders: list[Path]) -> list[tuple[str, str, str, str]]:
    """Of each run's folder: its name, the state of the run, the job and its state, and where the log is."""
    from launcher.result import read_result

    jobs = {folder: job_of(folder.resolve()) for folder in folders}
    known = states({job: folder.resolve() for folder, job in jobs.items() if job is not None}) or {}
    rows = []
    for folder, job in jobs.items():
        result = read_result(folder)
        alive = time.time() - _changed(folder) if result is None else 0.0
        said = f"last written {alive:.0f} s ago" if result is None else f"{result['status']}: {result['reason']}"
        state = "" if job is None else f"{job} {known.get(job, 'unknown to SLURM')}"
        rows.append((folder.name, said, state, str(folder / "log.txt")))
    return rows


def _changed(folder: Path) -> float:
    """When something was last written into a run's folder."""
    files = [path for path in (folder / "metrics.jsonl", folder / "log.txt", folder / "config.yaml") if path.exists()]
    return max(path.stat().st_mtime for path in files)
