"""Export: the best weights of a run, written in the format of the model's own library."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import MODEL, locked
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.train.stored_run import stored_config, stored_run


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Write the model/ of `config.run` once more, from its best checkpoint."""
    from launcher.train.finish import write_model

    config, folder = stored_config(config), Path(config.run)
    console = Console()
    loop, run = stored_run(config, folder, console)
    if "resume" not in loop.can:
        if not (folder / MODEL).is_dir():
            raise ConfigError(f"{folder}: an estimator is kept only in model/, which is not there; train it again")
        console.message(f"model: {folder / MODEL} (an estimator is exported when it is fitted)")
        return DONE
    with locked(folder):
        loop.restore_best(run, config.action)
        write_model(run.task, run.judged_model(), folder)
    console.message(f"model: {folder / MODEL}, of step {run.progress.step}")
    return DONE
