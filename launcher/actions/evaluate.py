"""Evaluate: the best weights of a run on its held-out samples once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.provenance import provenance
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.loop import Loop
    from launcher.core.run import Run


def _evaluate(config: DictConfig, folder: Path, console: Console) -> int:
    """The best weights on the held-out samples once more; evaluation.json keeps what came out."""
    loop, run = _built(config, folder, console)
    if run.data.val is None:
        raise ConfigError(f"{folder}: this run held nothing out, so there is nothing to evaluate it on")
    loop.restore_best(run, config.action)
    metrics = {f"val/{name}": value for name, value in loop.evaluate(run).items()}
    step = run.progress.step
    content = {"step": step, "metrics": metrics} | provenance()
    (folder / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.evaluation(step, 0.0, metrics, False)
    console.message(f"written: {folder / 'evaluation.json'}")
    return DONE


def _built(config: DictConfig, folder: Path, console: Console) -> tuple[Loop, Run]:
    """The loop that the run's task names, and the run as it was before its first step."""
    from launcher.train.build import build_parallel, build_task
    from launcher.train.loops.named import loop_class

    parallel = build_parallel(config)
    task = build_task(config)
    loop = loop_class(task)(console)
    data = task.datasets()
    return loop, loop.build(config, folder, task, data, task.model(), parallel, Interrupt())
