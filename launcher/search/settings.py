"""The settings of a sweep: the keys of hydra.sweeper, read and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf

from launcher.config.schema import duration
from launcher.config.value_types import expected, matches
from launcher.errors import ConfigError

from .space.dimensions import Directions

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


@dataclass(frozen=True)
class Settings:
    """The arguments are those of conf/hydra/sweeper/launcher.yaml, which explains them. Raises ConfigError for a value that
    one can not have."""

    sampler: DictConfig
    direction: Any = None
    storage: str | None = None
    study_name: str | None = None
    n_trials: int | None = None
    n_jobs: int | None = None
    max_failure_rate: float = 0.0
    custom_search_space: str | None = None
    params: dict[str, Any] | None = None
    metrics: list[str] | str | None = None
    pruner: DictConfig | None = None
    proxy: DictConfig | None = None
    points: Any = None
    default_first: bool = False
    timeout: Any = None
    trial_timeout: Any = None
    devices_per_trial: int | None = None
    trials_per_device: int = 1
    keep_trials: int | None = 5
    accept_changes: bool = False
    retry_failed: bool = False
    max_consecutive_failures: int | None = 5
    ensemble: int | None = None
    lease: Any = 60

    def __post_init__(self) -> None:
        types(**{key: getattr(self, key) for key in _TYPES})
        if not isinstance(self.sampler, DictConfig) or "_target_" not in self.sampler:
            raise ConfigError(f"hydra.sweeper.sampler={self.sampler}: hydra/sweeper/sampler={self.sampler} chooses one")
        directions_of(self.direction)
        for key in ("timeout", "trial_timeout", "lease"):
            seconds(key, getattr(self, key))

    @property
    def directions(self) -> Directions:
        """Where each objective is to go."""
        return directions_of(self.direction)

    @property
    def timeout_s(self) -> float | None:
        """After so many seconds no trial is started any more; None: never."""
        return seconds("timeout", self.timeout)

    @property
    def trial_timeout_s(self) -> float | None:
        """A trial that takes longer, in seconds, has failed; None: it may take any time."""
        return seconds("trial_timeout", self.trial_timeout)

    @property
    def lease_s(self) -> float:
        """A driver that is silent for so many seconds is dead."""
        return seconds("lease", self.lease) or 60.0


def read(node: DictConfig) -> Settings:
    """The settings in the node of hydra.sweeper, whose keys are known. Raises ConfigError."""
    named: Mapping[str, Any] = {str(key): value for key, value in node.items() if key != "_target_"}
    return Settings(**{"sampler": None} | dict(named))


def types(**values: Any) -> None:
    """Raises ConfigError for a key of hydra.sweeper with a value that it can not have."""
    for key, value in values.items():
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if not matches(plain, _TYPES[key]):
            raise ConfigError(f"hydra.sweeper.{key}={value}: {expected(_TYPES[key])}")


def directions_of(direction: Any) -> Directions:
    """Names, or the enumeration's members, one or several. Raises ConfigError."""
    several = list(direction) if isinstance(direction, list | tuple | ListConfig) else [direction]
    names = [str(getattr(each, "name", each)) for each in several]
    for name in names:
        if name not in ("minimize", "maximize"):
            raise ConfigError(f"hydra.sweeper.direction={name}: expected minimize or maximize")
    return cast(Directions, names)


def seconds(key: str, value: Any) -> float | None:
    """A duration of the sweeper's. Raises ConfigError."""
    try:
        return duration(value)
    except ValueError as error:
        raise ConfigError(f"hydra.sweeper.{key}={value}: {error}") from error
