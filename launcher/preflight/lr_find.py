"""The range test: train for a moment with a rate that rises, and see where the loss falls.

Smith, 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; the exponential rise and the smoothed
loss by Gugger and Howard (fastai). What is looked at is the fall: each batch's loss less that of the same batch at the
first weights. What makes one batch harder than another is then gone, and with it the slopes that noise has.
It builds a model and an optimizer of its own, so that nothing of a run is touched.
"""

from __future__ import annotations

import inspect
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.artifacts.folder import write_config
from launcher.artifacts.provenance import provenance
from launcher.artifacts.range_test import FILE, PICTURE
from launcher.config.signatures import locate
from launcher.console.console import Console
from launcher.console.numbers import number
from launcher.console.summary import relative
from launcher.core.run import Run
from launcher.errors import TrainingError
from launcher.process.random_state import rng_state, set_rng_state
from launcher.process.seeds import derive, seed_everything
from launcher.process.signals import Interrupt
from launcher.report.line_chart import Series
from launcher.report.svg_file import picture
from launcher.train.build import build_parallel, build_run, build_task

from .memory_estimate import CONSTANT
from .rehearsal import refuse_unless_rehearsable, rehearsal

if TYPE_CHECKING:
    from launcher.data.samples import Batch
    from launcher.train.step import TrainingStep

SHARE = 2 / 3
"""Of the deepest fall: the suggestion is the first rate that reaches it. Less is often a first, easy part of the fall (the
bias of the outputs), more is where the curve is flat and the place is noise."""
CLEAR, SURE = 0.01, 6.0
"""A fall is clear that is more than this part of the loss, and more than so many standard errors."""


@dataclass(frozen=True)
class Found:
    """What a range test saw, step by step, and the rate that it suggests: None where the loss does not clearly fall."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    fall: list[float]
    """How far below that of the first weights the loss of the same batches is, smoothed: negative where it fell."""
    suggestion: float | None
    diverged: bool


def settle(config: DictConfig, folder: Path, console: Console) -> None:
    """`optimizer.lr=auto`: put the suggested rate, or the optimizer's default, into the config and the run's config.yaml."""
    rate = find(config, folder, console)
    if rate is None:
        rate = default_rate(config)
        console.warning(f"optimizer.lr=auto: the run takes the optimizer's default, {number(rate)}")
    config.optimizer.lr = rate
    write_config(config, folder)


def default_rate(config: DictConfig) -> float:
    """The rate of the optimizer's entry, else that of its class. Raises TrainingError where neither has one."""
    target = str(config.optimizer._target_)
    for path in sorted(CONF.glob("optimizer/*.yaml")):
        entry: Any = OmegaConf.load(path)
        if entry.get("_target_") == target and isinstance(entry.get("lr"), float):
            return float(entry.lr)
    given = inspect.signature(locate(target)).parameters.get("lr")
    if given is None or not isinstance(given.default, int | float):
        raise TrainingError(f"optimizer.lr=auto: {target} has no default rate to take instead; give one")
    return float(given.default)


def find(config: DictConfig, folder: Path, console: Console) -> float | None:
    """Run the test that `config.lr_find` describes on a fresh model; returns the suggested rate, to three digits, or
    None where the loss does not clearly fall, which is said.

    Writes lr_find.json and lr_find.svg into `folder`. The generators are left as they were found. Raises ConfigError
    for what has no rate to find.
    """
    before = rng_state()
    settings = config.lr_find
    start = config.copy()
    start.optimizer.lr, start.tracker, start.scheduler = (
        float(settings.min_lr),
        {},
        CONSTANT,
    )  # the test moves the rates itself
    parallel = build_parallel(start)
    try:
        task = build_task(start)
        refuse_unless_rehearsable(task, "it has no learning rate that a range test could find")
        data = task.datasets()
        torch.manual_seed(derive(config.seed, "init"))
        model: Any = task.model()
        seed_everything(config.seed, parallel.data_rank, config.deterministic)
        run = build_run(start, folder, task, data, model, parallel, console.warning, Interrupt())
        found = range_test(
            run, settings.min_lr, settings.max_lr, settings.num_steps, settings.smoothing, settings.divergence
        )
    finally:
        parallel.close()
        set_rng_state(before)
    rate = None if found.suggestion is None else float(f"{found.suggestion:.3g}")
    _write(found, rate, config, folder)
    console.message(_said(found, rate, settings, relative(folder / PICTURE)))
    return rate


def _said(found: Found, rate: float | None, settings: DictConfig, drawing: str) -> str:
    end = "the loss diverged" if found.diverged else "the range was used up"
    last = number(found.rates[-1]) if found.rates else number(settings.min_lr)
    where = f"{len(found.rates)} steps from {number(settings.min_lr)} to {last}, where {end}; {drawing}"
    if rate is None:
        return f"range test: the loss does not clearly fall at any rate, so none is suggested ({where})"
    more = ""
    if not found.diverged and found.fall[-1] == min(found.fall):
        more = "; the loss was still falling at the end: a higher lr_find.max_lr may show a higher rate"
    return f"range test: most of the fall of the loss is reached at a rate of {number(rate)} ({where}){more}"


def range_test(run: Run, min_lr: float, max_lr: float, num_steps: int, smoothing: float, divergence: float) -> Found:
    """Train `run`, built for a constant rate of `min_lr`, while that rises to `max_lr` by the same factor a step.

    Ends early where the smoothed loss is `divergence` times its lowest, or not finite. Groups whose rate the config
    gives keep it; the others' rise together. Steps are those of the run, algorithms and clipping included; monitors,
    which only watch, have no part.
    """
    part, training_step = run.main, rehearsal(run)
    first = _first_losses(run, training_step, num_steps)
    shares = [(group, group["lr"] / min_lr) for group in part.optimizer.param_groups if "name" not in group]
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean, lowest, diverged = 0.0, math.inf, False
    for step, micro in enumerate(_batches(run, training_step, num_steps)):
        rate = min_lr * (max_lr / min_lr) ** (step / max(1, num_steps - 1))
        for group, share in shares:
            group["lr"] = rate * share
        taken = training_step(run, micro)
        loss = float(taken.loss) / float(taken.weight)
        mean = smoothing * mean + (1 - smoothing) * loss
        value = mean / (1 - smoothing ** (step + 1))  # without the pull towards the zero that it began with
        diverged = not math.isfinite(value) or value > divergence * lowest
        if diverged:
            break
        lowest = min(lowest, value)
        rates.append(rate)
        losses.append(loss)
        smoothed.append(value)
    first = first[: len(losses)]
    falls = [loss - before for loss, before in zip(losses, first, strict=True)]
    half = round(0.5 / (1 - smoothing))
    return Found(rates, losses, smoothed, centred(falls, half), suggest(rates, falls, first, half), diverged)


def _batches(run: Run, training_step: TrainingStep, num_steps: int) -> Iterator[list[Batch]]:
    """The micro-batches of the first steps, as the run would train on them; what is drawn at random follows from the step."""
    batches = run.loaders.train.start(0)
    for step in range(num_steps):
        run.progress.step = step
        yield training_step.take(run, batches)


@torch.no_grad()
def _first_losses(run: Run, training_step: TrainingStep, num_steps: int) -> list[float]:
    """What the steps' losses would be if the weights stayed as they are. The generators are left as they were found."""
    before, parallel, losses = rng_state(), run.parallel, []
    for micro in _batches(run, training_step, num_steps):
        total = weight = 0.0
        for batch in micro:
            with parallel.precision.autocast(parallel.device):
                output = parallel.forward(run.task, run.main.model, batch)
                loss = run.task.loss(output, batch)
                for hook in training_step.loss_hooks:
                    loss = hook(run, batch, output, loss)
            total, weight = total + float(loss.sum), weight + float(loss.weight)
        losses.append(total / weight)
    set_rng_state(before)
    return losses


def centred(values: Sequence[float], half: int) -> list[float]:
    """The mean of each value and its neighbours, `half` on either side where there are so many: it does not lag."""
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [statistics.fmean(window) for window in windows]


def suggest(rates: Sequence[float], falls: Sequence[float], first: Sequence[float], half: int) -> float | None:
    """The first rate at which the smoothed fall is `SHARE` of its deepest; None where the fall is not clear.

    `falls` are the losses less those of the same batches at the first weights, which are `first`; smoothed as `centred`
    does. Clear is a fall that is more than `CLEAR` of the first losses and than `SURE` times its standard error.
    """
    if not falls:
        return None
    smoothed = centred(falls, half)
    low = min(range(len(smoothed)), key=smoothed.__getitem__)
    near = falls[max(0, low - 3 * half) : low + half + 1]
    steps = [(after - before) ** 2 for before, after in pairwise(near)]  # of neighbours: a slope is no noise
    width = len(falls[max(0, low - half) : low + half + 1])
    error = math.sqrt(statistics.fmean(steps) / 2 / width) if steps else 0.0
    if -smoothed[low] <= max(CLEAR * statistics.fmean(map(abs, first)), SURE * error):
        return None
    return next(rate for rate, fall in zip(rates, smoothed, strict=True) if fall <= SHARE * smoothed[low])


def _write(found: Found, rate: float | None, config: DictConfig, folder: Path) -> None:
    kept: dict[str, Any] = {"suggestion": rate, "diverged": found.diverged}
    kept |= {"rates": found.rates, "losses": found.losses, "smoothed": found.smoothed, "fall": found.fall}
    optimizer = str(config.optimizer._target_).rpartition(".")[2]
    content = kept | {"optimizer": optimizer, "batch_size": config.training.batch_size, "seed": config.seed}
    (folder / FILE).write_text(json.dumps(content | provenance(), indent=2) + "\n", encoding="utf-8")
    (folder / PICTURE).write_text(drawn(found), encoding="utf-8")


def drawn(found: Found) -> str:
    """The losses over the rates, with the suggestion marked, as SVG."""
    lines = [
        Series("smoothed loss", list(zip(found.rates, found.smoothed, strict=True))),
        Series("loss", list(zip(found.rates, found.losses, strict=True))),
    ]
    if found.suggestion is None:
        return picture(lines, "learning rate", log_across=True)
    mark = (found.suggestion, found.smoothed[found.rates.index(found.suggestion)])
    return picture(lines, "learning rate", mark, f"{found.suggestion:.3g}: most of the fall", log_across=True)
