"""Decays to a share of the rate: exponential, and warm-up, stable, decay."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from launcher.config.trust import factory
from launcher.errors import ConfigError


@factory("scheduler")
def exponential(optimizer: Optimizer, factor: float, num_steps: int) -> ExponentialLR:
    """The rate times `factor` over every `num_steps` steps, in equal parts a step: lr * factor^(t / num_steps)."""
    return ExponentialLR(optimizer, gamma=factor ** (1 / num_steps))


@factory("scheduler")
def wsd(
    optimizer: Optimizer,
    num_steps: int,
    cooldown: float = 0.2,
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt",
    final_factor: float = 0.0,
) -> LambdaLR:
    """Warm-up, stable, decay: the full rate, and a fall to lr * `final_factor` over the last `cooldown` of `num_steps`.

    Hu et al., 2024, "MiniCPM"; the shape 1 - sqrt(p), p being the share of the cooldown that is done, and a fifth of the
    run for it, by Hägele et al., 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations".
    `cooldown` is a share of the steps (up to 1) or a number of them; 0 is none. A checkpoint from before the cooldown goes
    on with any other length. Raises ConfigError for a cooldown that is longer than the run.
    """
    length = cooldown if cooldown > 1 else cooldown * num_steps
    if length > num_steps:
        raise ConfigError(f"scheduler.cooldown={cooldown:g} takes more than the {num_steps} steps after the warm-up")
    start = num_steps - length

    def factor(step: int) -> float:
        if step <= start:
            return 1.0
        done = min(1.0, (step - start) / length)
        left = {"sqrt": 1 - math.sqrt(done), "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[shape]
        return final_factor + (1 - final_factor) * left

    return LambdaLR(optimizer, factor)
