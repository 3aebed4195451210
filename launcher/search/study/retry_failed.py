"""Failed trials that are trained again: each as a new trial, with the parameters and under the number that follow.

What a study knows of a trial that has ended can not be changed, in no storage of Optuna's. So a failed one stands, and the new
one says whose place it takes: it is counted for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from launcher.search.space.grid import GridSampler

from .study import Study

AGAIN = "launcher:again"
"""A trial's attribute: the number of the failed one that it is trained for."""


def put_back(study: Study) -> None:
    """Put every failed trial back that was not put back before, for whichever driver has a slot."""
    with study.turn():
        trials = study.trials()
        done = superseded(trials)
        for trial in trials:
            if trial.state == TrialState.FAIL and trial.number not in done:
                study.optuna.enqueue_trial(dict(trial.params), user_attrs={AGAIN: trial.number})


def total(study: Study, sampler: BaseSampler, asked: int | None, retry: bool) -> int | None:
    """How many trials the study has in the end, of so many that were asked for, when what has failed is put back if that is
    wanted."""
    if retry:
        put_back(study)
    trials = study.trials()
    num = None if asked is None else asked + len(superseded(trials))
    return sampler.total(trials, num) if isinstance(sampler, GridSampler) else num


def superseded(trials: Sequence[FrozenTrial]) -> set[int]:
    """The failed trials that others are counted for."""
    return {trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs}


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that have ended, and that no other one is counted for."""
    gone = superseded(trials)
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in gone]
