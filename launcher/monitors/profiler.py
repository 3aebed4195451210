"""A trace of a few steps by torch's profiler."""

from __future__ import annotations

from typing import Any

from launcher.artifacts.profile import FILE, TABLE
from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class Profiler(Monitor):
    """Records `active` steps after `wait` unrecorded ones and writes `profile.json` (Chrome's trace format) and
    `profile.txt` (the costliest operators) into the run's folder. A run that ends earlier leaves what there is of them."""

    def __init__(self, wait: int = 5, active: int = 10) -> None:
        self.wait, self.active = wait, active
        self.profiler: Any = None
        self.count = 0

    def after_step(self, run: Run) -> None:
        import torch

        self.count += 1
        if self.count == self.wait:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if run.parallel.device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self.profiler = torch.profiler.profile(activities=activities)
            self.profiler.__enter__()
        elif self.count == self.wait + self.active:
            self._write(run)

    def fit_end(self, run: Run) -> None:
        if self.profiler is not None:
            self._write(run)

    def _write(self, run: Run) -> None:
        self.profiler.__exit__(None, None, None)
        if run.parallel.is_main:
            self.profiler.export_chrome_trace(str(run.folder / FILE))
            table = self.profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)
            (run.folder / TABLE).write_text(table, encoding="utf-8")
        self.profiler = None
