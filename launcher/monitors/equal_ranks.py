"""Whether ranks that are to hold the same weights do so."""

from __future__ import annotations

from launcher.core.algorithm import Monitor
from launcher.core.run import Run
from launcher.errors import TrainingError


class EqualRanks(Monitor):
    """Ends a run at the first step after which ranks that are to hold the same weights do not (`debug.compare_ranks`).

    Raises TrainingError. Without it ranks are compared before each checkpoint.
    """

    def after_step(self, run: Run) -> None:
        found = run.parallel.differing(run.main.model)
        if found is not None and not found.is_rounding:
            raise TrainingError(found.told(run.progress.step + 1))
