"""Where a run's fits run: in this process, in workers of this machine, in a pool.

`place` is the driver's half: it makes the folder, writes the finished config into it, lays the run out as fits and
waits for them. `place_fit` is the half that the driver shares with a pool's process: one fit, in this process or
in N workers.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from .console import Console
from .errors import FAILED, PREEMPTED, ConfigError, TrainingError
from .folder import locked, make_folder, read_config, remove_folder, write_config
from .procedures.base import Fit, Procedure
from .result import provenance, read_result, write_result
from .signals import Interrupt, listening

ENDED = ("completed", "stopped", "pruned")
"""The statuses of a fit that needs nothing more."""


def place(config: DictConfig, folder: Path, resume: bool = False) -> int:
    """Run what `config` describes in `folder`; returns the exit status.

    Raises ConfigError, with the folder gone again, for what only data and model can show to be wrong.
    """
    console = Console()
    made = [] if resume else make_folder(folder)
    try:
        with locked(folder):
            write_config(config, folder)
            interrupt = Interrupt()
            with listening(interrupt, console.message, impatient=True):
                fits = _procedure(config).plan(config)
                if len(fits) == 1 and not fits[0].name:
                    return place_fit(config, folder, resume, console, interrupt)
                return _place_fits(config, folder, fits, console, interrupt)
    except ConfigError:
        remove_folder(folder, made)
        raise


def place_fit(config: DictConfig, folder: Path, resume: bool, console: Console, interrupt: Interrupt) -> int:
    """Run one fit here or in workers; returns the exit status."""
    if config.parallel.num_processes > 1:
        from .elastic import run_workers

        result = run_workers(config, folder, resume)
    else:
        from .worker import work

        result = work(config, folder, resume, console, interrupt)
    console.summary(result, folder)
    return exit_status(result)


def run_in_pool(folder: Path, resume: bool) -> int:
    """What a process of a pool does with its folder; returns the exit status, errors are printed into the log."""
    import traceback

    from .errors import LauncherError

    console, interrupt = Console(), Interrupt()
    try:
        config = read_config(folder)
        with locked(folder), listening(interrupt, console.message, impatient=False):
            return place_fit(config, folder, resume, console, interrupt)
    except LauncherError as error:
        console.warning(f"error: {error}")
        return error.exit_status
    except Exception:
        traceback.print_exc()
        return FAILED


def exit_status(result: dict[str, Any]) -> int:
    """The process's exit status for a result."""
    return {"preempted": PREEMPTED, "failed": FAILED}.get(str(result["status"]), 0)


def _procedure(config: DictConfig) -> Procedure:
    from hydra.utils import instantiate

    from .trust import whitelist

    procedure: Procedure = instantiate(config.procedure, _execution_whitelist_=whitelist())
    return procedure


def _place_fits(config: DictConfig, folder: Path, fits: list[Fit], console: Console, interrupt: Interrupt) -> int:
    """Keep every slot of a pool busy until all fits are done; what is done already is not done again."""
    from .search.pool import LocalPool, cores

    pool = LocalPool(slots=max(1, min(len(fits), cores() // config.parallel.num_processes)))
    done = {fit.name for fit in fits if _ended(folder / fit.name)}
    waiting = [fit for fit in fits if fit.name not in done]
    running: dict[int, Fit] = {}
    failed: list[Fit] = []
    console.message(f"{len(fits)} fits in {folder}, {pool.slots} at a time" + (f"; {len(done)} are done" if done else ""))
    try:
        while running or (waiting and not failed and interrupt.signal is None):
            ready = [fit for fit in waiting if set(fit.after) <= done]
            while ready and len(running) < pool.slots and not failed and interrupt.signal is None:
                fit = ready.pop(0)
                waiting.remove(fit)
                own = folder / fit.name
                began = (own / "config.yaml").exists()
                if not began:
                    own.mkdir(exist_ok=True)
                    write_config(fit.config, own)
                running[pool.submit(own, resume=began)] = fit
            pool.wait(0.5)
            if interrupt.signal is not None or failed:
                for handle in running:
                    pool.cancel(handle)
            for handle in [handle for handle in running if pool.poll(handle) is not None]:
                fit, status = running.pop(handle), pool.poll(handle)
                if status == 0:
                    done.add(fit.name)
                    result = read_result(folder / fit.name) or {}
                    value = result.get("objective", {}).get("value")
                    console.message(f"{fit.name}: {result.get('status')}, {config.objective.metric} {value:.4g}")
                elif status != PREEMPTED:
                    failed.append(fit)
    finally:
        for handle in running:
            pool.cancel(handle)
    if failed:
        raise _first_failure(folder, failed[0])
    if interrupt.signal is not None:
        return PREEMPTED
    results = [read_result(folder / fit.name) or {} for fit in fits]
    combined = _procedure(config).combine(fits, results) | {"seed": config.seed} | provenance()
    write_result(folder, combined)
    console.summary(combined, folder)
    return 0


def _ended(folder: Path) -> bool:
    result = read_result(folder)
    return result is not None and result["status"] in ENDED


def _first_failure(folder: Path, fit: Fit) -> Exception:
    """The failed fit's own last words, as the error of the whole."""
    log = folder / fit.name / "log.txt"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    words = next((line.partition("error: ")[2] for line in reversed(lines) if "error: " in line), lines[-1] if lines else "it died without a word")
    return TrainingError(f"{fit.name} failed: {words} (the whole log: {log})")
