"""Evaluate: the best weights of a run on its held-out samples once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.provenance import provenance
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.run import Run


def _evaluate(config: DictConfig, folder: Path, console: Console) -> int:
    """The best weights on the held-out samples once more; evaluation.json keeps what came out."""
    from torch import nn

    from launcher.train.build import build_parallel, build_task
    from launcher.train.evaluate import evaluate

    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    model = task.model()
    if isinstance(model, nn.Module):
        run = _restored(config, folder, task, data, model, parallel, console)
        if run.loaders.val is None:
            raise ConfigError(f"{folder}: this run held nothing out, so there is nothing to evaluate it on")
        found = evaluate(task, run.judged_model(), run.loaders.val, parallel)
        step = run.progress.step
    else:
        from launcher.artifacts.export import load_estimator

        found, step = task.score(load_estimator(folder / "model"), data.val), 1
    metrics = {f"val/{name}": value for name, value in found.items()}
    content = {"step": step, "metrics": metrics} | provenance()
    (folder / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.evaluation(step, 0.0, metrics, False)
    console.message(f"written: {folder / 'evaluation.json'}")
    return DONE


def _restored(
    config: DictConfig, folder: Path, task: Any, data: Any, model: Any, parallel: Any, console: Console
) -> Run:
    """The run as it was at its best evaluation; at its last checkpoint where there was none."""
    from launcher.train.build import build_run
    from launcher.train.restore import judged, restore

    run = build_run(config, folder, task, data, model, parallel, console.warning, Interrupt())
    restore(run, *judged(run.checkpoints, config.action))
    return run
