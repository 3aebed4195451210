"""How long the steps of a config take here: some are taken and timed, in this process; nothing is written, nothing stays."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from launcher.process.signals import Interrupt
from launcher.train.build import build_parallel, build_run, build_task
from launcher.train.threads import suitable_threads

from .rehearsal import refuse_unless_rehearsable, rehearsal

STEPS, SECONDS = 40, 2.0
"""So many steps are timed, or as many as that takes; the first two warm up."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, and how many an epoch has."""

    step_s: float
    steps_per_epoch: int


def measure(config: DictConfig, threads: int) -> Pace:
    """The pace of a fit of one process with so many threads. Raises ConfigError as the fit would."""
    config = config.copy()
    config.tracker = {}
    if config.optimizer.lr == "auto":
        config.optimizer.lr = 1e-3
    torch.set_num_threads(threads)
    task = build_task(config)
    refuse_unless_rehearsable(task, "there are no steps to time")
    data = task.datasets()
    parallel = build_parallel(config)
    with tempfile.TemporaryDirectory() as place:
        run = build_run(config, Path(place), task, data, task.model(), parallel, lambda said: None, Interrupt())
        training_step = rehearsal(run)
        with suitable_threads(run):
            batches, times = run.loaders.train.start(0), list[float]()
            end = time.perf_counter() + SECONDS
            while len(times) < 3 or (len(times) < STEPS and time.perf_counter() < end):
                began = time.perf_counter()
                run.progress.step = len(times)
                training_step(run, training_step.take(run, batches))
                if parallel.device.type == "cuda":
                    torch.cuda.synchronize(parallel.device)
                times.append(time.perf_counter() - began)
    return Pace(statistics.median(times[2:]), run.plan.steps_per_epoch)
