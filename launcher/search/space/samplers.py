"""Who proposes the next trial: the product, draws of the trial's own, or one of Optuna's samplers.

Every sampler is made anew for each trial, with a seed that follows from the study's and the trial's number. So a
proposal depends on these and on what the storage knows, and on nothing that a killed process took with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from launcher.config.instantiate import instantiate
from launcher.config.trust import factory
from launcher.errors import ConfigError, did_you_mean
from launcher.process.seeds import derive
from launcher.search.early.population import Population, PopulationSampler

from .dimensions import Dimension
from .grid import GridSampler
from .independent import Independent, draw

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

GRID, RANDOM = "optuna.samplers.GridSampler", "optuna.samplers.RandomSampler"
PACKAGES = {"CmaEsSampler": "cmaes"}
"""What a sampler imports at its first draw, which is too late to say that it is missing."""


AUTO = "auto"
LEAST_STARTUP, MOST_STARTUP = 3, 8


class RandomSampler(Independent):
    """Each draw is a function of (seed, the trial's number, the key): of nothing that was drawn before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng(derive(self._seed, "trial", trial.number, param_name))
        return draw(param_distribution, rng)


@factory("hydra.sweeper.sampler")
def motpe(n_ehvi_candidates: int = 24, **settings: Any) -> BaseSampler:
    """The multi-objective Parzen estimator by its name and keys of Optuna 3, since whose end it is the one Parzen estimator."""
    from optuna.samplers import TPESampler

    return TPESampler(n_ei_candidates=n_ehvi_candidates, **settings)


def is_grid(node: DictConfig) -> bool:
    return str(node.get("_target_")) == GRID


def is_independent(node: DictConfig) -> bool:
    """Whether a trial's draw depends on no other trial: all are known before the first has begun."""
    return str(node.get("_target_")) in (GRID, RANDOM)


def num_startup(n_trials: int | None) -> int:
    """`n_startup_trials=auto`: how many draws a model-based search of so many trials begins with."""
    return MOST_STARTUP if n_trials is None else max(LEAST_STARTUP, min(MOST_STARTUP, n_trials // 4))


def sampler_of(
    node: DictConfig,
    seed: int,
    dimensions: Sequence[Dimension],
    n_trials: int | None = None,
    population: Population | None = None,
) -> Callable[[int], BaseSampler]:
    """Makes the sampler for trial n of `n_trials` from the node of hydra/sweeper/sampler, or of the population that it
    describes. Raises ConfigError."""
    if population is not None:
        return lambda number: PopulationSampler(population)
    target = str(node.get("_target_"))
    own: Any = OmegaConf.to_container(node, resolve=True)
    if own.get("n_startup_trials") == AUTO:
        own["n_startup_trials"] = num_startup(n_trials)
    base = own["seed"] if own.get("seed") is not None else seed
    if target == GRID:
        grid = GridSampler(dimensions)
        return lambda number: grid
    if target == RANDOM:
        return lambda number: RandomSampler(base)

    package = PACKAGES.get(target.rpartition(".")[2])
    if package is not None and find_spec(package) is None:
        raise ConfigError(f"hydra/sweeper/sampler: {target} needs {package}: pip install {package}")

    def make(number: int) -> BaseSampler:
        fixed = target.endswith(("QMCSampler", "BruteForceSampler"))  # theirs is a sequence, of which each takes a part
        what = ("sampler",) if fixed else ("sampler", number)
        seeded = own | ({"seed": derive(base, *what) % 2**32} if "seed" in own else {})
        made: BaseSampler = instantiate(seeded, group="hydra.sweeper.sampler")
        return made

    try:
        sampler = make(0)
    except Exception as error:
        raise ConfigError(f"hydra.sweeper.sampler: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(f"hydra.sweeper.sampler: {target} is no sampler.{did_you_mean(target, [GRID, RANDOM])}")
    return make
