"""What ends a sweep's trials before their end, or before their beginning: the pruner and the first filter together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from launcher.core.trial import VARIABLE
from launcher.errors import ConfigError
from launcher.search.settings import Settings
from launcher.search.space.dimensions import Dimension, Directions
from launcher.search.study.study import Claim, Study

from . import first_filter, pruning
from .brackets import Brackets, brackets
from .trial import ROLE


@dataclass(frozen=True)
class Early:
    """`hydra.sweeper.pruner` and `hydra.sweeper.proxy`, each None where there is none."""

    pruning: pruning.Pruning | None
    filter: first_filter.Filter | None
    metrics: Sequence[str]
    directions: Directions
    proxy: Any
    """The node of the filter."""

    def __bool__(self) -> bool:
        return self.pruning is not None or self.filter is not None

    def pruner(self) -> BasePruner | None:
        """The pruner that the study is opened with. Optuna's Hyperband would show a sampler the trials of one race alone."""
        return None if self.pruning is None or self.pruning.races else self.pruning.pruner()

    def plain(self) -> dict[str, Any]:
        """What it adds to the sweep's identity."""
        return {"pruner": None if self.pruning is None else self.pruning.plain(), "proxy": self.proxy}

    def facts(self, study: Study, storage: str | None) -> Callable[[Claim], dict[str, str]]:
        """What a trial's processes have to know: where to report, and whether they are to score the trial or to train it."""
        if not self:
            return lambda claim: {}
        known: dict[str, Any] = {
            "role": ROLE,
            "storage": storage,
            "folder": str(study.folder),
            "study": study.folder.name,
        }
        known |= {"node": None} if self.pruning is None else self.pruning.plain()
        races = None if self.pruning is None else races_of(self.pruning)
        known |= {"metrics": list(self.metrics), "directions": list(self.directions)}

        def told(claim: Claim) -> dict[str, str]:
            proxy = None if self.filter is None else self.filter.task(study.trial(claim))
            own: Sequence[int] | None = known.get("rungs") or None  # None: trials are stopped at rungs
            own = own if races is None else races.rungs_for(claim.number)
            return {VARIABLE: json.dumps(known | {"trial": claim.id, "proxy": proxy, "rungs": own})}

        return told

    def promotion(self, n_trials: int | None) -> Callable[[Sequence[FrozenTrial], set[int]], int | None] | None:
        """Chooses the paused trial that goes on, of those that have come furthest; None where trials do not pause."""
        found, first = self.pruning, self.filter
        races = None if found is None else races_of(found)
        if first is None and races is None and (found is None or not found.rungs):
            return None
        maximize = [each == "maximize" for each in self.directions]

        def promotable(trials: Sequence[FrozenTrial], paused: set[int], least: bool = False) -> int | None:
            if races is not None:
                return races.next(trials, paused, n_trials, maximize, least)
            if found is None or not found.rungs:
                return None
            factor = found.node["reduction_factor"]
            return pruning.promotable(trials, paused, found.rungs, factor, maximize, least)

        def pick(trials: Sequence[FrozenTrial], paused: set[int]) -> int | None:
            chosen = promotable(trials, paused)
            if chosen is None and first is not None:
                chosen = first.next(trials, paused, n_trials)
            if chosen is None and n_trials is not None and _is_all(trials, paused, n_trials):
                chosen = promotable(trials, paused, least=True)
            return chosen

        return pick


def races_of(found: pruning.Pruning) -> Brackets | None:
    """The races of Hyperband; None of another pruner."""
    return brackets(found.node, found.length) if found.races and found.length is not None else None


def _is_all(trials: Sequence[FrozenTrial], paused: set[int], n_trials: int) -> bool:
    """Whether what is paused is all that is left of a sweep, and none of its trials has come to its end."""
    ended = all(trial.state.is_finished() or trial.number in paused for trial in trials)
    return len(trials) >= n_trials and ended and not any(trial.state == TrialState.COMPLETE for trial in trials)


def read(settings: Settings, config: DictConfig, metrics: Sequence[str], dimensions: Sequence[Dimension]) -> Early:
    """What the settings ask for. Raises ConfigError."""
    found = pruning.read(settings.pruner, config)
    if found is not None and len(metrics) > 1:
        pruning.several(found, metrics)
    if found is not None and (config.num_seeds > 1 or "fold" in config.procedure):
        raise ConfigError("hydra.sweeper.pruner: a trial that is made of several fits has no single curve to judge")
    first = first_filter.read(settings.proxy, config, metrics, dimensions)
    if found is not None and found.races and first is not None:
        raise ConfigError(
            "hydra.sweeper.proxy: a race of Hyperband waits for every one of its trials, of which a proxy leaves out most; "
            "hydra/sweeper/pruner=halving goes with it"
        )
    return Early(found, first, metrics, settings.directions, settings.proxy)
