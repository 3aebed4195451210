"""One fit: in this process, or in a worker for each device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import remove_leftovers
from launcher.console.console import Console
from launcher.core.trial import this_trial
from launcher.errors import FAILED, PREEMPTED
from launcher.preflight.settle import refuse_too_large, settle
from launcher.process.garbage import begin, held_off
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.cluster.base import Nodes


def place_fit(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    nodes: Nodes | None = None,
) -> int:
    """Run one fit here or in workers, of several `nodes` where given; returns the exit status. Its folder is locked."""
    trial = this_trial()
    if trial is not None and (scored := trial.score(config, folder)) is not None:
        return exit_status(scored)
    if resume:
        remove_leftovers(folder)
    settle(config, folder, resume, console)
    if config.parallel.num_processes > 1:
        from .elastic import run_workers

        begin()
        result = run_workers(config, folder, resume, console, interrupt, nodes)
    else:
        with held_off():
            from launcher.train.worker import work

            report = None if trial is None else trial.reporter()
            result = work(config, folder, resume, console, interrupt, report, refuse_too_large)
    console.summary(result, folder)
    return exit_status(result)


def exit_status(result: dict[str, Any]) -> int:
    """The process's exit status for a result."""
    return {"preempted": PREEMPTED, "failed": FAILED}.get(str(result["status"]), 0)
