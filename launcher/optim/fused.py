"""Faults of torch's fused kernels (2.13), and the ways around them."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD, Optimizer


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
