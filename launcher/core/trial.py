"""Trial: what a process that runs a trial of a sweep does beside training, as far as the rooms below the search know of it."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from .run import Run

VARIABLE = "LAUNCHER_TRIAL"
"""What the driver of a sweep with a pruner or a first filter tells a trial's processes, as JSON; of no other run. `role` is
the dotted name of the class that is this process's Trial, which gets all of it."""


class Trial(Protocol):
    """A trial's side of its study."""

    def score(self, config: DictConfig, folder: Path) -> dict[str, Any] | None:
        """Score the trial, where it is not to be trained (yet); returns what stands in result.json, None where it is to be
        trained."""
        ...

    def reporter(self) -> Callable[[Run], Callable[[int, float], int]] | None:
        """Makes the `report` of a run that may be pruned; None of another one."""
        ...


def this_trial() -> Trial | None:
    """The trial that this process runs; None where no study waits for its word."""
    told = os.environ.get(VARIABLE)
    if told is None:
        return None
    facts = json.loads(told)
    module, _, name = facts["role"].rpartition(".")
    trial: Trial = getattr(importlib.import_module(module), name)(facts)
    return trial
