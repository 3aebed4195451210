"""What is settled before the first step: the values that the config leaves to be found, and whether the run can fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.config.signatures import signature
from launcher.console.console import Console
from launcher.process.garbage import begin

if TYPE_CHECKING:
    from launcher.core.task import Task


def settle(config: DictConfig, folder: Path, resume: bool, console: Console) -> None:
    """Put the batch size and the learning rate that are to be found into the config. Raises ConfigError where the run can
    not fit into the memory that is stated for a device."""
    if config.training.find_batch_size:
        from .batch_size import settle as settle_batch_size

        begin()
        settle_batch_size(config, folder, console)
    if config.optimizer.get("lr") == "auto":
        from .lr_find import settle as settle_rate

        begin()
        settle_rate(config, folder, console)
    stated = config.parallel.get("device_memory_gb") is not None
    if stated and not resume and not signature(str(config.model._target_)).facts.get("estimator"):
        from .advice import refuse

        refuse(config)


def refuse_too_large(config: DictConfig, task: Task) -> None:
    """Raise ConfigError where a rank of the run can not fit into the memory that was found, before any of it is taken."""
    from .capacity import in_doubt

    if in_doubt(config, task):
        from .advice import refuse_at_sight

        refuse_at_sight(config)
