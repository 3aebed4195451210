"""A trial's side of a study: the worker's rank 0 reports each evaluation and hears whether to go on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.run import Run

VARIABLE = "LAUNCHER_TRIAL"
"""What the driver of a sweep with a pruner tells a trial's processes, as JSON; of no other run."""
GO_ON, PRUNE, PAUSE = 0, 1, 2
VERDICT = "launcher:pruned"
"""The trial's attribute that keeps the verdict: a trial that is killed between it and its checkpoint hears it again."""


def reporter() -> Callable[[Run], Callable[[int, float], int]] | None:
    """Makes `run.report` of a trial that may be pruned; None everywhere else."""
    if VARIABLE not in os.environ:
        return None
    facts = json.loads(os.environ[VARIABLE])
    return lambda run: Reporter(run, facts)


class Reporter:
    """`run.report` of a trial. The storage is opened at the first evaluation, not before."""

    def __init__(self, run: Run, facts: dict[str, Any]) -> None:
        self._run, self._facts = run, facts
        self._study: Any = None
        self._pruner: Any = None
        self._reported = 0

    def __call__(self, step: int, value: float) -> int:
        at = step if self._facts["unit"] == "steps" else math.floor(self._run.epoch + 1e-9)
        ended = step == self._run.plan.total_steps
        if at <= self._reported:
            return GO_ON
        self._reported = at
        verdict = self._judged(at, value)
        return GO_ON if ended else verdict

    def _judged(self, at: int, value: float) -> int:
        if self._study is None:
            self._open()
        storage, trial_id = self._study._storage, self._facts["trial"]
        before = storage.get_trial(trial_id)
        if before.state.is_finished():  # somebody else has ended it
            return PRUNE
        if VERDICT in before.user_attrs:
            return PRUNE
        storage.set_trial_intermediate_value(trial_id, at, float(value))
        rungs = self._facts["rungs"]
        if rungs:
            earlier = max((other for other in before.intermediate_values if other < at), default=0)
            come = sum(rung <= at for rung in rungs) - sum(rung <= earlier for rung in rungs)
            return PAUSE if come else GO_ON
        if self._pruner.prune(self._study, storage.get_trial(trial_id)):
            storage.set_trial_user_attr(trial_id, VERDICT, at)
            return PRUNE
        return GO_ON

    def _open(self) -> None:
        import logging

        import optuna

        from .pruning import Pruning
        from .storage import open_storage

        optuna.logging.set_verbosity(logging.WARNING)
        facts = self._facts
        storage = open_storage(facts["storage"], Path(facts["folder"]))
        pruning = Pruning(facts["node"], facts["unit"], tuple(facts["rungs"]))
        self._pruner = pruning.pruner()
        self._study = optuna.load_study(
            study_name=facts["study"], storage=storage, pruner=self._pruner, sampler=optuna.samplers.RandomSampler()
        )
