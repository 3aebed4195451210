"""The range test: train for a moment with a rate that rises, and see where the loss falls fastest.

Smith, 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; the exponential rise and the smoothed
loss by Gugger and Howard (fastai). It builds a model and an optimizer of its own, so that nothing of a run is touched.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from .algorithm import Monitor, overriding
from .build import build_parallel, build_run, build_task
from .console import Console
from .errors import DONE, ConfigError, TrainingError
from .estimate import CONSTANT
from .figures import number
from .folder import make_folder, remove_folder, write_config
from .provenance import provenance
from .report.curves import Series
from .report.picture import picture
from .run import Run, rng_state, set_rng_state
from .seeds import derive, seed_everything
from .signals import Interrupt
from .wording import relative

JSON, PICTURE = "lr_find.json", "lr_find.svg"


@dataclass(frozen=True)
class Found:
    """What a range test saw, step by step, and the rate that it suggests."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float
    diverged: bool


def act(config: DictConfig, folder: Path) -> int:
    """`action=lr_find`: the test alone, in a folder of its own; returns the exit status. Raises ConfigError."""
    console = Console()
    made = make_folder(folder)
    try:
        write_config(config, folder)
        rate = find(config, folder, console)
    except ConfigError:
        remove_folder(folder, made)
        raise
    console.message(f"train with it: add optimizer.lr={rate:.3g}")
    return DONE


def settle(config: DictConfig, folder: Path, console: Console) -> None:
    """`optimizer.lr=auto`: put the suggested rate into the config, and into the run's config.yaml."""
    config.optimizer.lr = find(config, folder, console)
    write_config(config, folder)


def find(config: DictConfig, folder: Path, console: Console) -> float:
    """Run the test that `config.lr_find` describes on a fresh model; returns the suggested rate, to three digits.

    Writes lr_find.json and lr_find.svg into `folder`. The generators are left as they were found. Raises ConfigError
    for what has no rate to find, TrainingError where the loss never falls.
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
        data = task.datasets()
        torch.manual_seed(derive(config.seed, "init"))
        model = task.model()
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"{type(model).__name__} has no learning rate: a range test is of models that torch trains"
            )
        seed_everything(config.seed, parallel.data_rank, config.deterministic)
        run = build_run(start, folder, task, data, model, parallel, console.warning, Interrupt())
        found = range_test(
            run, settings.min_lr, settings.max_lr, settings.num_steps, settings.smoothing, settings.divergence
        )
    finally:
        parallel.close()
        set_rng_state(before)
    rate = float(f"{found.suggestion:.3g}")
    _write(found, rate, config, folder)
    end = "the loss diverged" if found.diverged else "the range was used up"
    console.message(
        f"range test: the loss falls fastest at a rate of {number(rate)} ({len(found.rates)} steps from "
        f"{number(settings.min_lr)} to {number(found.rates[-1])}, where {end}; {relative(folder / PICTURE)})"
    )
    return rate


def range_test(run: Run, min_lr: float, max_lr: float, num_steps: int, smoothing: float, divergence: float) -> Found:
    """Train `run`, built for a constant rate of `min_lr`, while that rises to `max_lr` by the same factor a step.

    Ends early where the smoothed loss is `divergence` times its lowest, or not finite. Groups whose rate the config
    gives keep it; the others' rise together. Steps are those of the run, algorithms and clipping included; monitors,
    which only watch, have no part.
    """
    part, parallel = run.main, run.parallel
    algorithms = [each for each in run.algorithms if not isinstance(each, Monitor)]
    batch_hooks, loss_hooks = overriding(algorithms, "batch"), overriding(algorithms, "loss")
    gradient_hooks, step_hooks = overriding(algorithms, "gradients"), overriding(algorithms, "step")
    after_hooks = overriding(algorithms, "after_step")
    for hook in overriding(algorithms, "fit_start"):
        hook(run)
    shares = [(group, group["lr"] / min_lr) for group in part.optimizer.param_groups if "name" not in group]
    batches = run.loaders.train.start(0)
    part.model.train()
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean, lowest, diverged = 0.0, math.inf, False
    for step in range(num_steps):
        run.progress.step = step  # what is drawn at random follows from it
        rate = min_lr * (max_lr / min_lr) ** (step / max(1, num_steps - 1))
        for group, share in shares:
            group["lr"] = rate * share
        micro = [parallel.place(batch) for batch in next(batches)]
        for hook in batch_hooks:
            micro = [hook(run, batch) for batch in micro]
        total, weight = parallel.forward_backward(run, micro, loss_hooks)
        loss = float(total) / float(weight)
        mean = smoothing * mean + (1 - smoothing) * loss
        value = mean / (1 - smoothing ** (step + 1))  # without the pull towards the zero that it began with
        diverged = not math.isfinite(value) or value > divergence * lowest
        if diverged:
            break
        lowest = min(lowest, value)
        rates.append(rate)
        losses.append(loss)
        smoothed.append(value)
        if parallel.scaler is not None:
            parallel.unscale(run)
        skipped = [bool(hook(run)) for hook in gradient_hooks]
        if any(skipped):
            parallel.skip(run)
        else:
            parallel.clip_asked(run)
            if step_hooks:
                step_hooks[0](run, micro, functools.partial(parallel.recompute, run, micro, loss_hooks))
            else:
                parallel.step(run)
            for hook in after_hooks:
                hook(run)
        part.optimizer.zero_grad()
    return Found(rates, losses, smoothed, suggest(rates, smoothed), diverged)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate.

    Of the steps before the lowest loss; slopes are taken over the two neighbours. Raises TrainingError where the loss
    falls nowhere.
    """
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    slopes = {
        step: (losses[step + 1] - losses[step - 1]) / math.log(rates[step + 1] / rates[step - 1])
        for step in range(1, min(lowest + 1, len(losses) - 1))
    }
    best = min(slopes, key=slopes.__getitem__, default=None)
    if best is None or slopes[best] >= 0:
        raise TrainingError(
            "the range test found no rate at which the loss falls: try a lower lr_find.min_lr, or more lr_find.num_steps"
        )
    return rates[best]


def _write(found: Found, rate: float, config: DictConfig, folder: Path) -> None:
    kept: dict[str, Any] = {"suggestion": rate, "diverged": found.diverged}
    kept |= {"rates": found.rates, "losses": found.losses, "smoothed": found.smoothed}
    optimizer = str(config.optimizer._target_).rpartition(".")[2]
    content = kept | {"optimizer": optimizer, "batch_size": config.training.batch_size, "seed": config.seed}
    (folder / JSON).write_text(json.dumps(content | provenance(), indent=2) + "\n", encoding="utf-8")
    (folder / PICTURE).write_text(drawn(found), encoding="utf-8")


def drawn(found: Found) -> str:
    """The losses over the rates, with the suggestion marked, as SVG."""
    lines = [
        Series("smoothed loss", list(zip(found.rates, found.smoothed, strict=True))),
        Series("loss", list(zip(found.rates, found.losses, strict=True))),
    ]
    mark = (found.suggestion, found.smoothed[found.rates.index(found.suggestion)])
    return picture(lines, "learning rate", mark, f"{found.suggestion:.3g}: falls fastest", log_across=True)
