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
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

from launcher.errors import ConfigError, did_you_mean
from launcher.objects import instantiate
from launcher.seeds import derive
from launcher.trust import factory

from .grid import GridSampler
from .independent import Independent
from .space import Dimension

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

GRID, RANDOM = "optuna.samplers.GridSampler", "optuna.samplers.RandomSampler"
PACKAGES = {"CmaEsSampler": "cmaes"}
"""What a sampler imports at its first draw, which is too late to say that it is missing."""


class RandomSampler(Independent):
    """Each draw is a function of (seed, the trial's number, the key): of nothing that was drawn before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng(derive(self._seed, "trial", trial.number, param_name))
        return draw(param_distribution, rng)


def draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """An even draw; by the logarithm where the distribution says so."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        first, last = distribution.low, distribution.high
        if distribution.log:
            value = float(np.exp(rng.uniform(np.log(first - 0.5), np.log(last + 0.5))))
            return min(last, max(first, round(value)))
        return first + distribution.step * int(rng.integers((last - first) // distribution.step + 1))
    low, high = distribution.low, distribution.high
    if distribution.step is not None:
        value = low + distribution.step * int(rng.integers(round((high - low) / distribution.step) + 1))
        return float(min(high, value))
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if distribution.log else float(rng.uniform(low, high))


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


def sampler_of(node: DictConfig, seed: int, dimensions: Sequence[Dimension]) -> Callable[[int], BaseSampler]:
    """Makes the sampler for trial n from the node of hydra/sweeper/sampler. Raises ConfigError."""
    target = str(node.get("_target_"))
    own: Any = OmegaConf.to_container(node, resolve=True)
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
