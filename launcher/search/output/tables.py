"""What a sweep leaves for people and scripts: trials.csv and optimization_results.yaml."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from launcher.artifacts.predictions import safe
from launcher.artifacts.result import read_result
from launcher.artifacts.sweep import RESULTS, TRIALS
from launcher.launch.outcome import values_of
from launcher.search.early.first_filter import PROXY, SCORE
from launcher.search.space import dimensions as space
from launcher.search.study.study import Study

WORDS = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class Tables:
    """Both files, of all trials of a study, whoever ran them. A finished trial's folder is read once."""

    def __init__(self, study: Study, metrics: Sequence[str]) -> None:
        self._study, self._folder, self._metrics = study, study.folder, metrics
        self._values = ["value"] if len(metrics) == 1 else list(metrics)
        self._rows: dict[int, dict[str, Any]] = {}
        self._next = 0.0

    def write(self, now: bool = False) -> None:
        """Write both, unless they were written so lately that it would take a noticeable share of the time."""
        started = time.monotonic()
        if not now and started < self._next:
            return
        trials = self._study.trials()
        rows = [self._row(trial) for trial in trials]
        params = list(dict.fromkeys(key for trial in trials for key in space.point(trial.params)))
        beside = self._folder / f".trials.csv-{os.getpid()}"  # several drivers may write it at once
        with beside.open("w", newline="", encoding="utf-8") as file:
            scored = [PROXY] if any(PROXY in row for row in rows) else []
            columns = ["number", "state", *self._values, *scored, *params, "steps", "wall_s"]
            writer = csv.writer(file)
            writer.writerow(map(safe, columns))
            writer.writerows([safe(row.get(column, "")) for column in columns] for row in rows)
        beside.replace(self._folder / TRIALS)
        found = results(self._study, trials)
        if found is not None:
            beside = self._folder / f".optimization_results.yaml-{os.getpid()}"
            OmegaConf.save(OmegaConf.create(found), beside)
            beside.replace(self._folder / RESULTS)
        self._next = time.monotonic() + 50 * (time.monotonic() - started)

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        if trial.number in self._rows:
            return self._rows[trial.number]
        result = read_result(self._folder / str(trial.number)) or {}
        state = WORDS.get(trial.state, "running")
        if trial.state == TrialState.COMPLETE or not trial.state.is_finished():
            state = result.get("status", state)
        row: dict[str, Any] = {"number": trial.number, "state": state}
        values: Sequence[float | None] = trial.values or ()
        if trial.state == TrialState.PRUNED and "objective" in result:  # Optuna knows its last value, not its best
            values = values_of(result, self._metrics)
        row |= dict(zip(self._values, values, strict=False)) | space.point(trial.params)
        if SCORE in trial.user_attrs:
            row[PROXY] = trial.user_attrs[SCORE][PROXY]
        row |= {"steps": result.get("steps"), "wall_s": result.get("wall_s") and round(result["wall_s"], 3)}
        if trial.state.is_finished():
            self._rows[trial.number] = row
        return row


def results(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """What optimization_results.yaml holds, in hydra-optuna-sweeper's format; None before a trial is complete."""
    if len(study.optuna.directions) > 1:
        front = study.optuna.best_trials
        return {
            "name": "optuna",
            "solutions": [{"params": space.point(each.params), "values": each.values} for each in front],
        }
    best = best_of(study, trials)
    return (
        None if best is None else {"name": "optuna", "best_params": space.point(best.params), "best_value": best.value}
    )


def best_of(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the best value, the first of equals; of several objectives, of those on the front by the first."""
    sign = -1 if study.optuna.directions[0].name == "MAXIMIZE" else 1
    if len(study.optuna.directions) > 1:
        trials = sorted(study.optuna.best_trials, key=lambda trial: trial.number)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: sign * trial.values[0], default=None)
