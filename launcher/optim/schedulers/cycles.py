"""Schedules that rise and fall: one cycle, or many."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from launcher.config.trust import factory


@factory("scheduler")
def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    warmup_steps: int,
    shape: Literal["linear", "cosine"] = "cosine",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> OneCycleLR:
    """Smith and Topin, 2018, "Super-Convergence": torch's `OneCycleLR` with the groups' own rates at the top.

    Over `warmup_steps` the rate rises from lr / `div_factor` to lr, then falls to lr / `div_factor` /
    `final_div_factor` at the last of `total_steps`. Where the optimizer has a momentum (or a first beta), it goes the
    other way: from `max_momentum` down to `base_momentum` at the top, and back.

    Deviation: after the last step both stay where they are. Torch goes on along the same line, to a negative rate.
    """
    rise: float = min(warmup_steps, total_steps)
    if rise == 1:
        rise -= 1e-9  # the first step is the top; torch would divide by the steps before it
    return Once(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=rise / total_steps,
        anneal_strategy="cos" if shape == "cosine" else "linear",
        cycle_momentum=cycle_momentum and has_momentum(optimizer),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


class Once(OneCycleLR):
    """One cycle, which is over with its last step."""

    def get_lr(self) -> list[float | Tensor]:
        if self.last_epoch >= self.total_steps:
            return [group["lr"] for group in self.optimizer.param_groups]
        return super().get_lr()


@factory("scheduler")
def cyclic(
    optimizer: Optimizer,
    step_size: int,
    base_factor: float = 0.1,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular2",
    gamma: float = 1.0,
    cycle_momentum: bool = False,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> CyclicLR:
    """Smith, 2017, "Cyclical Learning Rates for Training Neural Networks": torch's `CyclicLR` below the groups' rates.

    The rate rises from lr * `base_factor` to lr in `step_size` steps and falls back in as many. The height of a cycle
    stays ("triangular"), halves from one to the next ("triangular2"), or shrinks by `gamma` a step ("exp_range").
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    return CyclicLR(
        optimizer,
        base_lr=[rate * base_factor for rate in rates],
        max_lr=rates,
        step_size_up=step_size,
        mode=mode,
        gamma=gamma,
        cycle_momentum=cycle_momentum and has_momentum(optimizer),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


def has_momentum(optimizer: Optimizer) -> bool:
    """Whether the optimizer has a momentum that may be moved: one that is on, and that no average of weights relies on."""
    if hasattr(optimizer, "averages"):
        return False
    defaults = optimizer.defaults
    return bool(defaults["betas"][0] if "betas" in defaults else defaults.get("momentum", 0))
