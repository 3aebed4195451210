"""Export: the best weights of a run, written in the format of the model's own library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.folder import locked
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError

from .evaluate import _restored

if TYPE_CHECKING:
    pass


def _export(config: DictConfig, folder: Path, console: Console) -> int:
    """`model/` once more, from the best checkpoint."""
    from torch import nn

    from launcher.train.build import build_parallel, build_task
    from launcher.train.finish import write_model

    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    model = task.model()
    if not isinstance(model, nn.Module):
        if not (folder / "model").is_dir():
            raise ConfigError(f"{folder}: an estimator is kept only in model/, which is not there; train it again")
        console.message(f"model: {folder / 'model'} (an estimator is exported when it is fitted)")
        return DONE
    with locked(folder):
        run = _restored(config, folder, task, data, model, parallel, console)
        write_model(task, run.judged_model(), folder)
    console.message(f"model: {folder / 'model'}, of step {run.progress.step}")
    return DONE
