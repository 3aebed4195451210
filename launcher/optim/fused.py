"""Faults of torch's fused kernels (2.13), and the ways around them."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import SGD, Optimizer


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
            optimizer._step_supports_amp_scaling = False
        if any(group["fused"] for group in optimizer.param_groups):
            _begin_late(optimizer)
    return optimizer


def _begin_late(optimizer: SGD) -> None:
    """Leave the kernel out of a step in which a weight's momentum begins and another's of its group goes on."""
    num = sum(len(group["params"]) for group in optimizer.param_groups)
    without: list[dict[str, Any]] = []

    def before(_: Optimizer, args: Any, kwargs: Any) -> None:
        if len(optimizer.state) == num:  # all have begun
            return
        for group in optimizer.param_groups:
            if not group["fused"] or not group["momentum"]:
                continue
            begun = {weight in optimizer.state for weight in group["params"] if weight.grad is not None}
            if len(begun) == 2:
                group["fused"] = False
                without.append(group)

    def after(_: Optimizer, args: Any, kwargs: Any) -> None:
        while without:
            without.pop()["fused"] = True

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
