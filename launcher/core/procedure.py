"""Procedure: lays a run out as jobs, and makes one result of theirs."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1): 0 of one value, NaN where some value is not finite, as r2 of a single row is not."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


Results = dict[str, dict[str, Any]]
"""The contents of result.json of jobs that have ended, by their names."""


@dataclass(frozen=True)
class Input:
    """What an earlier job has left: `path` inside the folder of `job`, such as model/model.safetensors."""

    job: str
    path: str


@dataclass(frozen=True)
class Job:
    """A finished config for the subfolder `name`. The job named "" is the run itself, and stands alone."""

    name: str
    given: DictConfig | Callable[[], DictConfig]
    """Its config, or what makes it: thousands of jobs are laid out at once, and need theirs one after the other."""
    after: tuple[str, ...] = ()
    """The jobs whose results its config follows from: it starts when they have ended, and again when one of them was
    run again."""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    """By key of its config: a file or folder of an earlier job, whose path the key gets when this job starts."""
    fold: int | None = None
    """The fold whose held-out rows it scores on; None of a job whose score does not count."""

    @property
    def config(self) -> DictConfig:
        """Its config, made anew each time: kept, those of 10,000 fits would take a gigabyte."""
        return self.given if isinstance(self.given, DictConfig) else self.given()

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the jobs that it needs."""
        return tuple(dict.fromkeys((*self.after, *(each.job for each in self.inputs.values()))))


class Procedure(ABC):
    """Lays a run out as jobs. It holds no state: what has been done is what stands in the folders.

    Jobs that all can be known at once are one call's; a procedure of rounds looks at the results of one round and lays
    out the next. A run that is resumed is laid out again from the beginning, with the results that stand there. So what
    `next` returns follows from its arguments alone, and a job stays in it, as it was, until the job is done.
    """

    @abstractmethod
    def next(self, config: DictConfig, done: Results) -> list[Job]:
        """The jobs that are left, as far as they are known once those in `done` have ended; none: the run is over.

        It is asked again whenever a slot is free for which no job is known. Raises ConfigError, of the first jobs, and
        TrainingError where the results leave no way to go on.
        """

    def num_jobs(self, config: DictConfig) -> int:
        """How many jobs there will be, as far as it is known before the first one has run."""
        return len(self.next(config, {}))

    def gather(self, folder: Path, fits: list[Job]) -> dict[str, Any]:
        """What the run's folder gets from its jobs' beside the result; returns what the result says of it."""
        return {}

    def combine(self, fits: list[Job], results: list[dict[str, Any]]) -> dict[str, Any]:
        """The run's result from its jobs': mean and standard deviation (n - 1) of every metric they share.

        The jobs come call by call of `next`; in which order those of several calls ended is chance.
        """
        shared = set.intersection(*(set(result["metrics"]) for result in results))
        columns = {name: [float(result["metrics"][name]) for result in results] for name in sorted(shared)}
        mean = {name: statistics.fmean(values) for name, values in columns.items()}
        std = {name: deviation(values) for name, values in columns.items()}
        objective = dict(results[0]["objective"])
        told = [result["objective"]["value"] for result in results]
        objective["value"] = statistics.fmean(math.nan if value is None else value for value in told)
        return {
            "status": "completed",
            "reason": f"{len(fits)} fits",
            "objective": objective,
            "metrics": mean,
            "mean": mean,
            "std": std,
            "fits": [
                {
                    "name": fit.name,
                    "seed": fit.config.seed,
                    "status": result["status"],
                    "objective": result["objective"]["value"],
                }
                for fit, result in zip(fits, results, strict=True)
            ],
            **{key: sum(result[key] for result in results) for key in ("steps", "epochs", "wall_s")},
            **{key: results[0][key] for key in ("world_size", "parameters", "trainable_parameters")},
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        }
