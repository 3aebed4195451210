"""The process that takes the first steps of a run for `rehearsal`: a fresh interpreter that comes to them as a run's does."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.artifacts.folder import read_config
from launcher.console.console import Console
from launcher.errors import LauncherError
from launcher.preflight.first_steps import BATCHES, SAID, Rehearsal
from launcher.process.garbage import held_off
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.data.samples import Datasets


def main(folder: Path, parent: int) -> None:
    """In the process that is measured: the run in `folder`, and what it took beside it."""
    leave_with(parent)
    with held_off():  # as in a run's process: what its imports leave uncollected counts
        found = taken_by(folder)
    (folder / SAID).write_text(json.dumps(asdict(found)))


def taken_by(folder: Path) -> Rehearsal:
    """Take the steps, in a process that has come to them as a run's does."""
    from launcher.artifacts.result import peak_memory_bytes
    from launcher.config import compose
    from launcher.config.checks.nodes import check
    from launcher.data.samples import first
    from launcher.preflight.advice import refuse
    from launcher.preflight.capacity import resident
    from launcher.train.worker import work

    with compose.session() as hydra:  # it has composed a config, whichever: what that takes stays
        composed = compose.compose(hydra, [])
        check(composed.config, composed.origins)
    config, before = read_config(folder), 0

    def about_to_build(data: Datasets) -> None:
        nonlocal before
        if data.val is not None:
            settings = config.training
            rows = BATCHES * (settings.eval_batch_size or max(256, settings.batch_size))
            data.val = first(data.val, min(rows, len(data.val)))
        before = resident()

    if config.parallel.get("device_memory_gb") is not None:
        refuse(config)  # as a run does, and what that leaves behind counts
    result = work(config, folder, False, Console(quiet=True), Interrupt(), about_to_build=about_to_build)
    return Rehearsal(before, peak_memory_bytes(), result["steps"])


def leave_with(parent: int) -> None:
    """Have the system end this process when that one ends."""
    import ctypes
    import signal

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except LauncherError:
        sys.exit(1)
