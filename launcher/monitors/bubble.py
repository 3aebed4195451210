"""How long the processes of a pipeline wait."""

from __future__ import annotations

from typing import Any

from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class Bubble(Monitor):
    """Logs `pipeline/bubble`, the share of the steps since the last line in which a process did not compute, the mean over
    those of a pipeline, and `pipeline/bubble_formula`, what it would be were all stages as fast and messages free.

    On a GPU the first is what the host saw. Nothing is logged where there is no pipeline.
    """

    def fit_start(self, run: Run) -> None:
        if hasattr(run.parallel, "bubble"):
            run.parallel.measured = True  # type: ignore[attr-defined]  # a pipeline's

    def log(self, run: Run) -> dict[str, float]:
        if not hasattr(run.parallel, "bubble"):
            return {}
        pipeline: Any = run.parallel
        formula = pipeline.formula(pipeline.num_microbatches * run.settings.accumulate)
        return {"pipeline/bubble": pipeline.bubble(), "pipeline/bubble_formula": formula}
