"""Faults of torch's fused kernels (2.13), and the ways around them."""

from __future__ import annotations

import torch
from torch.optim import Optimizer


def guard(optimizer: Optimizer, scaled: bool = False) -> Optimizer:
    """The optimizer, kept from what would silently go wrong; `scaled` where a loss scale is in use.

    - Fused SGD leaves weights in bfloat16 and float16 on a CPU as they are: these go without the kernel.
    - Fused SGD leaves a first step whose scaled gradients overflow out inside the kernel, and with it the momentum as
      uninitialised memory: the scaler is made to leave out the call itself.
    """
    if isinstance(optimizer, torch.optim.SGD):
        for group in optimizer.param_groups:
            narrow = (weight.dtype in (torch.bfloat16, torch.float16) for weight in group["params"])
            if any(weight.device.type == "cpu" for weight in group["params"]) and any(narrow):
                group["fused"] = None
        if scaled:
            optimizer._step_supports_amp_scaling = False
    return optimizer
