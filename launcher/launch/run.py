"""One run: a single fit, or a procedure of several."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.folder import (
    CONFIG,
    locked,
    read_config,
)
from launcher.artifacts.result import read_result, unfinished, write_result
from launcher.console.console import Console
from launcher.console.summary import COMMAND, override
from launcher.errors import FAILED, PREEMPTED, ConfigError
from launcher.process.signals import Interrupt, LeftEarly, leaving_early, listening

from .fit import place_fit
from .procedure import are_many, first_jobs, place_jobs

if TYPE_CHECKING:
    from launcher.cluster.base import Nodes

EARLY = "a signal came before the first step"
"""Why a run is preempted that has nothing to go on from."""


def _left_early(config: DictConfig, folder: Path, console: Console, interrupt: Interrupt) -> int:
    """Take down that a signal ended the run before there was anything to save; returns the exit status."""
    if not (folder / CONFIG).exists():  # nothing that could be resumed: as any other program that a signal ends
        return 128 + (interrupt.signal or signal.SIGTERM)
    left = {"status": "preempted", "reason": EARLY}
    write_result(folder, (read_result(folder) or unfinished(config)) | left)
    console.message(f"{EARLY}; {COMMAND} {override('resume', folder)} begins where it was")
    return PREEMPTED


def _place_run(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    slots: int | None = None,
    nodes: Nodes | None = None,
) -> int:
    """The run as one fit, or as its procedure's jobs, `slots` at a time; returns the exit status."""
    jobs = first_jobs(config)
    if are_many(jobs):
        if nodes is not None and nodes.num > 1:
            raise ConfigError("cluster.nodes: the fits of this run share one job, which they can on one node only")
        return place_jobs(config, folder, jobs, console, interrupt, slots)
    return place_fit(config, folder, resume, console, interrupt, nodes)


def run_in_pool(folder: Path, resume: bool, interrupt: Interrupt | None = None, nodes: Nodes | None = None) -> int:
    """What a process of a pool does with its folder; returns the exit status, errors are printed into the log."""
    import traceback

    import torch

    from launcher.errors import LauncherError

    console, interrupt = Console(), interrupt or Interrupt()
    try:
        config = read_config(folder)
        left = partial(_left_early, config, folder, console, interrupt)
        with locked(folder), listening(interrupt, console.message, impatient=False):
            try:
                with leaving_early(interrupt, left):
                    return _place_run(config, folder, resume, console, interrupt, torch.get_num_threads(), nodes)
            except LeftEarly:
                return left()
    except LauncherError as error:
        if error.__cause__ is not None:  # what it was, for the log
            traceback.print_exc()
        console.warning(f"error: {error}")
        return error.exit_status
    except Exception:
        traceback.print_exc()
        return FAILED
