"""What a sweep is for: its objectives, each a metric and a direction."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from launcher.config.signatures import signature
from launcher.errors import ConfigError, did_you_mean

from .space.dimensions import Directions

NUMBERS = (
    "parameters", "trainable_parameters", "steps", "epochs", "wall_s", "best_step", "peak_memory_bytes", "steps_per_s",
    "samples_per_s", "tokens_per_s",
)  # fmt: skip
"""Numbers of a result.json that a search may be for."""


def objectives_of(config: DictConfig, metrics: Sequence[str] | str, directions: Directions) -> list[str]:
    """A metric for each direction. Where none are named, the run's own objective stands in the first place that has its
    direction, and in each other the task's first metric that is to go there and has no place yet. Raises ConfigError."""
    own, target = config.objective, str(config.task._target_)
    facts = signature(target).facts
    found = [metrics] if isinstance(metrics, str) else list(metrics)
    for metric in found:
        _refuse_metric(metric, found, config)
    if not found and len(directions) == 1:
        found = [own.metric]
    elif not found:
        low = facts.get("low_is_good", ["loss"])
        names = [f"val/{name}" for name in facts.get("metric_names", ["loss"])]
        left = {way: [name for name in names if (name[4:] in low) == (way == "minimize")] for way in set(directions)}
        if own.direction in left:
            left[own.direction] = [own.metric, *(name for name in left[own.direction] if name != own.metric)]
        for direction in directions:
            if not left[direction]:
                raise ConfigError(
                    f"hydra.sweeper.direction: {target.rpartition('.')[2]} has not so many metrics to {direction}; name each with "
                    f"hydra.sweeper.metrics=[{own.metric},parameters]: metrics, or numbers of result.json"
                )
            found.append(left[direction].pop(0))
    if len(found) != len(directions):
        raise ConfigError(
            f"hydra.sweeper.direction has {len(directions)} entries, hydra.sweeper.metrics {len(found)}: "
            "each objective needs its metric and its direction"
        )
    for metric, direction in zip(found, directions, strict=True):
        if metric == own.metric and direction != own.direction:
            raise ConfigError(f"hydra.sweeper.direction={direction} disagrees with objective.direction={own.direction}")
    return found


def _refuse_metric(metric: str, metrics: Sequence[str], config: DictConfig) -> None:
    """Raises ConfigError for an objective that is named twice, or that no trial would have. What monitors measure is known
    to them alone."""
    if metrics.count(metric) > 1:
        raise ConfigError(f"hydra.sweeper.metrics: {metric} is named twice")
    task = str(config.task._target_)
    own = signature(task).facts.get("metric_names", ["loss"])
    trained = own if signature(str(config.model._target_)).facts.get("estimator") else ["loss"]
    names = [f"val/{name}" for name in own] + [f"train/{name}" for name in trained]
    known = {config.objective.metric, *names, *NUMBERS}
    if metric not in known and metric.partition("/")[0] in ("val", "train", metric):
        whose = task.rpartition(".")[2]
        raise ConfigError(f"hydra.sweeper.metrics: {whose} has no metric {metric!r}.{did_you_mean(metric, known)}")


def refuse_other(config: DictConfig, words: str, metrics: Sequence[str], directions: Directions, named: bool) -> None:
    """Raises ConfigError for a trial, of those words, that is for something else than its sweep is: no order would be between
    it and the others. `named`: hydra.sweeper.metrics says what all are for, which each has to have."""
    own = config.objective
    goes = dict(zip(metrics, directions, strict=True))
    if (len(metrics) == 1 and not named and own.metric not in goes) or goes.get(
        own.metric, own.direction
    ) != own.direction:
        raise ConfigError(
            f"{words}: the trial is for {own.metric} to {own.direction}, the sweep for {words_of(metrics, directions)}; "
            "hydra.sweeper.metrics names what all of them have, or each gets a sweep of its own"
        )
    for metric in metrics:
        try:
            _refuse_metric(metric, metrics, config)
        except ConfigError as error:
            raise ConfigError(f"{words}: {error}") from error


def words_of(metrics: Sequence[str], directions: Directions) -> str:
    """The objectives in words."""
    return ", ".join(f"{metric} to {direction}" for metric, direction in zip(metrics, directions, strict=True))
