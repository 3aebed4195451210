"""One fit: in this process, or in a worker for each device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import (
    remove_leftovers,
)
from launcher.console.console import Console
from launcher.errors import FAILED, PREEMPTED
from launcher.process.garbage import begin, held_off
from launcher.process.signals import Interrupt

from .procedure import trains

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
    from launcher.search.early.trial import is_candidate

    if is_candidate():
        from launcher.search.early.scoring import score

        return exit_status(score(config, folder))
    if resume:
        remove_leftovers(folder)
    if config.training.find_batch_size:
        from launcher.preflight.batch_size import settle as settle_batch_size

        begin()
        settle_batch_size(config, folder, console)
    if config.optimizer.get("lr") == "auto":
        from launcher.preflight.lr_find import settle

        begin()
        settle(config, folder, console)
    if config.parallel.get("device_memory_gb") is not None and not resume and trains(config):
        from launcher.preflight.advice import refuse

        refuse(config)
    if config.parallel.num_processes > 1:
        from .elastic import run_workers

        begin()
        result = run_workers(config, folder, resume, console, interrupt, nodes)
    else:
        with held_off():
            from launcher.search.early.trial import reporter
            from launcher.train.worker import work

            result = work(config, folder, resume, console, interrupt, reporter())
    console.summary(result, folder)
    return exit_status(result)


def exit_status(result: dict[str, Any]) -> int:
    """The process's exit status for a result."""
    return {"preempted": PREEMPTED, "failed": FAILED}.get(str(result["status"]), 0)
