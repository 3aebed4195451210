"""Monitors that time the launcher's own loop from inside, at the points that cost a step nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class FirstStep(Monitor):
    """Ends the process at once when the first step has been taken."""

    def after_step(self, run: Run) -> None:
        os._exit(0)


class FirstCollective(Monitor):
    """Writes the time at which the ranks have met, in seconds since the epoch, to the file `path`."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def fit_start(self, run: Run) -> None:
        run.parallel.max(0.0)
        if run.parallel.is_main:
            self.path.write_text(str(time.time()))


class StepTimes(Monitor):
    """Prints the mean time of a step between the log lines at `begin` and `end`, and ends the process."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end, self.started = begin, end, 0.0

    def log(self, run: Run) -> dict[str, float]:
        if run.progress.step == self.begin:
            self.started = time.perf_counter()
        elif run.progress.step == self.end:
            print(f"{(time.perf_counter() - self.started) / (self.end - self.begin) * 1e3:.4f}", flush=True)
            os._exit(0)
        return {}
