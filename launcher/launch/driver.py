"""Where a run's fits run: in this process, in workers of this machine, in a pool.

`place` is the driver's half: it makes the folder, writes the finished config into it, lays the run out as fits and
waits for them. `place_fit` is the half that the driver shares with a pool's process: one fit, in this process or
in N workers.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.folder import (
    CONFIG,
    has_begun,
    locked,
    make_folder,
    read_config,
    remove_folder,
    write_config,
)
from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.result import record_failure
from launcher.cluster.base import engine_of
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError, TrainingError
from launcher.process.garbage import begin
from launcher.process.signals import Interrupt, LeftEarly, leaving_early, listening
from launcher.train.failures import disk_full

from .procedure import are_many, first_jobs, num_jobs
from .run import _left_early, _place_run

if TYPE_CHECKING:
    pass


def place(config: DictConfig, folder: Path, resume: bool = False) -> int:
    """Run what `config` describes in `folder`; returns the exit status.

    Raises ConfigError, with the folder gone again, for what only data and model can show to be wrong.
    """
    console, interrupt = Console(), Interrupt()
    left = partial(_left_early, config, folder, console, interrupt)
    with listening(interrupt, console.message, impatient=True):
        try:
            with leaving_early(interrupt, left):
                return _placed(config, folder, resume, console, interrupt)
        except LeftEarly:
            return left()


def _placed(config: DictConfig, folder: Path, resume: bool, console: Console, interrupt: Interrupt) -> int:
    if resume and config.cluster and engine_of(config).under_way(folder):
        from launcher.cluster.follow import but_for_waiting

        if but_for_waiting(config) != but_for_waiting(read_config(folder)):
            console.warning("the run's job is under way and goes on as it is: what this command changes is not taken")
        return _place_on_cluster(config, folder, resume, console, interrupt)
    made = [] if resume else make_folder(folder)
    before = (folder / CONFIG).read_text(encoding="utf-8") if resume else None
    try:
        with locked(folder):
            write_config(config, folder)
            if not config.cluster or are_many(first_jobs(config)):
                return _place_run(config, folder, resume, console, interrupt)
        return _place_on_cluster(config, folder, resume, console, interrupt)
    except ConfigError as error:
        if not resume and has_begun(folder):  # a fit of several: what the others have done is not thrown away
            failure = TrainingError(str(error))
            record_failure(folder, config, failure)
            raise failure from error
        remove_folder(folder, made)
        if before is not None:  # what was refused is not what the run is
            (folder / CONFIG).write_text(before, encoding="utf-8")
        raise
    except LeftEarly:
        if not (folder / CONFIG).exists():
            remove_folder(folder, made)
        raise
    except OSError as error:
        if not (folder / CONFIG).exists():  # nothing has begun that could be resumed
            remove_folder(folder, made)
        if disk_full(error):
            raise TrainingError(f"the disk is full: {error.filename or folder}") from error
        raise


def _place_on_cluster(config: DictConfig, folder: Path, resume: bool, console: Console, interrupt: Interrupt) -> int:
    """The run as one job, followed until it ends; returns the exit status."""
    from launcher.cluster.follow import follow

    from .node import ENTRY

    begin()
    interrupt.early = None  # a job that is handed in is followed, and not forgotten
    log = folder / LOG
    offset = log.stat().st_size if log.exists() else 0
    interrupt.quiet = True
    engine = engine_of(config)
    pool = engine.pool(1, ENTRY)
    handle = pool.submit(folder, resume)
    console.message(f"job {handle}, log {log}")
    return follow(engine, pool, handle, folder, offset, console, interrupt) if config.cluster.wait else DONE


def script_of(config: DictConfig, folder: Path) -> str:
    """What would be submitted for a run: its job, or, of several fits, each of which is a job, that of the first."""
    from .node import ENTRY

    num = num_jobs(config)
    some = f"{num} jobs, of which the first is\n\n" if num > 1 else ""
    return some + engine_of(config).script(folder / first_jobs(config)[0].name, ENTRY)
