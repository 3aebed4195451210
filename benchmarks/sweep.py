"""What a sweep costs beside its training: `python benchmarks/sweep.py [number of trivial trials]`.

Sixteen trials on two slots by the real command, from the command to the prompt; and many trials that do nothing, in which
all that is left is what the study, the leases and the folders cost: the last tenth beside the first. The journal's flushes
to the disk are left out of the latter, which measures what grows.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def sixteen() -> None:
    """Wall time of sixteen trials, and the share of it in which the two slots were training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "launcher", "-m", "model=mlp", "tracker=[]", "training.max_epochs=9"]
        started = time.monotonic()
        subprocess.run(
            [*command, "seed=range(16)", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=bench"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        took = time.monotonic() - started
        with (Path(folder) / "multirun" / "bench" / "trials.csv").open() as file:
            walls = [float(row["wall_s"]) for row in csv.DictReader(file)]
    print(
        f"16 trials on 2 slots: {took:.1f} s, of which training {sum(walls) / 2:.1f} s ({sum(walls) / 16:.2f} s a trial)"
    )


def many(num: int) -> None:
    """The processor time of a trivial trial, at the start and at the end of a study of `num`."""
    from launcher.result import write_result
    from launcher.search.scheduler import Ended, Scheduler
    from launcher.signals import Interrupt
    from tests.search.driver import CountingPool, Silent, compose, open_study

    class Instant(CountingPool):
        def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> int:
            write_result(folder, {"status": "completed", "reason": "", "objective": {"name": "f", "value": 1.0}})
            return super().submit(folder, resume, environment)

        def poll(self, handle: int) -> int | None:
            del self._running[handle]
            return 0

        def wait(self, timeout: float) -> None: ...

    class Clock(Silent):
        def __init__(self) -> None:
            self.times: list[float] = []

        def ended(self, ended: Ended) -> None:
            self.times.append(time.process_time())

    def value(result: dict[str, Any]) -> list[float]:
        return [result["objective"]["value"]]

    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # what the disk takes does not grow with the study
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        Scheduler(open_study(Path(folder), "random", num), Instant(2), compose, value, clock, Interrupt()).run()
    tenth = num // 10
    first = (clock.times[tenth] - clock.times[0]) / tenth
    last = (clock.times[-1] - clock.times[-1 - tenth]) / tenth
    print(
        f"{num} trivial trials: {first * 1e3:.2f} ms each in the first tenth, {last * 1e3:.2f} ms in the last ({last / first:.2f} x)"
    )


if __name__ == "__main__":
    sixteen()
    many(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
