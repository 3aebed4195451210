"""Private names of Optuna: what a study and its trials are in the storage, and the suggestion of a parameter."""

from __future__ import annotations

import copy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.storages.journal._file import BaseJournalFileLock  # optuna 5.0.0
from optuna.trial import FrozenTrial, Trial

__all__ = ["BaseJournalFileLock", "Draws"]


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage of a study."""
    return study._storage  # optuna 5.0.0


def study_id(study: optuna.Study) -> int:
    """The number of a study in its storage."""
    return study._study_id  # optuna 5.0.0


def trial_id(trial: FrozenTrial) -> int:
    """The number of a trial in its storage, where `number` counts within the study."""
    return trial._trial_id  # optuna 5.0.0


def fix(trial: Trial, params: dict[str, Any]) -> None:
    """Have a trial suggest these values; those that are fixed already stay."""
    trial._fixed_params = params | trial._fixed_params  # optuna 5.0.0


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """The value of a trial's parameter, of whatever distribution."""
    return trial._suggest(name, distribution)  # optuna 5.0.0


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution holds a value, and on its lattice. Raises ValueError or TypeError for what is no value of its kind."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))  # optuna 5.0.0


class Draws(optuna.trial.Trial):
    """A trial whose parameters are drawn from the first one on, whether some stand in the storage already or not.

    Optuna draws only those that are missing, and then a sampler gives the second what it would have given the first.
    What stands, stands: the draw of it is made and passed over.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        super().__init__(study, trial_id)
        self._known = dict(self._cached_frozen_trial.params)
        if self._known:
            self._cached_frozen_trial = copy.copy(self._cached_frozen_trial)
            self._cached_frozen_trial.params, self._cached_frozen_trial.distributions = {}, {}
            self.storage = _Without(self.storage, self._known)  # type: ignore[assignment]  # all that `_suggest` asks of it

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        drawn = super()._suggest(name, distribution)
        if name not in self._known:
            return drawn
        self._cached_frozen_trial.params[name] = self._known[name]
        return self._known[name]


class _Without:
    """A storage that is not told again what it knows."""

    def __init__(self, storage: Any, known: dict[str, Any]) -> None:
        self._storage, self._known = storage, known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        if name not in self._known:
            self._storage.set_trial_param(trial_id, name, value, distribution)
