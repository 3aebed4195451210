"""A trial's side of a study: the worker's rank 0 reports each evaluation and hears whether to go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from launcher.core.run import Run

ROLE = f"{__name__}.StudyTrial"
GO_ON, PRUNE, PAUSE = 0, 1, 2
VERDICT = "launcher:pruned"
"""The trial's attribute that keeps the verdict: a trial that is killed between it and its checkpoint hears it again."""


class StudyTrial:
    """The trial that this process runs, of a study that prunes trials or scores them first (`core.trial.Trial`)."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    def score(self, config: DictConfig, folder: Path) -> dict[str, Any] | None:
        if self._facts["proxy"] is None:
            return None
        from .scoring import score

        return score(config, folder, self._facts)

    def reporter(self) -> Callable[[Run], Callable[[int, float], int]] | None:
        return None if self._facts["node"] is None else lambda run: Reporter(run, self._facts)


class Reporter:
    """`run.report` of a trial. The storage is opened at the first evaluation, not before."""

    def __init__(self, run: Run, facts: dict[str, Any]) -> None:
        self._run, self._facts = run, facts
        self._study: Any = None
        self._pruner: Any = None
        self._reported = 0

    def __call__(self, step: int, value: float) -> int:
        at = step if self._facts["unit"] == "steps" else math.floor(self._run.epoch + 1e-9)
        ended = step == self._run.plan.last_step
        if at <= self._reported:
            return GO_ON
        self._reported = at
        verdict = self._judged(at, value)
        return GO_ON if ended else verdict

    def _judged(self, at: int, value: float) -> int:
        if self._study is None:
            self._open()
        from launcher.adapters.optuna import storage_of

        storage, trial_id = storage_of(self._study), self._facts["trial"]
        before = storage.get_trial(trial_id)
        if before.state.is_finished():  # somebody else has ended it
            return PRUNE
        if VERDICT in before.user_attrs:
            return PRUNE
        from launcher.report.trial_reports import REPORTS, reports

        from .pruning import falls_behind, first_rung, is_halving, rungs_of

        earlier = max((other for other in reports(before) if other < at), default=0)
        several = len(self._facts["metrics"]) > 1
        if several:
            values = [self._now(metric) for metric in self._facts["metrics"]]
            storage.set_trial_user_attr(trial_id, REPORTS, before.user_attrs.get(REPORTS, {}) | {str(at): values})
        else:
            storage.set_trial_intermediate_value(trial_id, at, float(value))
        node = self._facts["node"]
        if self._facts["rungs"] is not None:
            return PAUSE if any(earlier < rung <= at for rung in self._facts["rungs"]) else GO_ON
        if is_halving(node):
            come = [rung for rung in rungs_of(first_rung(node), node["reduction_factor"], at + 1) if rung > earlier]
            maximize = [each == "maximize" for each in self._facts["directions"]]
            behind = falls_behind(self._study.get_trials(deepcopy=False), before.number, come, node, maximize)
        else:
            behind = self._pruner.prune(self._study, storage.get_trial(trial_id))
        if behind:
            storage.set_trial_user_attr(trial_id, VERDICT, at)
            return PRUNE
        return GO_ON

    def _now(self, metric: str) -> float:
        """An objective as it is at this evaluation: a metric, or a number that result.json will have."""
        run = self._run
        if metric in run.metrics:
            return float(run.metrics[metric])
        if metric in ("parameters", "trainable_parameters"):
            return float(run.sizes()[metric])
        if metric == "peak_memory_bytes":
            from launcher.artifacts.result import peak_memory_bytes

            return float(peak_memory_bytes())
        return {"steps": float(run.progress.step), "wall_s": run.progress.elapsed()}.get(metric, math.nan)

    def _open(self) -> None:
        import logging

        import optuna

        from launcher.search.study.away import Waiting
        from launcher.search.study.storage import open_storage

        from .pruning import Pruning

        optuna.logging.set_verbosity(logging.WARNING)
        facts = self._facts
        waiting = Waiting(partial(print, flush=True))
        opened = partial(open_storage, facts["storage"], Path(facts["folder"]), waiting)
        storage = waiting(f"the study of {facts['folder']}", opened)
        self._pruner = Pruning(facts["node"], facts["unit"]).pruner()
        self._study = optuna.load_study(
            study_name=facts["study"], storage=storage, pruner=self._pruner, sampler=optuna.samplers.RandomSampler()
        )
