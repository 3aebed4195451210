"""Batch norm whose statistics are those of a micro-batch over all ranks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from launcher.adapters.torch import BatchNorm


class AllReduce(torch.autograd.Function):
    """The sum over the ranks; the gradient of a sum that all ranks use is the sum of all their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class SyncBatchNorm(BatchNorm):
    """`torch.nn.BatchNorm*` over the samples of all ranks, on any device (torch's own SyncBatchNorm needs a GPU).

    Mean and variance are taken in float32, the variance about the mean, by two sums over the ranks. It stands behind
    a module's own class, so that what that class does around its batch norm stays; weights and buffers keep their names.
    """

    group: ClassVar[Any] = None
    """The ranks that have other samples; None is all."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]  # torch's
        x = input.float()
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.ndim)]
        counted = torch.cat([x.sum(dims), x.new_full((1,), x.numel() / x.shape[1])])
        sums, num = _all_reduce(counted, self.group).split([x.shape[1], 1])
        num = num.detach()
        mean = sums / num
        centred = x - mean.view(shape)
        variance = _all_reduce(centred.square().sum(dims), self.group) / num
        output = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_((variance * (num / (num - 1))).detach(), share)
        typed: Tensor = output.to(input.dtype)
        return typed


def _all_reduce(value: Tensor, group: Any) -> Tensor:
    total: Tensor = AllReduce.apply(value, group)  # type: ignore[no-untyped-call]  # torch's
    return total


def synchronise(model: nn.Module, group: Any = None) -> nn.Module:
    """The model with every batch norm in it made to see all ranks of `group`; the modules stay the ones they are."""
    for module in model.modules():
        if isinstance(module, BatchNorm) and not isinstance(module, (SyncBatchNorm, nn.SyncBatchNorm)):
            kind = type(module)
            module.__class__ = type(
                kind.__name__, (kind, SyncBatchNorm), {"__module__": kind.__module__, "group": group}
            )
    return model
