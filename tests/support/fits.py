"""One fit in this process: the config that the command line would compose, then what a worker does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from launcher.artifacts.folder import write_config
from launcher.artifacts.metrics_file import read
from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.console.console import Console
from launcher.process.signals import Interrupt
from launcher.train.worker import work
from tests.support.odd import TRUST as TRUST

PLAIN = ("model=mlp", "tracker=[]", "training.log_every=1")
"""A small model, every step's loss on a line, nothing beside metrics.jsonl, where not said otherwise."""


def config_of(*overrides: str) -> DictConfig:
    """The finished config of a command."""
    with compose.session() as hydra:
        composed = compose.compose(hydra, list(overrides))
        check(composed.config, composed.origins)
    return composed.config


def fit(folder: Path, *overrides: str, interrupt: Interrupt | None = None, resume: bool = False) -> dict[str, Any]:
    """Run the fit in `folder` and give what result.json says. The process's generators are as they were."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {override.partition("=")[0] for override in overrides}
    config = config_of(*(word for word in PLAIN if word.partition("=")[0] not in given), *overrides)
    write_config(config, folder)
    with torch.random.fork_rng(devices=[]):
        return work(config, folder, resume, Console(quiet=True), interrupt or Interrupt())


def curve(folder: Path, name: str = "train/loss") -> dict[int, float]:
    """A metric by step."""
    return {line["step"]: line[name] for line in read(folder / "metrics.jsonl") if name in line}


def values(folder: Path, name: str = "train/loss") -> list[float]:
    """A metric in the order of the steps."""
    return list(curve(folder, name).values())
