"""Procedure: lays a run out as fits, and makes one result of theirs."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1): 0 of one value, NaN where some value is not finite, as r2 of a single row is not."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


class Procedure(ABC):
    """Plans fits. It holds no state: what has been done is what stands in the folders."""

    @abstractmethod
    def plan(self, config: DictConfig) -> list[Job]:
        """The fits of a run, each after those it needs; the one named "" is the run itself."""

    def gather(self, folder: Path, fits: list[Job]) -> dict[str, Any]:
        """What the run's folder gets from its fits' beside the result; returns what the result says of it."""
        return {}

    def combine(self, fits: list[Job], results: list[dict[str, Any]]) -> dict[str, Any]:
        """The run's result from its fits': mean and standard deviation (n - 1) of every metric they share."""
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
                    "seed": result["seed"],
                    "status": result["status"],
                    "objective": result["objective"]["value"],
                }
                for fit, result in zip(fits, results, strict=True)
            ],
            **{key: sum(result[key] for result in results) for key in ("steps", "epochs", "wall_s")},
            **{key: results[0][key] for key in ("world_size", "parameters", "trainable_parameters")},
            "peak_memory_bytes": max(result["peak_memory_bytes"] for result in results),
        }


Results = dict[str, dict[str, Any]]
"""What stands in the result.json of jobs, by their names."""


@dataclass(frozen=True)
class Job:
    """A finished config for the subfolder `name`, to be run after the jobs in `after`."""

    name: str
    given: DictConfig | Callable[[], DictConfig]
    """Its config, or what makes it: thousands of fits are laid out at once, and need theirs one after the other."""
    after: tuple[str, ...] = ()
    decide: Callable[[DictConfig, Results], DictConfig] | None = None
    """Makes the config that it is run with of its own and the results of `after`, when those are there."""
    fold: int | None = None
    """The fold whose held-out rows it scores on; None of a fit whose score does not count."""

    @property
    def config(self) -> DictConfig:
        """Its config, made anew each time: held, those of 10,000 fits would take a gigabyte."""
        return self.given if isinstance(self.given, DictConfig) else self.given()
