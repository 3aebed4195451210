"""The rate that a range test suggests beside a grid of ten rates, for every task that torch trains.

    python benchmarks/lr_find.py [NAME ...]

For each configuration: the suggestions with the seeds 0 to 5, and the objective that the lowest and the highest of them
reach, beside the best of ten rates from 1e-4 to 1 (all with seed 0, for as long). `ratio` is the error over the best one's, and of an
accuracy the best one over it. A configuration takes some twenty short fits, all in this process.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

SMALL = ("model.width=32", "model.depth=2", "model.num_heads=2")
CONFIGS: dict[str, tuple[str, ...]] = {
    "tabular, diabetes": ("task=tabular", "data=diabetes", "model=mlp"),
    "tabular, wine": ("task=tabular", "data=wine", "model=mlp"),
    "tabular, breast_cancer": ("task=tabular", "data=breast_cancer", "model=mlp", "training.max_epochs=20"),
    "forecasting, sunspots": ("task=forecasting", "data=sunspots"),
    "forecasting, co2": ("task=forecasting", "data=co2", "task.lags=25", "task.difference=true"),
    "images, mlp": ("model=mlp", "training.max_epochs=10"),
    "images, cnn": ("model=cnn", "training.max_epochs=6"),
    "images, vit": ("model=vit", "training.max_epochs=6", *SMALL),
    "texts, transformer": ("task=text_classification", "task.max_length=32", *SMALL),
    "next token, llama": ("task=pretrain_clm", "task.sequence_length=64", "training.max_steps=100", *SMALL),
    "images, mlp, sgd": ("model=mlp", "training.max_epochs=10", "optimizer=sgd"),
    "images, mlp, lion": ("model=mlp", "training.max_epochs=10", "optimizer=lion"),
    "images, mlp, muon": ("model=mlp", "training.max_epochs=10", "optimizer=muon"),
}
SEEDS = range(6)
GRID = tuple(float(f"{10 ** (-4 + 4 * point / 9):.3g}") for point in range(10))


def composed(words: tuple[str, ...]) -> Any:
    from launcher.config import compose
    from launcher.config.checks.nodes import check

    with compose.session() as hydra:
        found = compose.compose(hydra, ["tracker=[]", "training.log_every=1000", "training.export=false", *words])
        check(found.config, found.origins)
    return found.config


def suggested(words: tuple[str, ...], seed: int, folder: Path) -> float | None:
    from launcher.console.console import Console
    from launcher.preflight.lr_find import find

    return find(composed((*words, f"seed={seed}")), folder, Console(quiet=True))


def reached(words: tuple[str, ...], rate: float, folder: Path) -> float:
    """The objective of the run with a rate; nan where it diverged."""
    from launcher.artifacts.folder import write_config
    from launcher.console.console import Console
    from launcher.errors import TrainingError
    from launcher.process.signals import Interrupt
    from launcher.train.worker import work

    config = composed((*words, f"optimizer.lr={rate}"))
    own = folder / f"{rate:g}"
    own.mkdir(exist_ok=True)
    write_config(config, own)
    try:
        result = work(config, own, False, Console(quiet=True), Interrupt())
    except TrainingError:
        return float("nan")
    finally:
        shutil.rmtree(own)
    return float(result["objective"]["value"])


def row(name: str, folder: Path) -> str:
    words = CONFIGS[name]
    maximize = composed(words).objective.direction == "maximize"
    rates = [suggested(words, seed, folder) for seed in SEEDS]
    known = sorted(rate for rate in rates if rate is not None)
    if len(known) < len(rates):
        return f"| {name} | {len(rates) - len(known)} of {len(rates)} without a clear fall | | | | |"
    values = {rate: reached(words, rate, folder) for rate in GRID}
    sound = {rate: value for rate, value in values.items() if value == value}
    best = (max if maximize else min)(sound, key=sound.__getitem__)
    ends = [reached(words, rate, folder) for rate in (known[0], known[-1])]
    ratio = max(sound[best] / value if maximize else value / sound[best] for value in ends)
    told = f"{known[0]:.2g} to {known[-1]:.2g} | {known[-1] / known[0]:.1f} | {best:.2g}: {sound[best]:.4g}"
    return f"| {name} | {told} | {ends[0]:.4g}, {ends[1]:.4g} | {ratio:.3f} |"


def main() -> None:
    torch.set_num_threads(1)
    print("| configuration | suggestions | highest / lowest | best of the grid | reached | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or CONFIGS:
            print(row(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
