"""What of a sweep stays on the disk: `best` and `last` of the best trials, `last` of those that were stopped."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from optuna.trial import TrialState

from launcher.artifacts.folder import CHECKPOINTS, MODEL
from launcher.search.early.pareto import best_first
from launcher.search.study.study import Study


class Keeper:
    """After each trial: the `num` best complete ones keep their best and last checkpoint and the exported model, a pruned
    one its last checkpoint, all others what they wrote beside. None keeps everything. Of several objectives the best are
    those of the lowest rank of non-domination, and of equals those with most room around them.
    """

    def __init__(self, study: Study, num: int | None, needed: Callable[[], set[int]] = set) -> None:
        """`needed` are the trials that others will go on from: they keep theirs too."""
        self._study, self._num, self._needed = study, num, needed
        self._maximize = [each.name == "MAXIMIZE" for each in study.optuna.directions]
        self._kept: set[int] = set()
        self.tidy()

    def tidy(self) -> None:
        """Take away what stayed of trials that have ended: a driver may have been killed before it came to that, and others
        have their own best in mind."""
        if self._num is None:
            return
        self._kept = self._best() | self._needed()
        for trial in self._study.trials(TrialState.COMPLETE, TrialState.PRUNED):
            own = self._study.folder / str(trial.number)
            if trial.state == TrialState.COMPLETE and trial.number not in self._kept:
                _strip(own)
            else:
                _thin(own, ("last",) if trial.state == TrialState.PRUNED else ("last", "best"))

    def ended(self, number: int, status: str) -> None:
        """A trial has ended: take away what nobody will ask for."""
        if self._num is None:
            return
        own = self._study.folder / str(number)
        if status == "pruned":
            _thin(own, ("last",))
        elif status in ("completed", "stopped"):
            _thin(own, ("last", "best"))
            best = self._best() | self._needed()
            for gone in {*self._kept, number} - best:
                _strip(self._study.folder / str(gone))
            self._kept = best

    def _best(self) -> set[int]:
        complete = [trial for trial in self._study.trials(TrialState.COMPLETE) if trial.values]
        if len(self._maximize) > 1:
            order = best_first([tuple(trial.values) for trial in complete], self._maximize)
            return {complete[index].number for index in order[: self._num]}
        sign = -1 if self._maximize[0] else 1
        best = heapq.nsmallest(self._num or 0, complete, key=lambda trial: (sign * trial.values[0], trial.number))
        return {trial.number for trial in best}


def _found(own: Path, name: str) -> Iterator[Path]:
    """The folders of that name of a trial, or of its fits; what is in those that are kept is not looked at."""
    try:
        with os.scandir(own) as entries:
            folders = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for each in folders:
        if each == name:
            yield own / each
        elif each not in (CHECKPOINTS, MODEL):
            yield from _found(own / each, name)


def _thin(own: Path, names: tuple[str, ...]) -> None:
    """Of each folder of checkpoints only those that are linked under these names."""
    for checkpoints in _found(own, CHECKPOINTS):
        wanted = {(checkpoints / name).resolve() for name in names}
        for each in checkpoints.iterdir():
            if each.is_symlink():
                if each.name not in names and each.resolve() not in wanted:
                    each.unlink()
            elif each.is_dir() and each.resolve() not in wanted:
                shutil.rmtree(each, ignore_errors=True)


def _strip(own: Path) -> None:
    """No checkpoint and no model."""
    for name in (CHECKPOINTS, MODEL):
        for each in list(_found(own, name)):
            shutil.rmtree(each, ignore_errors=True)
