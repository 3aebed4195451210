"""Lengths of a schedule in steps, from what a config says in shares, words and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from launcher.config.counts import length
from launcher.errors import ConfigError


@dataclass(frozen=True)
class Lengths:
    """The arguments of the schedule, all in steps, and the warm-up before it (0 where the schedule makes its own)."""

    settings: dict[str, Any]
    warmup_steps: int
    warmup_shape: str


def lengths(settings: dict[str, Any], total_steps: int | None, steps_per_epoch: int) -> Lengths:
    """What a node of conf/scheduler means in a run of `total_steps` (None: not known).

    A warm-up below 1 is a share of the run. The words of `bindings.LENGTHS` stand for numbers of steps; a part of one
    is rounded up, so that so many of them hold the whole. A schedule that takes `warmup_steps` makes the warm-up
    itself. Raises ConfigError where the run's length is needed and not known, and where the warm-up fills it.
    """
    settings = dict(settings)
    warmup, shape = settings.pop("warmup", 0), settings.pop("warmup_shape", "linear")
    if total_steps is None and 0 < warmup < 1:
        raise ConfigError(
            f"scheduler.warmup={warmup} is a share of the run, whose length is not known: give training.max_epochs or training.max_steps"
        )
    warmup_steps = round(warmup * total_steps) if total_steps is not None and 0 < warmup < 1 else int(warmup)
    if total_steps is not None and warmup_steps >= total_steps > 1:
        raise ConfigError(f"scheduler.warmup={warmup} takes {warmup_steps} of the run's {total_steps} steps")
    known = {
        "total_steps": total_steps,
        "decay_steps": None if total_steps is None else max(1, total_steps - warmup_steps),
        "warmup_steps": warmup_steps,
        "steps_per_epoch": steps_per_epoch,
    }
    for key, value in settings.items():
        found = length(value)
        if found is not None:
            times, word = found
            whole = known[word]
            if whole is None:
                raise ConfigError(
                    f"scheduler.{key}={value} needs the run's length: give training.max_epochs or training.max_steps"
                )
            settings[key] = math.ceil(times * whole - 1e-9)
    return Lengths(settings, 0 if "warmup_steps" in settings else warmup_steps, shape)
