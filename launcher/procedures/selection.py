"""Choosing among candidates by what their fits say: the inner search of a nested cross-validation."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher.config.checks.nodes import check
from launcher.config.signatures import signature
from launcher.errors import ConfigError, TrainingError

Point = dict[str, Any]
"""Values by key."""

_MISSING = object()
DEFAULT_RATES = (1 / 3, 1.0, 3.0)
"""The default grid: the rate of the config times these."""


def grid_of(config: DictConfig, grid: dict[str, list[Any]] | None) -> dict[str, list[Any]]:
    """The grid, or the default one. Raises ConfigError where there is no default."""
    return _default(config) if grid is None else grid


def candidates(config: DictConfig, grid: dict[str, list[Any]]) -> list[Point]:
    """Every point of a grid, in the order of its keys; the last one varies first.

    Raises ConfigError for a key or a value that does not suit the config, and for fewer than two points.
    """
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"procedure.grid: {key}: expected a list of values to try")
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not grid or len(points) < 2:
        raise ConfigError("procedure.grid: there is nothing to choose from: give a key two values at least")
    for point in points:
        shown = " ".join(f"{key}={value}" for key, value in point.items())
        try:
            check(with_values(config, point))
        except ConfigError as error:
            raise ConfigError(f"procedure.grid ({shown}): {error}") from None
    return points


def with_values(config: DictConfig, point: Point) -> DictConfig:
    """The config with a point's values. Raises ConfigError for a key that it does not have."""
    own = config.copy()
    for key, value in point.items():
        if OmegaConf.select(own, key, default=_MISSING) is _MISSING:
            raise ConfigError(f"there is no key {key!r}")
        OmegaConf.update(own, key, value)
    return own


def best_of(points: list[Point], results: list[dict[str, Any]], objective: DictConfig) -> Point:
    """The point whose fits have the best mean objective, the first of several alike. `results` come point by point, each
    with as many fits.

    A mean that is no number, or infinite, is never the best. Raises TrainingError where all are such."""
    objectives = [result["objective"]["value"] for result in results]
    values = [math.nan if value is None else float(value) for value in objectives]
    folds = len(values) // len(points)
    means = [statistics.fmean(values[start : start + folds]) for start in range(0, len(values), folds)]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        raise TrainingError(
            f"procedure.grid: none of the {len(points)} candidates has a finite {objective.metric} in all of its "
            f"folds, so there is nothing to choose: their means are {', '.join(f'{mean:g}' for mean in means)}"
        )
    best = (max if objective.direction == "maximize" else min)(finite)
    return points[means.index(best)]


def _default(config: DictConfig) -> dict[str, list[Any]]:
    target = str(config.model._target_)
    if signature(target).facts.get("estimator"):
        numbers = [
            key for key, value in config.model.items() if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        example = (
            f"model.{numbers[0]}: [{config.model[numbers[0]]}, {config.model[numbers[0]] * 2}]"
            if numbers
            else "model.…: […, …]"
        )
        raise ConfigError(
            f"validation=nested chooses among values, and says none for {target.rpartition('.')[2]}: "
            f"give them as in 'procedure.grid={{{example}}}'"
        )
    rate = config.optimizer.get("lr")
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise ConfigError(
            f"procedure.grid: by default rates around optimizer.lr are tried, and that is {rate}; give a grid or a rate"
        )
    return {"optimizer.lr": [float(f"{rate * factor:.3g}") for factor in DEFAULT_RATES]}
