"""A fit in this process whose objects a test can look at: built as a worker builds it, then trained by the loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from launcher.console.console import Console
from launcher.core.algorithm import Algorithm
from launcher.core.run import Run
from launcher.core.task import Task
from launcher.data.batches import EvalBatches
from launcher.data.samples import Datasets, TensorSamples
from launcher.process.seeds import derive, seed_everything
from launcher.process.signals import Interrupt
from launcher.train.build import build_parallel, build_run, build_task
from launcher.train.evaluate import evaluate
from launcher.train.loops.supervised import Supervised
from tests.support.fits import PLAIN, config_of


def build(
    folder: Path,
    *overrides: str,
    double: bool = False,
    extra: Sequence[Algorithm] = (),
    made: tuple[Task, Datasets] | None = None,
) -> Run:
    """The run of a command before its first step, with `extra` algorithms; in float64 with `double`.

    `made` is the command's task with its data, where another run has made it already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {override.partition("=")[0] for override in overrides}
    config = config_of(*(word for word in PLAIN if word.partition("=")[0] not in given), *overrides)
    parallel = build_parallel(config)
    if made is None:
        task = build_task(config)
        data = task.datasets()
    else:
        task, data = made
    torch.manual_seed(derive(config.seed, "init"))
    model = task.model()
    assert isinstance(model, torch.nn.Module)
    seed_everything(config.seed, parallel.rank, config.deterministic)
    said: list[str] = []
    run = build_run(config, folder, task, data, model, parallel, said.append, Interrupt())
    run.algorithms.extend(extra)
    if double:
        run.main.model.double()
        for loader in (run.loaders.train, run.loaders.val):
            assert loader is not None
            assert isinstance(loader.samples, TensorSamples)
            columns = loader.samples.columns
            loader.samples.columns = {k: v.double() if v.is_floating_point() else v for k, v in columns.items()}
    return run


def train(run: Run) -> Run:
    """The run after its fit. The process's generators are as they were before `build` where the caller forks them."""
    Supervised(Console(quiet=True)).fit(run)
    return run


def judged(run: Run, train: bool = False) -> dict[str, float]:
    """What the model that would be exported now scores on the held-out samples, or on those it was trained on."""
    samples = run.loaders.train.samples if train else run.loaders.val.samples  # type: ignore[union-attr]
    return evaluate(run.task, run.judged_model(), EvalBatches(samples, batch_size=512), run.parallel)


def gap(run: Run) -> float:
    """By how much the loss is larger on held-out samples than on those that it was trained on."""
    return judged(run)["loss"] - judged(run, train=True)["loss"]
