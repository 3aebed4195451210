"""A driver of a sweep whose trials only count: what the scheduler does with real drivers that are killed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import BaseSampler

from launcher.artifacts.result import write_result
from launcher.process.signals import Interrupt
from launcher.search.dispatcher import Scheduler
from launcher.search.events import Ended
from launcher.search.space import dimensions as space
from launcher.search.space.samplers import GridSampler, RandomSampler, sampler_of
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Claim, Study

STEPS = 5
WORDS = ("x=interval(-1,1)", "y=choice(1,2,3,4)")
GRID = ("x=range(10)", "y=choice(1,2,3,4)")
TPE = OmegaConf.create({"_target_": "optuna.samplers.TPESampler", "seed": None, "n_startup_trials": 5})


@dataclass
class CountingPool:
    """Each trial takes a step at each look, which its folder remembers, and ends with a value of its parameters."""

    slots: int = 1
    sleep_s: float = 0.002
    outlives: bool = False
    _running: dict[int, Path] = field(default_factory=dict)
    _next: int = 0

    def warm_up(self) -> None:
        """Nothing has to be imported."""

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
        self._next += 1
        self._running[self._next] = folder
        return self._next

    def poll(self, handle: int) -> int | None:
        folder = self._running[handle]
        if steps(folder) < STEPS:
            return None
        values: Any = OmegaConf.load(folder / "config.yaml")
        reached = {"metrics": {}, "steps": STEPS, "epochs": 1.0, "wall_s": 0.0}
        objective = {"name": "f", "value": values.x * values.y}
        write_result(folder, {"status": "completed", "reason": "", "objective": objective} | reached)
        del self._running[handle]
        return 0

    def cancel(self, handles: Sequence[int]) -> None: ...

    def abort(self, handle: int) -> None: ...

    def kill(self, handle: int) -> None:
        self._running.pop(handle)

    def wait(self, timeout: float) -> None:
        time.sleep(self.sleep_s)
        for folder in self._running.values():
            if steps(folder) < STEPS:
                with (folder / "steps").open("a", encoding="utf-8") as file:
                    file.write(f"{os.getpid()}\n")


def steps(folder: Path) -> int:
    """How many steps a trial has taken, over all its lives."""
    path = folder / "steps"
    return len(path.read_text(encoding="utf-8").split()) if path.exists() else 0


class Silent:
    """Hears of everything and says nothing."""

    def started(self, claim: Claim, slot: int, resumed: bool) -> None: ...

    def ended(self, ended: Ended) -> None: ...

    def left(self, claim: Claim, why: str) -> None: ...

    def told(self, text: str) -> None: ...

    def looked(self) -> None: ...


def open_study(folder: Path, kind: str, n_trials: int, storage: str | None = None, name: str = "s") -> Study:
    """The study that every driver opens."""
    folder.mkdir(parents=True, exist_ok=True)
    words = GRID if kind == "grid" else WORDS
    dimensions = [space.dimension(each) for each in OverridesParser.create().parse_overrides(list(words))]
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "grid": lambda number: GridSampler(dimensions),
        "random": lambda number: RandomSampler(7),
        "bayes": sampler_of(TPE, 7, dimensions),
    }
    return Study(open_storage(storage, folder), name, ["minimize"], folder, dimensions, makers[kind], n_trials=n_trials)


def compose(params: dict[str, Any], number: int = 0) -> DictConfig:
    return OmegaConf.create(params)


def drive(
    folder: str,
    kind: str,
    n_trials: int,
    slots: int,
    storage: str | None = None,
    sleep_s: float = 0.002,
    name: str = "s",
) -> None:
    """Run the study to its end; then say in a file of its own that it came there."""
    study = open_study(Path(folder), kind, n_trials, storage, name)
    Scheduler(
        study,
        CountingPool(slots, sleep_s),
        compose,
        lambda result: [result["objective"]["value"]],
        Silent(),
        Interrupt(),
        ahead=kind != "bayes",
    ).run()
    (Path(folder) / f"done-{os.getpid()}").write_text(json.dumps(n_trials), encoding="utf-8")
