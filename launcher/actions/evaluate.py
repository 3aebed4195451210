"""Evaluate: the best weights of a run on its held-out samples once more."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts import evaluation
from launcher.artifacts.folder import MODEL
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.train.stored_run import stored_config, stored_run


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Evaluate `config.run`; its evaluation.json keeps what came out."""
    config, folder = stored_config(config), Path(config.run)
    console = Console()
    from torch import nn

    from launcher.train.build import build_parallel, build_task
    from launcher.train.evaluate import evaluate

    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    model = task.model()
    if isinstance(model, nn.Module):
        run = stored_run(config, folder, task, data, model, parallel, console)
        if run.loaders.val is None:
            raise ConfigError(f"{folder}: this run held nothing out, so there is nothing to evaluate it on")
        found = evaluate(task, run.judged_model(), run.loaders.val, parallel)
        step = run.progress.step
    else:
        from launcher.artifacts.export import load_estimator

        found, step = task.score(load_estimator(folder / MODEL), data.val), 1
    metrics = {f"val/{name}": value for name, value in found.items()}
    path = evaluation.write(folder, step, metrics)
    console.evaluation(step, 0.0, metrics, False)
    console.message(f"written: {path}")
    return DONE
