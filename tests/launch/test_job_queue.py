"""The fits of a procedure through a pool that refuses some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.core.procedure import Job
from launcher.errors import ConfigError, TrainingError
from launcher.launch.job_queue import run_jobs
from launcher.process.signals import Interrupt


@dataclass
class Choosy:
    """A pool whose runs go on for ever, and which takes `most` of them."""

    most: int
    slots: int = 3
    outlives: bool = True
    taken: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def warm_up(self) -> None: ...

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> str:
        if len(self.taken) == self.most:
            raise ConfigError("no such partition")
        self.taken.append(folder.name)
        return folder.name

    def poll(self, handle: str) -> int | None:
        return None

    def cancel(self, handles: Sequence[str]) -> None:
        self.cancelled += handles

    def abort(self, handle: str) -> None: ...

    def kill(self, handle: str) -> None: ...

    def wait(self, timeout: float) -> None: ...


JOBS = [Job(name, OmegaConf.create({"seed": 0})) for name in ("a", "b", "c")]


def test_a_refusal_of_the_first_is_one_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no such partition$"):
        run_jobs(lambda done: JOBS, tmp_path, Choosy(0), Interrupt())


def test_after_the_first_it_ends_the_others_and_nothing_is_taken_away(tmp_path: Path) -> None:
    pool = Choosy(2)
    with pytest.raises(TrainingError, match="c: no such partition"):
        run_jobs(lambda done: JOBS, tmp_path, pool, Interrupt())
    assert pool.cancelled == ["a", "b"], "asked to save and leave"
    assert (tmp_path / "a" / "config.yaml").exists()
