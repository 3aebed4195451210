"""Export: the best weights of a run, written in the format of the model's own library."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import locked
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError

from .evaluate import _built


def _export(config: DictConfig, folder: Path, console: Console) -> int:
    """`model/` once more, from the best checkpoint."""
    from launcher.train.finish import write_model

    loop, run = _built(config, folder, console)
    if "resume" not in loop.can:
        if not (folder / "model").is_dir():
            raise ConfigError(f"{folder}: an estimator is kept only in model/, which is not there; train it again")
        console.message(f"model: {folder / 'model'} (an estimator is exported when it is fitted)")
        return DONE
    with locked(folder):
        loop.restore_best(run, config.action)
        write_model(run.task, run.judged_model(), folder)
    console.message(f"model: {folder / 'model'}, of step {run.progress.step}")
    return DONE
