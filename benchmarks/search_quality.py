"""What searches find in how many trials: `python benchmarks/search_quality.py [TASK…]`.

Five tasks, each with a space of four parameters, searched at 12, 24 and 48 trials over five seeds by the samplers that
`search=random`, `search=bayes` and `search=gp` choose, one trial at a time, with the sweeper's own study and its own first
points. Trials are fits in this process. What a point came to is kept in `--known FILE`, so that a table can be made again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LENGTHS = (12, 24, 48)
RATE = "optimizer.lr=tag(log,interval(1e-5,1))"
DECAY = "optimizer.weight_decay=tag(log,interval(1e-4,1))"
DROPOUT = "model.dropout=interval(0,0.7)"
SCALE = "task.scale=standard,minmax,robust,power"
TASKS: dict[str, tuple[str, ...]] = {
    "digits": ("model=mlp", "training.max_epochs=3", RATE, DECAY, DROPOUT, "model.width=tag(log,int(interval(8,128)))"),
    "wine": (
        "task=tabular", "data=wine", "model=mlp", "objective.metric=val/loss", "objective.direction=minimize",
        "training.max_epochs=10", RATE, DECAY, DROPOUT, "training.batch_size=16,32,64",
    ),
    "breast_cancer": (
        "task=tabular", "data=breast_cancer", "model=calibrated_svm", "objective.metric=val/loss",
        "objective.direction=minimize", "model.estimator.C=tag(log,interval(1e-3,1e3))", "model.estimator.kernel=rbf,linear",
        "model.estimator.gamma=tag(log,interval(1e-5,1))", SCALE,
    ),
    "diabetes": (
        "task=tabular", "data=diabetes", "model=svm", "model.C=tag(log,interval(1e-2,1e3))", "model.kernel=rbf,linear",
        "model.gamma=tag(log,interval(1e-5,1))", SCALE,
    ),
    "sunspots": (
        "task=forecasting", "data=sunspots", "model=mlp", "training.max_epochs=10", RATE, "task.lags=range(3,31)",
        "model.width=tag(log,int(interval(4,128)))", DROPOUT,
    ),
}  # fmt: skip


def evaluate(config: Any) -> float:
    """A trial's objective, as a sweep takes it: the best evaluation of a network, the fit of an estimator."""
    from launcher.console.console import Console
    from launcher.errors import TrainingError
    from launcher.process.signals import Interrupt
    from launcher.train.build import build_parallel
    from launcher.train.worker import built

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        run = built(config, Path(folder), build_parallel(config), Console(quiet=True), Interrupt())
        assert run.loop is not None
        try:
            run.loop.fit(run)
        except TrainingError:  # a rate that no loss survives
            return float("nan")
        return float("nan") if run.best.value is None else run.best.value


class Known:
    """What points of a task came to, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, float | None] = json.loads(path.read_text()) if path.exists() else {}

    def value(self, words: list[str], compose: Callable[[], Any]) -> float:
        """The objective of the trial of these words, whose config `compose` makes; NaN where it has failed."""
        key = " ".join(words)
        if key not in self._values:
            found = evaluate(compose())
            self._values[key] = found if found == found else None
            if len(self._values) % 20 == 0:
                self.keep()
        found = self._values[key]
        return float("nan") if found is None else found

    def keep(self) -> None:
        beside = self._path.with_name(f".{self._path.name}")
        beside.write_text(json.dumps(self._values))
        beside.replace(self._path)


def search(hydra: Any, words: list[str], seed: int, num: int, known: Known, shared: dict[Any, Any]) -> list[float]:
    """The best objective after each trial of a search; None before there is one."""
    import optuna
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode
    from optuna.trial import TrialState

    from launcher.config import compose
    from launcher.search.space import dimensions as space
    from launcher.search.space import starting_points
    from launcher.search.space.definition import space_of
    from launcher.search.space.samplers import sampler_of
    from launcher.search.study.study import Study

    words = [*words, "tracker=[]", f"hydra.sweeper.n_trials={num}"]
    parsed = compose.parse(hydra, "config", words, sweep=True)
    config = hydra.compose_config("config", words, RunMode.MULTIRUN, parsed_overrides=parsed)
    compose.HydraConfig.instance().set_config(config)
    sweeper = config.hydra.sweeper
    fixed, dimensions = space_of(
        {}, list(config.hydra.overrides.task), OverridesParser.create(config_loader=hydra.config_loader), config
    )
    first = starting_points.read(None, fixed, dimensions, config, sweeper.default_first)
    make = sampler_of(sweeper.sampler, seed, dimensions, num)
    best: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            optuna.storages.InMemoryStorage(), "s", [config.objective.direction], Path(folder), dimensions, make,
            n_trials=num, points=first,
        )  # fmt: skip
        better = max if config.objective.direction == "maximize" else min
        while (claim := study.ask()) is not None:
            own = space.overrides(claim.params)
            task = [word for word in fixed if not word.startswith(("search=", "hydra.", "tracker="))]
            value = known.value(
                [*task, *own], lambda own=own: compose.compose(hydra, fixed + own, trial=True, known=shared).config
            )
            bad = value != value
            study.tell(claim, TrialState.FAIL if bad else TrialState.COMPLETE, None if bad else [value])
            best.append(better([value, *best[-1:]]) if not bad else (best[-1] if best else float("nan")))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--known", type=Path, default=Path("known"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=list(LENGTHS))
    parser.add_argument("--searches", nargs="*", default=["search=random", "search=bayes", "search=gp"])
    args = parser.parse_args()
    import logging
    import warnings

    import optuna
    import torch

    from launcher.config import compose

    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(logging.ERROR)
    torch.set_num_threads(1)
    args.known.mkdir(exist_ok=True)
    for task in args.tasks:
        known = Known(args.known / f"{task}.json")
        with compose.session() as hydra:
            shared: dict[Any, Any] = {}
            for named in args.searches:
                found = {}
                for num in args.lengths:
                    if "random" in named and num != LENGTHS[-1]:
                        continue
                    runs = [
                        search(hydra, [*named.split(), *TASKS[task]], seed, num, known, shared)
                        for seed in range(args.seeds)
                    ]
                    for each in LENGTHS if "random" in named else [num]:
                        found[each] = [run[each - 1] for run in runs]
                known.keep()
                print(
                    f"{task:14s} {named:60s}",
                    *(
                        f"{num}: {statistics.fmean(v):.4f} ±{statistics.stdev(v):.4f}  [{' '.join(f'{x:.4f}' for x in v)}]"
                        for num, v in found.items()
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
