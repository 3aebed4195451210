"""Population-based training: what a trial of one generation takes over from a trial of the one before.

Jaderberg et al., 2017, "Population Based Training of Neural Networks". A population of P runs is trained for an interval;
then each of the worst goes on from the checkpoint of one of the best, with that one's parameters perturbed (exploit and
explore), and the others go on as they are. Here trial g·P + m is member m in generation g: a run of its own, which begins
with its parent's checkpoint and stops after g + 1 intervals, of a schedule that is made for the whole length.

A generation begins when the one before has ended. So every parent and every perturbation follows from the seed, the
trial's number and the values of the generation before, and a killed search ends as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from launcher.artifacts.checkpoint.inherited import inherit
from launcher.config.signatures import signature
from launcher.errors import ConfigError
from launcher.process.seeds import derive
from launcher.search.settings import Settings
from launcher.search.space.dimensions import Dimension
from launcher.search.space.independent import Independent, draw

if TYPE_CHECKING:
    from launcher.search.study.study import Claim
    from launcher.search.study.study import Study as LauncherStudy

TARGET = "launcher.search.early.population.Population"
KEY = "hydra.sweeper.sampler"
CHANGEABLE = ("optimizer.", "scheduler.", "regularization.", "augment.", "training.clip_norm", "training.clip_value")
"""Keys that may change in the middle of a run: its weights and moments fit whatever they are."""
RATES = ("dropout", "drop_path")
"""Arguments of a model that have no weights."""


@dataclass(frozen=True)
class Population:
    """`interval` is in epochs, `quantile` the share that is replaced, and of the best that replace it; a parameter is drawn anew
    with the probability `resample`, else multiplied by one of the `factors`."""

    seed: int
    population: int = 8
    interval: float = 1
    quantile: float = 0.25
    resample: float = 0.25
    factors: tuple[float, ...] = (0.8, 1.25)
    maximize: bool = False

    def parent(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[int, bool] | None:
        """The trial that a trial goes on from, and whether it is another member's; None where there is none: in the first
        generation, and where all of the one before have failed."""
        generation, member = divmod(number, self.population)
        if not generation:
            return None
        first = (generation - 1) * self.population
        valued = {
            each.number: each.values[0]
            for each in trials
            if first <= each.number < first + self.population and each.state == TrialState.COMPLETE
        }
        best = sorted(valued, key=lambda each: (-valued[each] if self.maximize else valued[each], each))
        if not best:
            return None
        num = max(1, int(self.quantile * self.population))
        stay = best[: self.population - num]
        if first + member in stay:
            return first + member, False
        rng = np.random.default_rng(derive(self.seed, "parent", number))
        return stay[int(rng.integers(min(num, len(stay))))], True

    def perturbed(self, number: int, name: str, distribution: BaseDistribution, value: Any) -> Any:
        """A parent's parameter, as the trial of that number explores it."""
        rng = np.random.default_rng(derive(self.seed, "explore", number, name))
        if rng.random() < self.resample:
            return draw(distribution, rng)
        if isinstance(distribution, CategoricalDistribution):  # the choice before or after it
            last = len(distribution.choices) - 1
            index = distribution.choices.index(value) + int(rng.choice((-1, 1)))
            return distribution.choices[min(last, max(0, index))]
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        found = float(np.clip(value * rng.choice(self.factors), distribution.low, distribution.high))
        if distribution.step is None:
            return found
        place = round((found - distribution.low) / distribution.step)
        on_lattice = distribution.low + distribution.step * place
        return round(on_lattice) if isinstance(distribution, IntDistribution) else min(distribution.high, on_lattice)

    def ready(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the next trial may begin: the generation before its own has ended."""
        before = len(trials) // self.population * self.population
        return all(each.state.is_finished() for each in trials if each.number < before)

    def begin(self, number: int, config: DictConfig, folder: Path, trials: Sequence[FrozenTrial]) -> None:
        """Make a trial's config and folder those of its generation. Raises ConfigError."""
        end = float((number // self.population + 1) * self.interval)
        config.training.stop_after = end if end < config.training.max_epochs else None
        parent = self.parent(number, trials)
        if parent is not None:
            inherit(folder / str(parent[0]), folder / str(number))

    def needed(self, trials: Sequence[FrozenTrial], n_trials: int) -> set[int]:
        """The trials whose checkpoints others will go on from."""
        if len(trials) == n_trials and all(each.state.is_finished() for each in trials):
            return set()
        generation = (len(trials) - 1) // self.population
        return {each.number for each in trials if each.number // self.population >= generation - 1}


class PopulationSampler(Independent):
    """A trial's parameters: its parent's, perturbed where that is another member; without one a draw of its own."""

    def __init__(self, population: Population) -> None:
        self._population = population

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        own, trials = self._population, study.get_trials(deepcopy=False)
        parent = own.parent(trial.number, trials)
        known = {} if parent is None else trials[parent[0]].params
        if parent is None or param_name not in known:
            rng = np.random.default_rng(derive(own.seed, "trial", trial.number, param_name))
            return draw(param_distribution, rng)
        value = known[param_name]
        return own.perturbed(trial.number, param_name, param_distribution, value) if parent[1] else value


def read(settings: dict[str, Any], seed: int, maximize: bool) -> Population:
    """The population that the node of the sampler describes. Raises ConfigError."""
    own = {name: value for name, value in settings.items() if name not in ("_target_", "seed")}
    try:
        found = Population(
            settings["seed"] if settings.get("seed") is not None else seed,
            maximize=maximize,
            **own | {"interval": _epochs(own.get("interval", 1)), "factors": tuple(own.get("factors", (0.8, 1.25)))},
        )
    except TypeError as error:
        raise ConfigError(f"{KEY}: {error}") from error
    whole = isinstance(found.population, int) and not isinstance(found.population, bool)
    for key, right, words in (
        ("population", whole and found.population >= 2, "two runs or more"),
        ("quantile", 0 < found.quantile <= 0.5, "a share above 0, up to 0.5"),
        ("resample", 0 <= found.resample <= 1, "a probability"),
        ("factors", bool(found.factors) and all(each > 0 for each in found.factors), "numbers above 0"),
    ):
        if not right:
            raise ConfigError(f"{KEY}.{key}={settings[key]}: expected {words}")
    return found


class Lineage:
    """What a sweep's trials are to each other: nothing without a population."""

    def __init__(self, population: Population | None, study: LauncherStudy) -> None:
        self._population, self._study = population, study

    def begin(self, claim: Claim, config: DictConfig) -> None:
        """Make a new trial's config and folder ready. Raises ConfigError."""
        if self._population is not None:
            self._population.begin(claim.number, config, self._study.folder, self._study.trials())

    def needed(self) -> set[int]:
        """The trials whose checkpoints others will go on from."""
        if self._population is None:
            return set()
        return self._population.needed(self._study.trials(), self._study.n_trials or 0)


def of(
    settings: Settings, config: DictConfig, dimensions: Sequence[Dimension], metrics: Sequence[str]
) -> tuple[Population | None, int | None]:
    """The population that a sampler's node describes, and the number of its trials; of another sampler None, and the number
    that was given. Raises ConfigError."""
    if str(settings.sampler.get("_target_")) != TARGET:
        return None, settings.n_trials
    own: Any = OmegaConf.to_container(settings.sampler, resolve=True)
    found = read(own, config.seed, settings.directions[0] == "maximize")
    return found, num_trials(found, settings, config, dimensions, metrics)


def _epochs(value: Any) -> float:
    text = str(value).strip()
    number = text.removesuffix("s").removesuffix("epoch").strip()
    try:
        found = float(number)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ConfigError(f"{KEY}.interval={value}: expected epochs, as 1epoch")
    return int(found) if found == int(found) else found


def num_trials(
    found: Population, settings: Settings, config: DictConfig, dimensions: Sequence[Dimension], metrics: Sequence[str]
) -> int:
    """How many trials the search is made of. Raises ConfigError for what a population can not be searched in."""
    whose = "search=pbt"
    if signature(str(config.model._target_)).facts.get("estimator"):
        raise ConfigError(f"{whose} goes on from checkpoints in the middle of a training, and an estimator has none")
    if config.num_seeds > 1 or "fold" in config.procedure:
        raise ConfigError(
            f"{whose}: a trial that is made of several fits has no checkpoint that another could go on from"
        )
    if len(metrics) > 1:
        raise ConfigError(
            f"{whose} tells the best from the worst by one objective; hydra.sweeper.metrics names several"
        )
    if settings.pruner is not None or settings.proxy is not None:
        raise ConfigError(f"{whose} replaces the worst itself; leave hydra/sweeper/pruner and hydra/sweeper/proxy out")
    if settings.retry_failed:
        raise ConfigError(
            f"{whose}: one of the best takes the place of a trial that has failed; leave hydra.sweeper.retry_failed out"
        )
    if config.training.max_epochs is None or config.training.max_steps is not None:
        raise ConfigError(f"{whose}: training.max_epochs says how long a run is, and training.max_steps is left out")
    if "metric" in config.scheduler:
        raise ConfigError(f"{whose}: a schedule that follows evaluations can not be taken over; scheduler=cosine can")
    for each in dimensions:
        key = each.key
        numbers = not isinstance(each.distribution, CategoricalDistribution) or all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in each.values or ()
        )
        if not (key.startswith(CHANGEABLE) or key.rpartition(".")[2] in RATES) or not numbers:
            raise ConfigError(
                f"{each.line}: {whose} changes it in the middle of a training, which is possible for numbers below "
                f"{', '.join(name.rstrip('.') for name in CHANGEABLE)}, and a model's dropout"
            )
    total: int = found.population * math.ceil(config.training.max_epochs / found.interval - 1e-9)
    if settings.n_trials not in (None, total):
        raise ConfigError(
            f"hydra.sweeper.n_trials={settings.n_trials}: {whose} has {total}, {KEY}.population={found.population} in each interval of "
            f"{found.interval:g} of training.max_epochs={config.training.max_epochs:g} epochs"
        )
    return total
