"""The space of a sweep: what is searched, by the words of the command and a file's `params`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from launcher.config import compose, spelling
from launcher.config.consent import OWN
from launcher.config.instantiate import unwanted
from launcher.config.override_errors import refuse_sweep
from launcher.config.signatures import locate
from launcher.errors import ConfigError, did_you_mean
from launcher.process.seeds import derive

from . import dimensions as space
from .dimensions import Condition, Dimension

_MISSING = object()


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
