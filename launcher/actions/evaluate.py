"""Evaluate: the best weights of a run on its held-out samples once more."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts import evaluation
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.train.stored_run import stored_config, stored_run


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Evaluate `config.run`; its evaluation.json keeps what came out."""
    config, folder = stored_config(config), Path(config.run)
    console = Console()
    loop, run = stored_run(config, folder, console)
    if run.data.val is None:
        raise ConfigError(f"{folder}: this run held nothing out, so there is nothing to evaluate it on")
    loop.restore_best(run, config.action)
    metrics = {f"val/{name}": value for name, value in loop.evaluate(run).items()}
    step = run.progress.step
    path = evaluation.write(folder, step, metrics)
    console.evaluation(step, 0.0, metrics, False)
    console.message(f"written: {path}")
    return DONE
