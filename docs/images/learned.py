"""Draws what techniques did to runs: `python docs/images/learned.py`. With `measure [NAME…]`, and the checkout on PYTHONPATH, the
runs of `RUNS` are made anew first, and their curves kept in `measured.json`. See `draw.py`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import starmap
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from launcher.monitors.stopping.combined_stopping import CombinedStopping
from launcher.monitors.stopping.early_stopping import EarlyStopping
from launcher.report.line_chart import Point, Series
from launcher.report.svg_file import picture

if TYPE_CHECKING:
    from launcher.core.run import Run

FOLDER = Path(__file__).parent
FILE = FOLDER / "measured.json"
FEW = ("validation.fraction=0.9", "training.max_epochs=null", "scheduler=constant", "seed=1")
WRONG = "task._target_=tests.support.noisy.Mislabelled"
"""Three in ten of the labels are wrong: LAUNCHER_TRUST has to allow it."""
RUNS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "dropout": (
        (*FEW, WRONG, "model=mlp", "optimizer.lr=3e-3", "training.max_steps=600", "training.eval_every=20"),
        {f"dropout={rate:g}": (f"model.dropout={rate:g}",) for rate in (0.0, 0.2, 0.5)},
    ),
    "stochastic_depth": (
        (*FEW, WRONG, "model=vit", "model.width=32", "model.patch_size=4", "model.dropout=0", "optimizer.lr=3e-3",
         "training.max_steps=300", "training.eval_every=15"),
        {
            "plain": (),
            "rate=0.1": ("regularization=[stochastic_depth]",),
            "rate=0.5": ("regularization=[stochastic_depth]", "regularization.stochastic_depth.rate=0.5"),
        },
    ),
    "sam": (
        (*FEW, "model=mlp", "training.max_steps=300", "training.eval_every=0"),
        {
            "plain": (),
            "rho=0.05": ("regularization=[sam]",),
            "rho=0.2": ("regularization=[sam]", "regularization.sam.rho=0.2"),
        },
    ),
    "combined": (
        ("task=text_classification", "model=transformer", "model.width=32", "model.num_heads=2", "model.depth=1",
         "data.max_per_class=40", "data.min_per_class=20", "optimizer.lr=3e-3", "scheduler=constant",
         "training.max_epochs=null", "training.max_steps=200", "training.eval_every=8"),
        {"": ()},
    ),
}  # fmt: skip
"""By picture: the words of all of its runs, and what each has of its own."""
SHOWN = {"combined": ("val/accuracy", "val/loss")}
"""The metrics of those that do not show the held-out loss."""
WEIGHTS, RANGES = {"val/accuracy": 2.0, "val/loss": -1.0}, {"val/accuracy": [0.0, 1.0]}
"""Those of the example in docs/stopping.md."""
DISTANCES = [5.0 * at for at in range(9)]
"""In hundredths."""


def measure(names: Sequence[str]) -> None:
    """Make the runs of the named pictures, or of all, and keep what they show."""
    from tests.support.fits import curve
    from tests.support.noisy import TRUST
    from tests.support.runs import build, train

    os.environ.update([TRUST])
    kept: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    for name in names or RUNS:
        shared, variants = RUNS[name]
        kept[name] = {}
        for said, own in variants.items():
            with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
                run = train(build(Path(folder), *shared, *own))
                for metric in SHOWN.get(name, ("val/loss",)):
                    points = uphill(run) if name == "sam" else sorted(curve(Path(folder), metric).items())
                    line = metric if name == "combined" else said
                    kept[name][line] = [[round(x, 3), float(f"{y:.4g}")] for x, y in points]
    FILE.write_text("{\n" + ",\n".join(starmap(_block, kept.items())) + "\n}\n", encoding="utf-8")


def _block(name: str, curves: dict[str, Any]) -> str:
    """A picture's numbers as JSON, a line a curve."""
    lines = (f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in curves.items())
    return f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }"


def uphill(run: Run) -> list[Point]:
    """The training loss at some distances from the weights that a run has ended with, in the direction of the gradient there."""
    samples, model = run.loaders.train.samples, run.main.model.eval()
    batch, weights = samples.fetch(torch.arange(len(samples))), list(model.parameters())

    def loss() -> torch.Tensor:
        found = run.task.loss(run.task.forward(model, batch), batch)
        return found.sum / found.weight

    slope = torch.autograd.grad(loss(), weights)
    size = torch.stack([each.norm() for each in slope]).norm()
    start = [weight.detach().clone() for weight in weights]
    found = []
    with torch.no_grad():
        for hundredths in DISTANCES:
            distance = hundredths / 100
            for weight, first, each in zip(weights, start, slope, strict=True):
                weight.copy_(first + distance * each / size)
            found.append((hundredths, float(loss())))
    return found


def measured(name: str, across: str) -> str:
    curves = json.loads(FILE.read_text(encoding="utf-8"))[name]
    return picture([Series(said, [tuple(point) for point in points]) for said, points in curves.items()], across)


def combined() -> str:
    """Two metrics of a run as they are normalised in the end, their score, and where the loss and the score end the run."""
    curves = json.loads(FILE.read_text(encoding="utf-8"))["combined"]
    steps = [step for step, _ in curves["val/loss"]]
    evaluations = [{name: points[at][1] for name, points in curves.items()} for at in range(len(steps))]
    by_loss, by_score = EarlyStopping(), CombinedStopping(WEIGHTS, RANGES)
    ends: dict[str, int] = {}
    for monitor, said in ((by_loss, "[val_loss] ends"), (by_score, "[combined] ends")):
        run = SimpleNamespace(stop=None, metrics={}, objective=("val/accuracy", "maximize"))
        for at, metrics in enumerate(evaluations):
            monitor.eval_end(run, metrics)  # type: ignore[arg-type]  # all that it reads
            if run.stop and said not in ends:
                ends[said] = at
    scores = by_score.scores()
    series = []
    for name, points in curves.items():
        values = [value for _, value in points]
        low, high = RANGES.get(name, (min(values), max(values)))
        normalised = [(value - low) / (high - low) for value in values]
        series.append(Series(name.removeprefix("val/"), list(zip(steps, normalised, strict=True))))
    series.append(Series("score", list(zip(steps, scores, strict=True))))
    series += [Series(said, [(steps[at], scores[at])]) for said, at in ends.items()]
    return picture(series, "step", log_up=False)


PICTURES: dict[str, Callable[[], str]] = {
    "dropout": lambda: measured("dropout", "step"),
    "stochastic_depth": lambda: measured("stochastic_depth", "step"),
    "sam": lambda: measured("sam", "distance from the weights, uphill, in hundredths"),
    "combined": combined,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2:])
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
