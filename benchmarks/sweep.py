"""What a sweep costs beside its training, and what ending trials early saves: `python benchmarks/sweep.py [PART…]`.

sixteen   sixteen trials of about 0.7 s on two slots by the real command, from the command to the prompt
isolated  a trial in a process of its own beside the same fit, again and again in one process
busy      64 trials of about a second on two slots: the share of the time in which the slots have a trial
halving   81 configurations of the digits, up to 27 epochs, eight seeds: successive halving beside random draws
many      10,000 trials that do nothing, in which all that is left is what the study, the leases and the folders cost:
          the last tenth beside the first (the journal's flushes to the disk are left out: they do not grow)
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MODEL = ("model=mlp", "tracker=[]")


def sweep(folder: Path, *words: str) -> float:
    """The wall time of a sweep by the real command, in a folder of its own; its study is `multirun/bench`."""
    command = [sys.executable, "-m", "launcher", "-m", *MODEL, "hydra.sweeper.study_name=bench", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "multirun" / "bench" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def stints(folder: Path) -> list[Any]:
    """When each trial ran, on which slot."""
    import optuna

    from launcher.report.timeline import stints as found
    from launcher.search.study.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = folder / "multirun" / "bench"
    study = optuna.load_study(study_name="bench", storage=open_storage(None, own))
    return found(own, study.trials, {int(row["number"]): row["state"] for row in table(folder)})


def sixteen() -> None:
    with tempfile.TemporaryDirectory() as name:
        took = sweep(Path(name), "training.max_epochs=25", "seed=range(16)", "hydra.sweeper.n_jobs=2")
        walls = [float(row["wall_s"]) for row in table(Path(name))]
    print(
        f"16 trials on 2 slots: {took:.1f} s, of which training {sum(walls) / 2:.1f} s ({sum(walls) / 16:.2f} s a trial)"
    )


def isolated() -> None:
    from launcher.artifacts.folder import write_config
    from launcher.config import compose
    from launcher.config.checks.nodes import check
    from launcher.console.console import Console
    from launcher.process.signals import Interrupt
    from launcher.train.worker import work

    num, epochs = 12, "training.max_epochs=4"
    with tempfile.TemporaryDirectory() as name:
        sweep(Path(name), epochs, f"seed=range({num})", "hydra.sweeper.n_jobs=1")
        starts = sorted(each.start for each in stints(Path(name)))
        alone = statistics.median(after - before for before, after in pairwise(starts[1:]))
        with compose.session() as hydra:
            composed = compose.compose(hydra, [*MODEL, epochs])
            check(composed.config, composed.origins)
        config = composed.config
        times = []
        for number in range(num):
            own = Path(name) / str(number)
            own.mkdir()
            write_config(config, own)
            began = time.monotonic()
            work(config, own, False, Console(quiet=True), Interrupt())
            times.append(time.monotonic() - began)
    within = statistics.median(times[2:])
    print(
        f"a trial of its own process {alone:.3f} s, the same fit in one process {within:.3f} s: {alone - within:.3f} s more"
    )


def busy() -> None:
    from launcher.report.timeline import busy as share

    with tempfile.TemporaryDirectory() as name:
        took = sweep(Path(name), "training.max_epochs=27", "seed=range(64)", "hydra.sweeper.n_jobs=2")
        found, walls = stints(Path(name)), [float(row["wall_s"]) for row in table(Path(name))]
    mean = statistics.fmean(each.end - each.start for each in found)
    print(
        f"64 trials on 2 slots: {took:.1f} s; slots busy {share(found):.1%}; a trial {mean:.2f} s, of it training {statistics.fmean(walls):.2f} s"
    )


@dataclass(frozen=True)
class Searched:
    """What a sweep of 81 configurations came to: its best, the epochs it spent, (seconds, value) of each complete trial."""

    best: float
    epochs: int
    ends: list[tuple[float, float]]


def searched(search: str, seed: int) -> Searched:
    """81 configurations of the digits. The draws of `random` and `halving` are the same: trial n's follows from the
    seed and n."""
    words = (
        "training.max_epochs=27", "training.batch_size=128", "model.width=32", "hydra.sweeper.n_trials=81",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=interval(0,0.5)", "optimizer.weight_decay=tag(log,interval(1e-4,1))",
        "hydra.sweeper.n_jobs=2", "hydra.sweeper.keep_trials=1",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sweep(Path(folder), f"search={search}", f"seed={seed}", *words)
        rows, when = table(Path(folder)), stints(Path(folder))
    first = min(each.start for each in when)
    over = {each.number: each.end - first for each in when}
    ends = [(over[int(row["number"])], float(row["value"])) for row in rows if row["state"] == "completed"]
    return Searched(max(value for _, value in ends), sum(int(row["steps"]) for row in rows) // 12, ends)


def halving(seeds: Sequence[int] = range(8)) -> None:
    found = []
    for seed in seeds:
        found.append((searched("random", seed), searched("halving", seed)))
        own, other = found[-1]
        print(f"seed {seed}: best {own.best:.4f} {other.best:.4f}, epochs {own.epochs} {other.epochs}", flush=True)
    compared(found)


def compared(found: list[tuple[Searched, Searched]]) -> None:
    """Random draws beside halving, over seeds."""
    error = statistics.stdev(own.best for own, _ in found) / len(found) ** 0.5
    times = []
    for own, other in found:
        whole = max(second for second, _ in own.ends)
        reached = (second for second, value in other.ends if value >= own.best - error)
        times.append(min(reached, default=float("inf")) / whole)
    own, other = (statistics.fmean(each[side].best for each in found) for side in (0, 1))
    share = sum(each.epochs for _, each in found) / sum(each.epochs for each, _ in found)
    print(
        f"best of 81: random {own:.4f}, halving {other:.4f} (standard error {error:.4f}) for {share:.0%} of the epochs; "
        f"random's best after {statistics.median(times):.0%} of its time ({', '.join(f'{each:.0%}' for each in times)})"
    )


def many(num: int = 10_000) -> None:
    """The processor time of a trivial trial, at the start and at the end of a study of `num`."""
    from launcher.artifacts.result import write_result
    from launcher.process.signals import Interrupt
    from launcher.search.dispatcher import Ended, Scheduler
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


PARTS: dict[str, Callable[[], None]] = {
    "sixteen": sixteen, "isolated": isolated, "busy": busy, "halving": halving, "many": many
}  # fmt: skip

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
