"""What a person is told of a sweep while it runs, and the tables and the page that it leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

from optuna.trial import TrialState

from launcher.artifacts.sweep import TRIALS
from launcher.console.console import Console
from launcher.search.early.first_filter import FILTERED
from launcher.search.events import Ended
from launcher.search.space import dimensions as space
from launcher.search.study import retry_failed
from launcher.search.study.study import Claim, Study

from . import page
from .live_table import Row, SweepView
from .retention import Keeper
from .tables import Tables, best_of

STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
SHARE = 0.02
"""The most of the time that goes into counting the trials of the whole study."""


class Progress:
    """Tells of each trial as it ends, shows those that run, and keeps trials.csv and optimization_results.yaml up to date."""

    def __init__(self, study: Study, console: Console, metrics: Sequence[str], slots: int, keeper: Keeper) -> None:
        self._study, self._console, self._metrics = study, console, metrics
        self._tables, self._keeper = Tables(study, metrics), keeper
        self._gone = len(retry_failed.superseded(study.trials()))
        self.finished, self.failed = self._counted()
        self._began, self._ended_here, self._next = time.monotonic(), 0, 0.0
        self._rows: dict[int, Row] = {}
        total = f"{self._total()} trials" if study.n_trials is not None else "trials"
        already = f", {self.finished} of them done already" if self.finished else ""
        console.message(f"{total} in {study.folder}, {slots} at a time{already}")
        self.looked()
        console.follow(self._look)

    def _total(self) -> int | None:
        """How many trials there are in the end; a failed one and the one in its place count once."""
        return None if self._study.n_trials is None else self._study.n_trials - self._gone

    def started(self, claim: Claim, slot: int, resumed: bool) -> None:
        self._rows[claim.number] = Row(claim.number, slot, claim.params, self._study.folder / str(claim.number))
        if resumed:
            self._console.message(f"trial {claim.number}: goes on")

    def ended(self, ended: Ended) -> None:
        self._rows.pop(ended.claim.number, None)
        self.finished += 1
        self._ended_here += 1
        self.failed += not ended.good
        total = "" if self._study.n_trials is None else f"/{self._total()}"
        point = " ".join(space.overrides(ended.claim.params))
        self._console.message(f"{self.finished}{total}  trial {ended.claim.number}: {self._words(ended)}  ({point})")
        self._keeper.ended(ended.claim.number, str(ended.result["status"]))
        self._study.patiently(self._tables.write)

    def left(self, claim: Claim, why: str) -> None:
        self._rows.pop(claim.number, None)
        self._console.message(f"trial {claim.number}: {why}")

    def told(self, text: str) -> None:
        self._console.message(text)

    def looked(self) -> None:
        """Count what all drivers have done, now and then: the terminal's own thread asks no storage."""
        started = time.monotonic()
        if started < self._next:
            return
        trials = self._study.trials()
        best = best_of(self._study, trials)
        self._best = None if best is None else (best.number, best.values[0])
        self._states = Counter(STATES[trial.state] for trial in retry_failed.counted(trials))
        self._next = time.monotonic() + (time.monotonic() - started) / SHARE

    def _look(self) -> SweepView:
        elapsed = time.monotonic() - self._began
        rows, total = list(self._rows.values()), self._total()
        return SweepView(rows, self._states, total, self._best, self._ended_here, elapsed, self._metrics[0])

    def close(self) -> None:
        """The tables as they are at the end, and the best trial; nothing of a study that was withdrawn."""
        self._console.stop()
        if self._study.withdrawn:
            return
        self._study.patiently(partial(self._tables.write, now=True))
        self.finished, self.failed = self._counted()
        self._keeper.tidy()
        best = best_of(self._study, self._study.trials())
        if best is not None:
            said = ", ".join(f"{name} {value:.6g}" for name, value in zip(self._metrics, best.values, strict=True))
            self._console.message(
                f"best: trial {best.number}, {said}  ({' '.join(space.overrides(space.point(best.params)))})"
            )
        self._console.message(f"table: {self._study.folder / TRIALS}")
        written = self._study.patiently(partial(page.write, self._study.folder, self._study.optuna))
        self._console.message(f"page: {written}")

    def _counted(self) -> tuple[int, int]:
        trials = retry_failed.counted(self._study.trials())
        return len(trials), sum(trial.state == TrialState.FAIL for trial in trials)

    def _words(self, ended: Ended) -> str:
        if ended.result["reason"] == FILTERED:
            scores = ", ".join(
                f"{name.rpartition('/')[2]} {value:.4g}" for name, value in ended.result["metrics"].items()
            )
            return f"{FILTERED}, {scores}"
        if not ended.good:
            return f"failed: {str(ended.result['reason']).partition(chr(10))[0]}"
        named = ", ".join(
            f"{name} {'none' if value is None else f'{value:.4g}'}"
            for name, value in zip(self._metrics, ended.values, strict=True)
        )
        return f"{ended.result['status']}, {named}"
