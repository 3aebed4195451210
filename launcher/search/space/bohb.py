"""BOHB: a Parzen estimator of what was found at the largest budget that enough trials have reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from launcher.report.trial_reports import Point, reports

if TYPE_CHECKING:
    from optuna.study import Study


class Bohb(BaseSampler):
    """Falkner et al., 2018, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", algorithm 2.

    A share of `random_fraction` of the trials is drawn at random. For the others a model is made of the values at the
    largest budget at which at least d + 3 trials were evaluated, of d parameters; before there is one they are random
    too. Pruned and paused trials count there with what they had then, so that a long trial is compared with long ones.
    Deviations: the model is Optuna's estimator (which splits at the best tenth, and maximizes the ratio over
    `n_ei_candidates` draws) in place of statsmodels' densities; a budget is any point at which trials are evaluated; and a
    trial that has told nothing yet counts as a bad one, so that those side by side differ.
    """

    def __init__(
        self, seed: int | None = None, random_fraction: float = 1 / 3, n_ei_candidates: int = 64, group: bool = False
    ) -> None:
        if not 0 <= random_fraction <= 1:
            raise ValueError(f"random_fraction={random_fraction}: expected a share from 0 to 1")
        self._random = RandomSampler(seed=seed)
        self._tpe = TPESampler(
            seed=seed, n_startup_trials=0, n_ei_candidates=n_ei_candidates, multivariate=True, group=group
        )
        self._is_random = np.random.default_rng(seed).random() < random_fraction
        self._known: tuple[Study, FrozenTrial] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        before = [each for each in study.get_trials(deepcopy=False) if each.number < trial.number]
        self._known = None if self._is_random else _at_largest(study, before)
        return {} if self._known is None else self._tpe.infer_relative_search_space(*self._known)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if self._known is None else self._tpe.sample_relative(*self._known, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._known is None:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._tpe.sample_independent(*self._known, param_name, param_distribution)


def _at_largest(study: Study, trials: list[FrozenTrial]) -> tuple[Study, FrozenTrial] | None:
    """A study of the values at the largest budget that enough of the trials have reached, and its next trial; None where there
    is no such budget."""
    told = {trial.number: _values(trial) for trial in trials}
    need = max((len(trial.params) for trial in trials), default=0) + 3
    budgets = sorted({step for values in told.values() for step in values}, reverse=True)
    budget = next((step for step in budgets if sum(step in values for values in told.values()) >= need), None)
    if budget is None:
        return None
    known = optuna.create_study(storage=InMemoryStorage(), directions=study.directions)
    for trial in trials:
        values = told[trial.number].get(budget)
        running = not told[trial.number] and not trial.state.is_finished()
        if values is not None or running:
            known.add_trial(
                create_trial(
                    state=TrialState.RUNNING if values is None else TrialState.COMPLETE,
                    params=trial.params,
                    distributions=trial.distributions,
                    values=None if values is None else list(values),
                )
            )
    number = known.ask().number
    return known, known.get_trials(deepcopy=False)[number]


def _values(trial: FrozenTrial) -> dict[int, Point]:
    """What a trial has told that can be compared, by the budget."""
    return {step: point for step, point in reports(trial).items() if all(value == value for value in point)}
