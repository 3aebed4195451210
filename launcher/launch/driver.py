"""Where a run's fits run: in this process, in workers of this machine, in a pool.

`place` is the driver's half: it makes the folder, writes the finished config into it, lays the run out as fits and
waits for them. `place_fit` is the half that the driver shares with a pool's process: one fit, in this process or
in N workers.
"""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import (
    CONFIG,
    has_begun,
    locked,
    make_folder,
    read_config,
    remove_folder,
    remove_leftovers,
    write_config,
)
from launcher.artifacts.result import disk_full, read_result, record_failure, unfinished, write_result
from launcher.config.instantiate import instantiate
from launcher.console.console import Console
from launcher.console.summary import COMMAND, override
from launcher.errors import DONE, FAILED, PREEMPTED, ConfigError, TrainingError
from launcher.process.garbage import begin, held_off
from launcher.process.signals import Interrupt, LeftEarly, leaving_early, listening

from .procedure import is_many, place_fits, plan_of, trains

if TYPE_CHECKING:
    from launcher.cluster.base import Engine, Nodes

    from .local_pool import Pool

EARLY = "a signal came before the first step"
"""Why a run is preempted that has nothing to go on from."""


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


def _left_early(config: DictConfig, folder: Path, console: Console, interrupt: Interrupt) -> int:
    """Take down that a signal ended the run before there was anything to save; returns the exit status."""
    if not (folder / CONFIG).exists():  # nothing that could be resumed: as any other program that a signal ends
        return 128 + (interrupt.signal or signal.SIGTERM)
    left = {"status": "preempted", "reason": EARLY}
    write_result(folder, (read_result(folder) or unfinished(config)) | left)
    console.message(f"{EARLY}; {COMMAND} {override('resume', folder)} begins where it was")
    return PREEMPTED


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
            if not config.cluster or is_many(config):
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


def _place_run(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    slots: int | None = None,
    nodes: Nodes | None = None,
) -> int:
    """The run as one fit, or as its procedure's fits, `slots` at a time; returns the exit status."""
    fits = plan_of(config)
    if any(fit.name for fit in fits):
        if nodes is not None and nodes.num > 1:
            raise ConfigError("cluster.nodes: the fits of this run share one job, which they can on one node only")
        return place_fits(config, folder, fits, console, interrupt, slots)
    return place_fit(config, folder, resume, console, interrupt, nodes)


def _place_on_cluster(config: DictConfig, folder: Path, resume: bool, console: Console, interrupt: Interrupt) -> int:
    """The run as one job, followed until it ends; returns the exit status."""
    from launcher.cluster.follow import follow

    begin()
    interrupt.early = None  # a job that is handed in is followed, and not forgotten
    log = folder / "log.txt"
    offset = log.stat().st_size if log.exists() else 0
    interrupt.quiet = True
    engine = engine_of(config)
    pool = engine.pool(1)
    handle = pool.submit(folder, resume)
    console.message(f"job {handle}, log {log}")
    return follow(engine, pool, handle, folder, offset, console, interrupt) if config.cluster.wait else DONE


def pool_of(config: DictConfig, slots: int, preload: tuple[str, ...] = ()) -> Pool:
    """Where fits and trials of this config run, `slots` at a time: on its cluster, else in processes of this machine."""
    if config.cluster:
        if not config.cluster.get("wait", True):
            raise ConfigError(
                "cluster.wait=false: several trials or fits need their command until the last one is submitted"
            )
        return engine_of(config).pool(slots)
    from .local_pool import LocalPool

    return LocalPool(slots, preload=preload)


def script_of(config: DictConfig, folder: Path) -> str:
    """What would be submitted for a run: its job, or, of several fits, each of which is a job, that of the first."""
    fits = plan_of(config)
    some = f"{len(fits)} jobs, of which the first is\n\n" if len(fits) > 1 else ""
    return some + engine_of(config).script(folder / fits[0].name)


def engine_of(config: DictConfig) -> Engine:
    """The engine that `cluster` names."""
    engine: Engine = instantiate(config.cluster)
    return engine


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


def exit_status(result: dict[str, Any]) -> int:
    """The process's exit status for a result."""
    return {"preempted": PREEMPTED, "failed": FAILED}.get(str(result["status"]), 0)
