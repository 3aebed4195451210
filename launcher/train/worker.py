"""One rank of one fit: build → begin → fit → close."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from launcher.artifacts.provenance import Provenance
from launcher.console.console import Console
from launcher.core.run import Run
from launcher.data.leaks import repeated
from launcher.process.seeds import derive, seed_everything
from launcher.process.signals import Interrupt

from .build import build_parallel, build_task
from .failures import recorded
from .loops.named import loop_class
from .restore import take_up
from .session import Session

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
    about_to_build: Callable[[Datasets], None] = lambda data: None,
) -> dict[str, Any]:
    """Run the fit that `config` describes in `folder`; returns what stands in result.json. `report` makes a trial's `run.report`;
    `refuse` raises ConfigError where the task's model is too large, before any of it is made; `about_to_build` gets the
    data when they are read and no model is made yet.

    Raises ConfigError for what only the data and the model can show to be wrong, before anything is written;
    TrainingError, or what a task's own code raised, once the fit has begun, after result.json says so.
    """
    torch.autograd.set_detect_anomaly(config.debug.detect_anomaly)
    parallel = build_parallel(config)
    provenance = Provenance() if parallel.is_main else None
    with recorded(config, folder, parallel):
        run = built(config, folder, parallel, console, interrupt, refuse, about_to_build)
        if report is not None and parallel.is_main:
            run.report = report(run)
        if resume:
            take_up(run, list(config.optimizer))
        session = Session(config, run, console, provenance)
        session.begin(resumed=resume)
        session.fit()
        return session.close()


def built(
    config: DictConfig,
    folder: Path,
    parallel: Parallel,
    console: Console,
    interrupt: Interrupt,
    refuse: Callable[[DictConfig, Task], None] | None,
    about_to_build: Callable[[Datasets], None],
) -> Run:
    """The run before its first step, made by the loop that the task names. Raises ConfigError for a model that cannot fit
    into the memory that there is."""
    task = build_task(config)
    loop = loop_class(task)(console)
    data = task.datasets()
    for note in getattr(task.data, "notes", ()):
        console.message(note)
    if parallel.is_main and (leak := repeated(data)) is not None:
        console.warning(leak)
    if refuse is not None and "rehearse" in loop.can:
        refuse(config, task)
    about_to_build(data)
    torch.manual_seed(derive(config.seed, "init"))
    model = task.model()
    seed_everything(config.seed, parallel.data_rank, config.deterministic)
    return loop.build(config, folder, task, data, model, parallel, interrupt)
