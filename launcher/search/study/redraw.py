"""The draws of a trial's parameters, which may be broken off in the middle by a kill."""

from __future__ import annotations

import copy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution


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
