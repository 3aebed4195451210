"""Who runs a trial: a lease in its folder, with the process that holds it, when it was renewed, and a fencing number.

A trial that is neither finished nor running anywhere has to be taken up by somebody, and by one alone. A process of
this machine is dead when the kernel knows it no more; one of another machine when it has not renewed its lease for
a while. Whoever takes a trial over raises the fencing number, and who finds a higher one than its own has lost the trial.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .holder import Holder, myself

FILE = ".lease"


@dataclass(frozen=True)
class Lease:
    """Who holds a trial, and how often it has changed hands."""

    holder: Holder
    fence: int


def read(folder: Path) -> Lease | None:
    """The lease on a trial's folder; None where nobody ever held one, or it was given back."""
    try:
        known = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Lease(Holder(**known["holder"]), known["fence"])


def take(folder: Path) -> Lease:
    """Take the trial over. The study's lock is held, and whoever held the trial is known to be dead."""
    before = read(folder)
    lease = Lease(myself(), 1 if before is None else before.fence + 1)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, lease)
    return lease


def lost(folder: Path, fence: int) -> bool:
    """Whether the trial has changed hands since it had that fencing number."""
    lease = read(folder)
    return lease is not None and lease.fence > fence


def renew(folder: Path, lease: Lease) -> bool:
    """Say that it is still held; False where somebody else has taken the trial over. The study's lock is held."""
    if read(folder) != lease:
        return False
    os.utime(folder / FILE)
    return True


def let_go(folder: Path, lease: Lease) -> None:
    """Give the trial back: whoever comes next may have it at once. The study's lock is held."""
    if read(folder) == lease:
        _write(folder, Lease(Holder("", "", 0, ""), lease.fence))


def dead(folder: Path, clock: Path, patience_s: float) -> bool:
    """Whether nobody runs the trial. Times are those of the file system that holds both, never of two machines' clocks."""
    lease = read(folder)
    if lease is None or lease.holder.pid == 0:
        return True
    gone = lease.holder.gone()
    if gone is not None:
        return gone
    clock.touch()
    return clock.stat().st_mtime - (folder / FILE).stat().st_mtime > patience_s


def _write(folder: Path, lease: Lease) -> None:
    beside = folder / f"{FILE}-{os.getpid()}"
    beside.write_text(json.dumps(asdict(lease)), encoding="utf-8")
    beside.replace(folder / FILE)
