"""What the keys of hydra.sweeper mean, where that takes more than reading them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import optuna
from omegaconf import DictConfig, ListConfig

from launcher.errors import ConfigError, did_you_mean
from launcher.schema import duration
from launcher.trust import whitelist

from .study import Directions


def extension(target: str | None, config: DictConfig) -> Callable[[optuna.trial.Trial], None] | None:
    """The caller of `custom_search_space`, which takes the config and Optuna's trial. Raises ConfigError."""
    if target is None:
        return None
    from hydra.utils import instantiate

    try:
        found = instantiate({"_target_": target, "_partial_": True}, _execution_whitelist_=whitelist())
    except Exception as error:
        raise ConfigError(
            f"hydra.sweeper.custom_search_space={target}: {str(error).partition(chr(10))[0]}. "
            f"You allow it with LAUNCHER_TRUST={target}"
        ) from error
    return functools.partial(found, config)


def directions_of(direction: Any) -> Directions:
    """Names, or the enumeration's members, one or several. Raises ConfigError."""
    several = list(direction) if isinstance(direction, list | tuple | ListConfig) else [direction]
    names = [str(getattr(each, "name", each)) for each in several]
    for name in names:
        if name not in ("minimize", "maximize"):
            near = did_you_mean(name, ["minimize", "maximize"])
            raise ConfigError(f"hydra.sweeper.direction={name}: expected minimize or maximize.{near}")
    return cast(Directions, names)


def seconds(key: str, value: Any) -> float | None:
    """A duration of the sweeper's. Raises ConfigError."""
    try:
        return duration(value)
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.{key}={value}: {error}") from error
