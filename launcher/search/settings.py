"""What the keys of hydra.sweeper mean, where that takes more than reading them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import optuna
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from launcher.config import compose, spelling
from launcher.config.consent import OWN
from launcher.config.instantiate import unwanted
from launcher.config.override_errors import refuse_sweep
from launcher.config.resolvers import models
from launcher.config.schema import duration
from launcher.config.signatures import locate, signature
from launcher.config.value_types import expected, matches
from launcher.errors import ConfigError, did_you_mean
from launcher.launch.procedure import modules
from launcher.process.seeds import derive
from launcher.search.space.dimensions import Directions

from .space import dimensions as space
from .space.dimensions import Condition, Dimension

_MISSING = object()
_TYPES = {
    "n_trials": ["int[1,inf)", "none"],
    "n_jobs": ["int[1,inf)", "none"],
    "max_failure_rate": ["float[0,1]"],
    "storage": ["str", "none"],
    "custom_search_space": ["str", "none"],
    "params": ["dict", "none"],
    "points": ["list", "none"],
    "default_first": ["bool"],
    "devices_per_trial": ["int[0,inf)", "none"],
    "trials_per_device": ["int[1,inf)"],
    "keep_trials": ["int[1,inf)", "none"],
    "accept_changes": ["bool"],
    "retry_failed": ["bool"],
    "max_consecutive_failures": ["int[1,inf)", "none"],
    "metrics": ["list[str]", "str", "none"],
    "ensemble": ["int[1,inf)", "none"],
}
NUMBERS = (
    "parameters", "trainable_parameters", "steps", "epochs", "wall_s", "best_step", "peak_memory_bytes", "steps_per_s",
    "samples_per_s", "tokens_per_s",
)  # fmt: skip
"""Numbers of a result.json that a search may be for."""


ARRAY_PARALLELISM = 256
"""So many jobs at once a cluster is given where nobody says a number; hydra-submitit-launcher's default."""


def types(**values: Any) -> None:
    """Raises ConfigError for a key of hydra.sweeper with a value that it can not have."""
    for key, value in values.items():
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if not matches(plain, _TYPES[key]):
            raise ConfigError(f"hydra.sweeper.{key}={value}: {expected(_TYPES[key])}")


def space_of(
    params: Mapping[Any, Any], words: Sequence[str], parser: OverridesParser, config: DictConfig
) -> tuple[list[str], list[Dimension]]:
    """The overrides that all trials share, and what is searched: of a file's `params` and the words of the command, of
    which for each key the last one counts. Raises ConfigError."""
    told = [(when, spelling.choices(spelling.told([word], config)[0])) for when, word in space.words_of(params)]
    for _, word in told:
        key = word.partition("=")[0].lstrip("+~")
        if any(f"{key}.".startswith(f"{own}.") for own in OWN) or key == "cluster":
            raise ConfigError(f"hydra.sweeper.params: {key}: only you may say that: type it on the command line")
    plain = parser.parse_overrides([*(word for when, word in told if not when), *words])
    for override in (*plain, *(parser.parse_override(word) for when, word in told if when)):
        if override.is_sweep_override():
            refuse_sweep(override, searched=True)
    by_key = {each.get_key_element(): each for each in plain}
    fixed = [str(each.input_line) for each in by_key.values() if not each.is_sweep_override()]
    random.seed(derive(config.seed, "shuffle"))  # of shuffle(range(…)), alike in every session
    dimensions = [space.dimension(each) for each in by_key.values() if each.is_sweep_override()]
    for names, word in told:
        (override,) = parser.parse_overrides([word])
        if not names or override.get_key_element() in by_key:
            continue
        if not override.is_sweep_override():
            raise ConfigError(
                f"hydra.sweeper.params: {' '.join(names)}: {word}: under a condition stands what is searched"
            )
        when = [space.condition(each) for each in parser.parse_overrides(list(names))]
        pivots = {each.key: each for each in dimensions}
        written = {word for _, word in told}
        for each in when:  # from the outside in: what stands in a block that is left out is not looked at
            _refuse(each, pivots.get(each.key), written, config)
            if not _holds(each, pivots.get(each.key), config):
                break
        else:
            dimensions.append(space.dimension(override, tuple(each for each in when if each.key in pivots)))
    return fixed, dimensions


def _refuse(condition: Condition, pivot: Dimension | None, written: set[str], config: DictConfig) -> None:
    """Raises ConfigError for a condition that can not come true. The command's words may have left some of a file's choices
    out, and a file's choices may follow the data: then the blocks of the others stand idle."""
    key, hydra = condition.key, GlobalHydra.instance().hydra
    assert hydra is not None
    if key in config.hydra.runtime.choices:
        compose.parse(hydra, compose.CONFIG_NAME, [str(condition)], sweep=True)
    elif pivot is None:
        if OmegaConf.select(config, key, default=_MISSING) is _MISSING:
            raise ConfigError(f"hydra.sweeper.params: {condition}: there is no {key!r} that could be so")
    elif pivot.values and pivot.line in written and not {str(value) for value in pivot.values} & set(condition.values):
        near = did_you_mean(condition.values[0], [str(value) for value in pivot.values])
        raise ConfigError(f"hydra.sweeper.params: {condition}: {pivot.line} has no such value.{near}")


def _holds(condition: Condition, pivot: Dimension | None, config: DictConfig) -> bool:
    """Whether a condition can be met: by a value that is searched, or by what is not searched."""
    key, choices = condition.key, config.hydra.runtime.choices
    if pivot is not None:
        return not pivot.values or bool({str(value) for value in pivot.values} & set(condition.values))
    return condition.holds({key: choices[key] if key in choices else OmegaConf.select(config, key)})


def families(config: DictConfig, dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """The modules of the estimators that trials are made of, and of what is around one; of torch modules none."""
    if not signature(str(config.model._target_)).facts.get("estimator"):
        return ()
    names = {str(name) for each in dimensions if each.key == "model" for name in each.values or ()}
    targets = [target for name, both in models().items() if name in names for target in both if target is not None]
    return tuple(sorted({*modules(config), *(target.rpartition(".")[0] for target in targets)}))


def extension(
    target: str | None, config: DictConfig, fixed: Sequence[str]
) -> Callable[[optuna.trial.Trial], None] | None:
    """The caller of `custom_search_space`, which takes the config and Optuna's trial. Raises ConfigError, also as it is called, for
    a key that it asks for and that all trials have from the command."""
    if target is None:
        return None
    said = unwanted(target, "hydra.sweeper.custom_search_space")
    if said is not None:
        raise ConfigError(f"hydra.sweeper.custom_search_space={target}: {said}")
    found = locate(target)
    words = {word.partition("=")[0].lstrip("+~"): word for word in fixed}

    def extend(trial: optuna.trial.Trial) -> None:
        found(config, trial)
        both = [words[key] for key in trial.params if key in words]
        if both:
            raise ConfigError(
                f"{both[0]}: hydra.sweeper.custom_search_space={target} asks for it too; leave one of the two out"
            )

    return extend


def directions_of(direction: Any) -> Directions:
    """Names, or the enumeration's members, one or several. Raises ConfigError."""
    several = list(direction) if isinstance(direction, list | tuple | ListConfig) else [direction]
    names = [str(getattr(each, "name", each)) for each in several]
    for name in names:
        if name not in ("minimize", "maximize"):
            raise ConfigError(f"hydra.sweeper.direction={name}: expected minimize or maximize")
    return cast(Directions, names)


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


def seconds(key: str, value: Any) -> float | None:
    """A duration of the sweeper's. Raises ConfigError."""
    try:
        return duration(value)
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.{key}={value}: {error}") from error


def num_trials(asked: int | None, grid_size: int | None, timeout: float | None, searched: bool) -> int | None:
    """The number of trials of a sweep: a grid has as many as its points; None where a time limit alone ends it.

    Raises ConfigError where nothing says how long it is, or where every trial would be the same run.
    """
    if grid_size is not None:
        return min(grid_size, asked or grid_size)
    if asked is None and timeout is None:
        raise ConfigError("hydra.sweeper.n_trials: how many trials? (or hydra.sweeper.timeout=1h, how long)")
    if not searched and asked != 1:
        raise ConfigError(
            "there is nothing to search: every trial would be the same run. A key with several values, such as "
            "optimizer.lr=1e-3,1e-2, or an interval of them, optimizer.lr=interval(1e-4,1e-2), is searched"
        )
    return asked


def jobs_at_once(cluster: DictConfig, free: bool, n_trials: int | None) -> int:
    """Jobs of a cluster at once where no number is given: as many as there may be where no trial needs another one's
    result (`free`), else one."""
    most = cluster.get("array_parallelism")
    if most is None and not free:
        return 1
    return min(most or ARRAY_PARALLELISM, n_trials or ARRAY_PARALLELISM)
