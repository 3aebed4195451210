"""Before a run or a sweep begins: asks `start` when, and waits here or has the cluster wait."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from launcher.artifacts.folder import make_folder, remove_folder
from launcher.config.instantiate import instantiate
from launcher.console.console import Console
from launcher.errors import PREEMPTED
from launcher.process.signals import Interrupt, listening

if TYPE_CHECKING:
    from .carbon_aware import CarbonAware

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells have it."""


def wait(config: DictConfig, folder: Path | None = None) -> int | None:
    """Return when the run may begin: None; or the exit status, where a signal ended the wait.

    A cluster that can hold a job back is told to (`cluster.begin`), and nothing waits here. `action=plan` says what would
    be. Raises ConfigError where there is no window, and where a run could not have its `folder`.
    """
    start: CarbonAware = instantiate(config.start)
    console, interrupt, now = Console(), Interrupt(), time.time()
    choice = start.choose(now)
    begin = choice.window.begin
    with listening(
        interrupt, lambda said: None, impatient=False, last=False
    ):  # before a word is said: it may be answered at once
        for line in start.told(choice, now):
            console.message(f"start: {line}")
        if config.cluster and "begin" in config.cluster:
            with open_dict(config.cluster):
                config.cluster.begin = begin
            return None
        if config.action == "plan":
            return None
        if folder is not None:  # not after hours
            remove_folder(folder, make_folder(folder))
        while time.time() < begin and interrupt.signal is None:
            time.sleep(min(0.2, max(0.0, begin - time.time())))
    if interrupt.signal is None:
        return None
    console.message("left before it began; the same command waits again")
    return INTERRUPTED if interrupt.signal == signal.SIGINT else PREEMPTED
