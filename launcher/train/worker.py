"""One rank of one fit: build → loop → evaluate → result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import nn

from launcher.artifacts.checkpoint import inherited
from launcher.artifacts.provenance import Provenance
from launcher.artifacts.result import RESULT, begun, record_failure, unfinished
from launcher.config.instantiate import plain_dict
from launcher.console.console import Console
from launcher.core.algorithm import overriding
from launcher.core.run import LEAVES, Best, Run
from launcher.data.leaks import repeated
from launcher.errors import ConfigError, TrainingError
from launcher.process.garbage import begin
from launcher.process.seeds import derive, seed_everything
from launcher.process.signals import Interrupt
from launcher.report.live_page import LivePage
from launcher.trackers.recorder import Recorder

from .best_model import best_or_last
from .build import build_parallel, build_run, build_task, build_trackers
from .evidence import gather_seen
from .failures import explain, out_of_memory
from .finish import close, look_closer, write_model
from .header import header_of, sizes_of, told_to_trackers
from .loops.estimator import fit_estimator
from .loops.supervised import Supervised
from .restore import restore
from .threads import keep_memory, suitable_threads

if TYPE_CHECKING:
    from launcher.core.parallel import Parallel
    from launcher.core.task import Task
    from launcher.data.samples import Datasets


def work(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    report: Callable[[Run], Callable[[int, float], int]] | None = None,
    refuse: Callable[[DictConfig, Task], None] | None = None,
) -> dict[str, Any]:
    """Run the fit that `config` describes in `folder`; returns what stands in result.json. `report` makes a trial's `run.report`;
    `refuse` raises ConfigError where the task's model is too large, before any of it is made.

    Raises ConfigError for what only the data and the model can show to be wrong, before anything is written;
    TrainingError, or what a task's own code raised, once the fit has begun, after result.json says so.
    """
    torch.autograd.set_detect_anomaly(config.debug.detect_anomaly)
    parallel = build_parallel(config)
    provenance = Provenance() if parallel.is_main else None
    try:
        task = build_task(config)
        data = task.datasets()
        for note in getattr(task.data, "notes", ()):
            console.message(note)
        if parallel.is_main and (leak := repeated(data)) is not None:
            console.warning(leak)
        if refuse is not None:
            refuse(config, task)
        torch.manual_seed(derive(config.seed, "init"))
        model = task.model()
        seed_everything(config.seed, parallel.data_rank, config.deterministic)
        if isinstance(model, nn.Module):
            return _fit_module(
                config, folder, resume, console, interrupt, task, data, model, parallel, provenance, report
            )
        return _fit_estimator(config, folder, console, interrupt, task, data, model, provenance)
    except ConfigError:
        raise
    except Exception as error:
        told = (
            TrainingError(f"out of memory before the first step: {error}. Try a smaller model")
            if out_of_memory(error)
            else error
        )
        if parallel.is_main:
            record_failure(folder, config, told)
        if told is error:
            raise
        raise told from error
    finally:
        parallel.close()


def _fit_module(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    task: Task,
    data: Datasets,
    model: nn.Module,
    parallel: Parallel,
    provenance: Provenance | None,
    report: Callable[[Run], Callable[[int, float], int]] | None,
) -> dict[str, Any]:
    name = type(model).__name__  # wrapping may change it in place
    run = build_run(config, folder, task, data, model, parallel, console.warning, interrupt)
    if report is not None and parallel.is_main:
        run.report = report(run)
    plan, recorder = run.plan, run.recorder
    state = run.checkpoints.load_last() if resume else None
    if state is not None:
        anew = inherited.step_of(folder) == state["progress"]["step"]
        restore(
            run,
            state,
            run.checkpoints.folder / f"step-{state['progress']['step']}",
            list(config.optimizer) if anew else (),
        )
        if anew:  # the best of the other run lies in its folder
            run.best = Best()
    counts = sizes_of(data) | run.sizes()
    header = (
        header_of(config, folder, task, data, name)
        | counts
        | {
            "device": str(parallel.device),
            "ranks": parallel.world_size,
            "engine": parallel.engine,
            "precision": str(parallel.precision.dtype).removeprefix("torch."),
            "steps": plan.total_steps,
            "epochs": None if plan.total_steps is None else plan.total_steps / plan.steps_per_epoch,
            "batch_size": config.training.batch_size,
            "resumed_from": run.progress.step if resume else None,
        }
    )
    console.header(header)
    told_of = partial(told_to_trackers, header, folder, provenance, data)
    if parallel.is_main:
        (folder / RESULT).unlink(missing_ok=True)  # of an earlier session; from now on it would tell a lie
        recorder.start(plain_dict(config), told_of)
    first, first_tokens, started = run.progress.step, run.progress.tokens, time.monotonic()
    run.progress.started = started
    if provenance is not None:
        provenance.training(run.progress.wall_s)
    live: LivePage | None = None
    try:
        console.start(run)
        if parallel.is_main:
            live = LivePage(folder, lambda: gather_seen(task, data, run.seen))
        keep_memory()
        begin()
        with suitable_threads(run):
            Supervised(console).fit(run)
        session = time.monotonic() - started
        if run.stop not in LEAVES and parallel.is_main:
            if live is not None:
                live.close()  # what follows is the last word
            best = best_or_last(run, console)
            for hook in overriding(run.algorithms, "fit_end"):
                hook(run)
            look_closer(config, folder, task, best, data, parallel, recorder)
            if config.training.export:
                write_model(task, best, folder)
    except Exception as error:
        told = explain(error, run)
        if parallel.is_main:
            with contextlib.suppress(OSError, TrainingError):  # the disk that failed the run may fail this too
                told_of()
                failed = _state_of(run) | counts | {"status": "failed", "reason": str(told)}
                close(config, folder, recorder, failed, console, interrupt)
        if told is error:
            raise
        raise told from error
    finally:
        console.stop()
        if live is not None:
            live.close()
    done = run.progress.step - first
    rates = {"steps_per_s": done / session, "samples_per_s": done * config.training.batch_size / session}
    if run.progress.tokens:
        rates["tokens_per_s"] = (run.progress.tokens - first_tokens) / session
    result = _state_of(run) | counts | rates
    if parallel.is_main:
        result = close(config, folder, recorder, result, console, interrupt)
    parallel.barrier()
    return result


def _state_of(run: Run) -> dict[str, Any]:
    """What a run can say of itself at any time: where it stands and how good it was at its best."""
    name, direction = run.objective
    status = {
        None: "completed",
        "max_time": "completed",
        "preempted": "preempted",
        "pruned": "pruned",
        "paused": "pruned",
    }
    return {
        "status": status.get(run.stop, "stopped"),
        "reason": run.stop or run.plan.ended_by,
        "objective": {
            "name": name,
            "value": run.metrics.get(name) if run.best.value is None else run.best.value,
            "direction": direction,
        },
        "metrics": run.metrics | run.best.metrics,
        "best_step": run.best.step,
        "steps": run.progress.step,
        "epochs": run.epoch,
        "wall_s": run.progress.elapsed(),
        "world_size": run.parallel.world_size,
    }


def _fit_estimator(
    config: DictConfig,
    folder: Path,
    console: Console,
    interrupt: Interrupt,
    task: Task,
    data: Datasets,
    estimator: Any,
    provenance: Provenance | None,
) -> dict[str, Any]:
    started = time.monotonic()
    if provenance is not None:
        provenance.training(0.0)
    recorder = Recorder(folder, build_trackers(config), True, console.warning)
    model = str(config.model._target_).rpartition(".")[2]
    header = header_of(config, folder, task, data, model) | {"device": "cpu", "ranks": 1}
    console.header(header)
    (folder / RESULT).unlink(missing_ok=True)
    recorder.start(plain_dict(config), partial(told_to_trackers, header, folder, provenance, data))
    begin()
    with begun():
        return _fitted(config, folder, console, interrupt, task, data, estimator, recorder, started)


def _fitted(
    config: DictConfig,
    folder: Path,
    console: Console,
    interrupt: Interrupt,
    task: Task,
    data: Datasets,
    estimator: Any,
    recorder: Recorder,
    started: float,
) -> dict[str, Any]:
    """The result of an estimator's fit, whose header is told."""
    name, model = config.objective.metric, str(config.model._target_).rpartition(".")[2]
    try:
        metrics = fit_estimator(task, estimator, data, interrupt)
    except ValueError as error:  # scikit-learn's word for an option or data that it can not work with
        said = str(error).partition("\n")[0]
        raise TrainingError(f"{model} can not be fitted to this data: {said}") from error
    wall = time.monotonic() - started
    if metrics is None:
        ended = {"status": "preempted", "reason": "preempted", "wall_s": wall}
        return close(config, folder, recorder, unfinished(config) | ended, console, interrupt)
    if name not in metrics:
        raise ConfigError(f"objective.metric={name}: this estimator reports {', '.join(sorted(metrics))}")
    recorder.log(1, metrics, epoch=1.0, time_s=wall)
    console.evaluation(1, 1.0, {key: value for key, value in metrics.items() if key.startswith("val/")}, True)
    look_closer(config, folder, task, estimator, data, None, recorder)
    if config.training.export:
        write_model(task, estimator, folder)
    result = sizes_of(data) | {
        "status": "completed",
        "reason": "fitted",
        "objective": {"name": name, "value": metrics[name], "direction": config.objective.direction},
        "metrics": metrics,
        "best_step": 1,
        "steps": 1,
        "epochs": 1.0,
        "wall_s": wall,
        "steps_per_s": 1 / wall,
        "samples_per_s": len(data.train) / wall,
        "world_size": 1,
        "parameters": None,
        "trainable_parameters": None,
    }
    return close(config, folder, recorder, result, console, interrupt)
