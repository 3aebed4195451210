"""Optimizers and their schedules, built from the nodes of a config."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim import SGD, Optimizer

from launcher.adapters.torch import leave_scaling_to_scaler
from launcher.config.instantiate import instantiate, plain_dict, refusals_of
from launcher.optim.schedulers.lengths import lengths
from launcher.optim.schedulers.warmup import Warmup

from .fused import _begin_late

if TYPE_CHECKING:
    pass


def optimizer_of(node: DictConfig) -> tuple[functools.partial[Any], dict[str, Any]]:
    """The optimizer, to be called with groups of parameters, and the options of some of them (`groups`)."""
    settings = plain_dict(node)
    options = settings.pop("groups", None) or {}
    return instantiate(OmegaConf.create(settings), group="optimizer"), options


def _argument(partial: functools.partial[Any], name: str) -> Any:
    """The value an argument will have: the config's, else the target's default, else None."""
    if name in partial.keywords:
        return partial.keywords[name]
    parameter = inspect.signature(partial.func).parameters.get(name)
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def build_scheduler(
    node: DictConfig, optimizer: torch.optim.Optimizer, total_steps: int | None, steps_per_epoch: int
) -> Warmup:
    """The schedule with its warm-up, of a run of so many steps. Raises ConfigError for lengths that need the run's, where it is not known."""
    found = lengths(plain_dict(node), total_steps, steps_per_epoch)
    partial = instantiate(OmegaConf.create(found.settings), group="scheduler")
    with refusals_of(partial.func):
        schedule = partial(optimizer)
    return Warmup(schedule, found.warmup_steps, found.warmup_shape)


def guard(optimizer: Optimizer, scaled: bool = False) -> Optimizer:
    """The optimizer, kept from what would silently go wrong; `scaled` where a loss scale is in use.

    - Fused SGD leaves weights in bfloat16 and float16 on a CPU as they are: these go without the kernel.
    - Fused SGD leaves a first step whose scaled gradients overflow out inside the kernel, and with it the momentum as
      uninitialised memory: the scaler is made to leave out the call itself.
    - Fused SGD raises TypeError where a weight gets its first gradient later than others of its group: that step goes
      without the kernel.
    """
    if isinstance(optimizer, SGD):
        for group in optimizer.param_groups:
            narrow = (weight.dtype in (torch.bfloat16, torch.float16) for weight in group["params"])
            if any(weight.device.type == "cpu" for weight in group["params"]) and any(narrow):
                group["fused"] = None
        if scaled:
            leave_scaling_to_scaler(optimizer)
        if any(group["fused"] for group in optimizer.param_groups):
            _begin_late(optimizer)
    return optimizer
