"""What writing costs: steps of 20 ms that log 20 values each.

Without and with the default tracker: the seconds that the loop waits in `Recorder.log`, and the processor's seconds of the
whole process, the tracker's thread with it. Then the seconds from the command to the line of the first step, in turns
without and with the tracker. `python benchmarks/trackers.py [steps] [values] [rounds]`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from launcher.trackers.base import Tracker
from launcher.trackers.recorder import Recorder
from launcher.trackers.tensorboard import TensorBoard

ROOT = Path(__file__).resolve().parents[1]
STEP_S = 0.02


def measured(trackers: list[Tracker], steps: int, num: int, log: bool = True) -> tuple[float, float]:
    """Seconds in the calls of `log`, and the processor's seconds of all."""
    names = [f"metric/{number}" for number in range(num)]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), trackers)
        recorder.start({"name": "cost"}, dict)
        recorder.log(0, {"metric/0": 0.0}, 0.0, 0.0)
        time.sleep(3)  # its package is imported once, however long the run
        waited, began = 0.0, time.process_time()
        for step in range(1, steps + 1):
            time.sleep(STEP_S)
            if log:
                values = {name: 1.0 / (step + place) for place, name in enumerate(names)}
                started = time.perf_counter()
                recorder.log(step, values, step / 100, step * STEP_S)
                waited += time.perf_counter() - started
        recorder.close({"status": "completed"})
        return waited, time.process_time() - began


def to_first_step(tracker: str) -> float:
    """Seconds from the start of the command to the line of its first step."""
    with tempfile.TemporaryDirectory() as cwd:
        words = ["training.max_steps=1", "training.max_epochs=null", "training.log_every=1", "hydra.run.dir=run"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        lines = Path(cwd) / "run" / "metrics.jsonl"
        started = time.perf_counter()
        command = [sys.executable, "-m", "launcher", f"tracker={tracker}", *words]
        with subprocess.Popen(
            command, cwd=cwd, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL
        ) as own:
            while not (lines.is_file() and lines.stat().st_size) and own.poll() is None:
                time.sleep(0.002)
            return time.perf_counter() - started


def main(steps: int = 2_500, num: int = 20, rounds: int = 5) -> None:
    whole = steps * STEP_S
    measured([TensorBoard()], 1, num)  # imports what the others have
    print(f"{steps:,} steps of {num} values; at {1000 * STEP_S:g} ms a step they take {whole:g} s")
    _, idle = measured([], steps // 4, num, log=False)
    kinds: dict[str, Callable[[], list[Tracker]]] = {"metrics.jsonl": list, "and TensorBoard": lambda: [TensorBoard()]}
    for name, make in kinds.items():
        waited, cpu = measured(make(), steps, num)
        spent = cpu - 4 * idle
        print(
            f"{name:16} the loop waits {waited:5.2f} s ({waited / whole:.2%}), the processor works {spent:5.2f} s ({spent / whole:.2%})"
        )
    took: dict[str, list[float]] = {"[]": [], "[tensorboard]": []}
    for _ in range(rounds):
        for tracker, each in took.items():
            each.append(to_first_step(tracker))
    for tracker, each in took.items():
        print(
            f"tracker={tracker:14} first step after {statistics.median(each):.2f} s ({min(each):.2f} to {max(each):.2f})"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
