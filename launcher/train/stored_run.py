"""A run that is in its folder, made again to look at its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.folder import refuse_links
from launcher.artifacts.result import checked_result
from launcher.config.resume import load
from launcher.console.console import Console
from launcher.errors import ConfigError
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.loop import Loop
    from launcher.core.run import Run


def stored_config(config: DictConfig) -> DictConfig:
    """The config of the run in `config.run`, placed as the command says and without trackers.

    Raises ConfigError where the folder holds no run, or one that is made of several.
    """
    folder = Path(config.run)
    refuse_links(folder)
    saved = load(folder, "run")
    fits = (checked_result(folder) or {}).get("fits")
    if fits:
        raise ConfigError(
            f"run={folder}: that run is made of {len(fits)} fits, each with rows of its own held out; run={folder / fits[0]['name']} is one of them"
        )
    for key, node in (
        ("parallel", config.parallel),
        ("communication", config.communication),
        ("loading", config.loading),
        ("tracker", {}),
        ("action", config.action),
    ):
        OmegaConf.update(saved, key, node, merge=False)
    return saved


def stored_run(config: DictConfig, folder: Path, console: Console) -> tuple[Loop, Run]:
    """The loop that the run's task names, and the run as it was before its first step."""
    from launcher.train.build import build_parallel, build_task
    from launcher.train.loops.named import loop_class

    parallel = build_parallel(config)
    task = build_task(config)
    loop = loop_class(task)(console)
    data = task.datasets()
    return loop, loop.build(config, folder, task, data, task.model(), parallel, Interrupt())
