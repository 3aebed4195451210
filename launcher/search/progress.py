"""What a person sees of a sweep while it runs, and the tables that it leaves."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import TrialState

from launcher.console import Console

from . import space
from .keep import Keeper
from .scheduler import Ended
from .study import Claim, Study
from .table import Tables, best_of


class Progress:
    """Tells of each trial as it ends, and keeps trials.csv and optimization_results.yaml up to date."""

    def __init__(self, study: Study, console: Console, metrics: Sequence[str], slots: int, keeper: Keeper) -> None:
        self._study, self._console, self._metrics = study, console, metrics
        self._tables, self._keeper = Tables(study, metrics), keeper
        self.finished, self.failed = self._counted()
        self._here = 0
        total = f"{study.n_trials} trials" if study.n_trials is not None else "trials"
        already = f", {self.finished} of them done already" if self.finished else ""
        console.message(f"{total} in {study.folder}, {slots} at a time{already}")

    def started(self, claim: Claim, slot: int, resumed: bool) -> None:
        if resumed:
            self._console.message(f"trial {claim.number}: goes on")

    def ended(self, ended: Ended) -> None:
        self.finished += 1
        self.failed += not ended.good
        total = "" if self._study.n_trials is None else f"/{self._study.n_trials}"
        point = " ".join(space.overrides(ended.claim.params))
        self._console.message(f"{self.finished}{total}  trial {ended.claim.number}: {self._words(ended)}  ({point})")
        self._keeper.ended(ended.claim.number, str(ended.result["status"]))
        self._tables.write()

    def left(self, claim: Claim, why: str) -> None:
        self._console.message(f"trial {claim.number}: {why}")

    def looked(self) -> None:
        return

    def close(self) -> None:
        """The tables as they are at the end, and the best trial."""
        self._tables.write(now=True)
        self.finished, self.failed = self._counted()
        best = best_of(self._study, self._study.trials())
        if best is not None:
            said = ", ".join(f"{name} {value:.6g}" for name, value in zip(self._metrics, best.values, strict=True))
            self._console.message(
                f"best: trial {best.number}, {said}  ({' '.join(space.overrides(space.point(best.params)))})"
            )
        self._console.message(f"table: {self._study.folder / 'trials.csv'}")

    def _counted(self) -> tuple[int, int]:
        trials = [trial for trial in self._study.trials() if trial.state.is_finished()]
        return len(trials), sum(trial.state == TrialState.FAIL for trial in trials)

    def _words(self, ended: Ended) -> str:
        if not ended.good:
            return f"failed: {ended.result['reason']}"
        values = ended.values or [ended.result["objective"]["value"]]
        named = ", ".join(
            f"{name} {'none' if value is None else f'{value:.4g}'}"
            for name, value in zip(self._metrics, values, strict=False)
        )
        return f"{ended.result['status']}, {named}"
