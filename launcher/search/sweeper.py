"""The sweeper behind `-m`: lays a search out as trials, runs them through a pool, writes what came of them.

A trial is a run like any other, in `multirun/<study>/<number>/`. Killed at any instant and given the same command,
a sweep goes on: finished trials stand, begun ones resume in their folders, the rest follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from launcher import compose
from launcher.check import check
from launcher.console import Console
from launcher.errors import DONE, FAILED, PREEMPTED, ConfigError, did_you_mean
from launcher.folder import locked
from launcher.result import read_result
from launcher.signals import Interrupt, listening

from . import space
from .pool import LocalPool
from .runner import ENDED, Job, Outcome, run_jobs
from .table import write_tables

SAMPLERS = ("grid", "random")


class LauncherSweeper(Sweeper):
    """Hydra's sweeper interface. The arguments are those of conf/hydra/sweeper/launcher.yaml."""

    def __init__(
        self,
        sampler: str = "grid",
        n_trials: int | None = None,
        n_jobs: int = 1,
        study_name: str | None = None,
        direction: str = "minimize",
        max_failure_rate: float = 0.0,
        params: dict[str, str] | None = None,
    ) -> None:
        if sampler not in SAMPLERS:
            raise ConfigError(f"hydra.sweeper.sampler={sampler}: no such sampler.{did_you_mean(sampler, SAMPLERS)}")
        if n_jobs < 1:
            raise ConfigError(f"hydra.sweeper.n_jobs={n_jobs}: expected at least 1")
        self.sampler, self.n_trials, self.n_jobs, self.study_name = sampler, n_trials, n_jobs, study_name
        self.direction, self.max_failure_rate, self.params = direction, max_failure_rate, dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: list[str]) -> int:
        """Run the search; returns the exit status of the command. Raises ConfigError before anything is started."""
        assert self.hydra_context is not None
        assert self.config is not None
        if self.direction != self.config.objective.direction:
            raise ConfigError(
                f"hydra.sweeper.direction={self.direction} disagrees with objective.direction={self.config.objective.direction}"
            )
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = parser.parse_overrides(words)
        fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        swept = [override for override in overrides if override.is_sweep_override()]
        points = list(self._points(swept))
        jobs = [Job(str(number), self._compose(fixed + point)) for number, point in enumerate(points)]
        folder = Path(str(self.config.hydra.sweep.dir)) / (self.study_name or self._default_name(words))
        return self._run(folder, jobs, points, words)

    def _points(self, swept: list[Override]) -> Iterator[list[str]]:
        if self.sampler == "random":
            if not self.n_trials:
                raise ConfigError("search=random needs hydra.sweeper.n_trials")
            assert self.config is not None
            for number in range(self.n_trials):
                yield space.random(swept, self.config.seed, number)
        else:
            for number, point in enumerate(space.grid(swept)):
                if self.n_trials is None or number < self.n_trials:
                    yield point

    def _compose(self, overrides: list[str]) -> DictConfig:
        """A trial's finished config, checked; composition happens here, in the driver, for all trials before the first."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        composed = compose.compose(hydra, overrides, trial=True)
        check(composed.config, composed.origins)
        return composed.config

    def _default_name(self, words: list[str]) -> str:
        assert self.config is not None
        task = str(self.config.task._target_).rpartition(".")[2]
        digest = hashlib.blake2b(json.dumps([self.sampler, sorted(words)]).encode(), digest_size=3).hexdigest()
        return f"{task}-{digest}"

    def _run(self, folder: Path, jobs: list[Job], points: list[list[str]], words: list[str]) -> int:
        record = folder / "sweep.json"
        space_of = {"sampler": self.sampler, "overrides": sorted(words)}
        if record.exists() and (known := json.loads(record.read_text(encoding="utf-8"))) != space_of:
            changed = sorted(set(known["overrides"]) ^ set(space_of["overrides"]))
            raise ConfigError(
                f"{folder} holds another sweep (different: {', '.join(changed) or 'the sampler'}); choose another hydra.sweeper.study_name"
            )
        folder.mkdir(parents=True, exist_ok=True)
        console, interrupt = Console(), Interrupt()
        outcomes: dict[str, Outcome] = {}
        results = [read_result(folder / job.name) for job in jobs]
        already = sum(result is not None and result["status"] in ENDED for result in results)

        def told(outcome: Outcome) -> None:
            outcomes[outcome.job.name] = outcome
            console.message(
                f"{len(outcomes) + already}/{len(jobs)}  trial {outcome.job.name}: {_words(outcome)}  ({' '.join(points[int(outcome.job.name)])})"
            )
            write_tables(folder, jobs, points, self.direction)

        with locked(folder), listening(interrupt, console.message, impatient=True):
            record.write_text(json.dumps(space_of), encoding="utf-8")
            told_already = f", {already} of them done already" if already else ""
            console.message(f"{len(jobs)} trials in {folder}, {self.n_jobs} at a time{told_already}")
            outcomes.update(run_jobs(jobs, folder, LocalPool(slots=self.n_jobs), interrupt, told))
            best = write_tables(folder, jobs, points, self.direction)
        if best is not None and self.config is not None:
            name, chosen = self.config.objective.metric, " ".join(points[best["number"]])
            console.message(f"best: trial {best['number']}, {name} {best['value']:.6g}  ({chosen})")
        console.message(f"table: {folder / 'trials.csv'}")
        if interrupt.signal is not None:
            return PREEMPTED
        failed = sum(not outcome.ended for outcome in outcomes.values())
        return FAILED if failed > self.max_failure_rate * len(jobs) else DONE


def _words(outcome: Outcome) -> str:
    if outcome.ended and outcome.result is not None:
        objective: dict[str, Any] = outcome.result["objective"]
        return f"{outcome.result['status']}, {objective['name']} {objective['value']:.4g}"
    if outcome.status == PREEMPTED:
        return "saved, to be resumed"
    return f"failed: {outcome.reason}"
