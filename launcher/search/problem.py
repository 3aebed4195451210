"""What a sweep searches: for what, in which space, who proposes its trials and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.samplers import BaseSampler

from launcher.errors import ConfigError

from .early import population, rules
from .early.population import Population
from .early.rules import Early
from .objectives import objectives_of, refuse_other
from .output.ensemble import refuse
from .settings import Settings
from .space import dimensions as space
from .space import presets
from .space import starting_points as first
from .space.definition import space_of
from .space.dimensions import Dimension, Directions
from .space.samplers import is_grid, is_independent, sampler_of

ARRAY_PARALLELISM = 256
"""So many jobs at once a cluster is given where nobody says a number; hydra-submitit-launcher's default."""


@dataclass(frozen=True)
class Problem:
    """A sweep's search. `asked` is the number of trials that a person asked for, `n_trials` the one that follows; None has
    no end."""

    settings: Settings
    config: DictConfig
    metrics: Sequence[str]
    params: dict[str, Any]
    fixed: Sequence[str]
    """The overrides that all trials share."""
    dimensions: Sequence[Dimension]
    population: Population | None
    sampler: Callable[[int], BaseSampler]
    """Makes the sampler of trial n."""
    points: Sequence[dict[str, Any]]
    early: Early
    asked: int | None
    n_trials: int | None

    @property
    def directions(self) -> Directions:
        """Where each metric is to go."""
        return self.settings.directions

    @property
    def is_grid(self) -> bool:
        """Whether the trials are the points of a grid."""
        return is_grid(self.settings.sampler)

    @property
    def is_independent(self) -> bool:
        """Whether no trial waits for what others came to: all are known before the first has begun."""
        return is_independent(self.settings.sampler)

    @property
    def is_known(self) -> bool:
        """Whether all trials are known beforehand, none ends early, and nobody has to watch how long each takes."""
        whole = self.n_trials is not None and not self.early
        return self.is_independent and whole and self.settings.trial_timeout_s is None

    @property
    def jobs_at_once(self) -> int | None:
        """How many trials are to run at once; None: as many as this machine has room for."""
        if self.settings.n_jobs is not None or not self.config.cluster:
            return self.settings.n_jobs
        return jobs_at_once(self.config.cluster, self.is_independent and not self.early, self.n_trials)

    def refuse_other(self, config: DictConfig, words: str) -> None:
        """Raise ConfigError for a trial, of those words, that is for something else than the sweep."""
        refuse_other(config, words, self.metrics, self.directions, bool(self.settings.metrics))


def read(settings: Settings, config: DictConfig, words: Sequence[str], parser: OverridesParser) -> Problem:
    """The search that the settings and the words of the command describe. Raises ConfigError."""
    directions, node = settings.directions, settings.sampler
    metrics = objectives_of(config, settings.metrics or [], directions)
    if settings.ensemble is not None:
        refuse(config, len(metrics))
    params = dict(settings.params or {})
    for block, own in presets.spaces(words, parser, config).items():
        params[block] = own | dict(params.get(block) or {})
    fixed, dimensions = space_of(params, words, parser, config)
    found, asked = population.of(settings, config, dimensions, metrics)
    sampler = sampler_of(node, config.seed, dimensions, asked, found)
    points = first.read(settings.points, fixed, dimensions, config, settings.default_first)
    if points and is_grid(node):
        raise ConfigError("hydra.sweeper.points: a grid has its own order; search=random begins with points")
    early = rules.read(settings, config, metrics, dimensions)
    size = space.grid_size(dimensions) if is_grid(node) else None
    searched = bool(dimensions or settings.custom_search_space)
    n_trials = num_trials(asked, size, settings.timeout_s, searched)
    return Problem(settings, config, metrics, params, fixed, dimensions, found, sampler, points, early, asked, n_trials)


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
