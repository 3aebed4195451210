"""A whole procedure in this process: its plan, each fit as a pool's process would run it, and the result of all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from launcher.config.instantiate import instantiate
from launcher.core.procedure import Job, Procedure
from launcher.launch.job_queue import run_jobs
from launcher.launch.run import run_in_pool
from launcher.process.signals import Interrupt
from tests.support.fits import config_of


class HerePool:
    """A pool of one slot that runs what it is given at once, in this process."""

    slots = 1

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def submit(self, folder: Path, resume: bool = False) -> int:
        with torch.random.fork_rng(devices=[]):
            self.statuses.append(run_in_pool(folder, resume))
        return len(self.statuses) - 1

    def poll(self, handle: int) -> int | None:
        return self.statuses[handle]

    def cancel(self, handles: Sequence[int]) -> None:
        """They are over already."""

    def wait(self, timeout: float) -> None:
        """It is over already."""


def planned(*overrides: str) -> tuple[Procedure, list[Job]]:
    """The procedure of a command and the fits that it begins with."""
    config = config_of("tracker=[]", *overrides)
    procedure: Procedure = instantiate(config.procedure)
    return procedure, procedure.next(config, {})


def run_here(folder: Path, *overrides: str) -> dict[str, Any]:
    """Run all fits of a command under `folder`; returns what result.json would say of them together."""
    config = config_of("tracker=[]", *overrides)
    procedure: Procedure = instantiate(config.procedure)
    outcomes = run_jobs(partial(procedure.next, config), folder, HerePool(), Interrupt())
    assert [outcome.reason for outcome in outcomes.values() if not outcome.ended] == []
    assert len(outcomes) == procedure.num_jobs(config)
    jobs = [outcome.job for outcome in outcomes.values()]
    results = [outcome.result or {} for outcome in outcomes.values()]
    return procedure.combine(jobs, results) | procedure.gather(folder, jobs)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by the names of its columns."""
    import csv

    with path.open(newline="") as file:
        return list(csv.DictReader(file))
