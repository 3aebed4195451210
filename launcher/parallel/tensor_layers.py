"""Layers that several ranks compute together, each with a part of their weights (Shoeybi et al., 2019, "Megatron-LM").

A layer split by its outputs is followed by one split by its inputs: between the two each rank has some of the features,
or some of an attention's heads, and nothing is sent. What comes in and what goes out is the same on all ranks.

The modules stay the ones they are, with the names of their weights; these are `DTensor`s on the ranks' mesh.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional as F

from .dtensor_parts import chunk, local


class Region:
    """The ranks that compute the same layers, and whether a forward pass is between two split ones.

    Between them dropout has to draw other numbers on each rank, and outside of them the same: with `draws` the
    generator of `device` is another one there, which begins at a number drawn from the ordinary one. So it needs no
    state of its own, and a forward pass that is done once more draws the same again.
    """

    def __init__(self, mesh: DeviceMesh, draws: bool, device: torch.device) -> None:
        self.mesh, self.group, self.draws, self.device = mesh, mesh.get_group(), draws, device
        self.rank, self.size = mesh.get_local_rank(), mesh.size()
        on_gpu = device.type == "cuda"
        self._generator = torch.cuda.default_generators[device.index or 0] if on_gpu else torch.default_generator
        self._outside: Tensor | None = None
        self._copied: tuple[Tensor, Tensor] | None = None

    def __deepcopy__(self, memo: object) -> Region:
        return self

    def enter(self, x: Tensor, training: bool) -> Tensor:
        """The input of a layer split by its outputs. Several layers of one input share the sum of their gradients."""
        if self.draws and training and self._outside is None:
            seed = int(torch.randint(1 << 62, ()))
            self._outside = self._generator.get_state()
            self._generator.manual_seed(seed + self.rank)
        if self._copied is None or self._copied[0] is not x:
            self._copied = (x, self.copied(x))
        return self._copied[1]

    def leave(self) -> None:
        """A layer split by its inputs is reached."""
        self._copied = None
        if self._outside is not None:
            self._generator.set_state(self._outside)
            self._outside = None

    def copied(self, x: Tensor) -> Tensor:
        """The same on all ranks, each of which uses it for a part: gradients are summed."""
        found: Tensor = _Copied.apply(x, self)  # type: ignore[no-untyped-call]  # torch's
        return found

    def summed(self, x: Tensor) -> Tensor:
        """The sum of what ranks have; all of them use it in the same way, so each gets the gradient whole."""
        found: Tensor = _Summed.apply(x, self)  # type: ignore[no-untyped-call]  # torch's
        return found

    def gathered(self, x: Tensor, features: int) -> Tensor:
        """The parts of the last dimension, of `features` in all, one behind the other."""
        found: Tensor = _Gathered.apply(x, self, features)  # type: ignore[no-untyped-call]  # torch's
        return found

    def own(self, x: Tensor) -> Tensor:
        """This rank's part of the last dimension."""
        found: Tensor = _Own.apply(x, self)  # type: ignore[no-untyped-call]  # torch's
        return found

    def joined(self, x: Tensor, features: int) -> Tensor:
        """Parts of the last dimension as one tensor, without a gradient."""
        lengths = [chunk(features, self.size, rank)[1] for rank in range(self.size)]
        padded = F.pad(x, (0, lengths[0] - x.shape[-1])).contiguous()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded, group=self.group)
        return torch.cat([part[..., :length] for part, length in zip(parts, lengths, strict=True)], dim=-1)

    def cut(self, x: Tensor) -> Tensor:
        """This rank's part of the last dimension, without a gradient."""
        start, length = chunk(x.shape[-1], self.size, self.rank)
        return x[..., start : start + length].contiguous()


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, region: Region) -> Tensor:
        ctx.region = region
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.region.group)
        return total, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, region: Region) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total, group=region.group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, region: Region, features: int) -> Tensor:
        ctx.region = region
        return region.joined(x, features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.region.cut(gradients[0]), None, None


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, region: Region) -> Tensor:
        ctx.region, ctx.features = region, x.shape[-1]
        return region.cut(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.region.joined(gradients[0], ctx.features), None


class Columns(nn.Linear):
    """Behind a linear layer's class: each rank has some of its outputs."""

    region: Region

    def forward(self, input: Tensor) -> Tensor:
        x = self.region.enter(input, self.training)
        return F.linear(x, local(self.weight), None if self.bias is None else local(self.bias))


class GatheredColumns(nn.Linear):
    """The same, and all ranks get all outputs."""

    region: Region

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else local(self.bias)
        part = F.linear(self.region.copied(input), local(self.weight), bias)
        return self.region.gathered(part, self.out_features)


class Rows(nn.Linear):
    """Behind a linear layer's class: each rank has some of its inputs, and the sum over the ranks is what it gives."""

    region: Region

    def forward(self, input: Tensor) -> Tensor:
        self.region.leave()
        total = self.region.summed(F.linear(input, local(self.weight)))
        return total if self.bias is None else total + self.bias.to(total.dtype)


class CutRows(Rows):
    """The same of an input that all ranks have whole."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.region.own(input))


class Vocabulary(nn.Embedding):
    """Behind an embedding's class: each rank has the vectors of some of the tokens."""

    region: Region

    def forward(self, input: Tensor) -> Tensor:
        start, length = chunk(self.num_embeddings, self.region.size, self.region.rank)
        here = (input >= start) & (input < start + length)
        padding = None if self.padding_idx is None else self.padding_idx - start
        if padding is not None and not 0 <= padding < length:
            padding = None
        found = F.embedding((input - start).where(here, 0), local(self.weight), padding)
        return self.region.summed(found * here.unsqueeze(-1).to(found.dtype))


class Whole(nn.Module):
    """Behind the class of a module between two split ones, whose weights all ranks have: they sum its gradients."""

    region: Region

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        weights = dict(self._parameters)
        shared: Any = {name: each if each is None else self.region.copied(each) for name, each in weights.items()}
        self._parameters.update(shared)
        try:
            return super().forward(*args, **kwargs)  # of the class that stands before this one
        finally:
            self._parameters.update(weights)


def part(tensor: Tensor, region: Region, dim: int, num: int = 1) -> nn.Parameter:
    """A parameter split along `dim` over the ranks of a region; one of `num` matrices in one, each of them (dim 0)."""
    start, length = chunk(tensor.shape[dim] // num, region.size, region.rank)
    held = tensor.detach().unflatten(dim, (num, -1)).narrow(dim + 1, start, length).flatten(dim, dim + 1)
    held = held.contiguous().clone().to(region.device)
    made: DTensor = DTensor.from_local(
        held,
        region.mesh,
        [Shard(dim)],
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
    return nn.Parameter(made, requires_grad=tensor.requires_grad)


def install(module: nn.Module, base: type[nn.Module], region: Region) -> None:
    """Give `module` a class of the same name whose forward is that of `base`."""
    module.__class__ = _joined(base, type(module))  # type: ignore[arg-type]  # mypy: classes are hashable
    object.__setattr__(module, "region", region)


@functools.cache
def _joined(base: type[nn.Module], kind: type[nn.Module]) -> type[nn.Module]:
    """One class for all modules of a kind, so that they still are of one class."""
    return type(kind.__name__, (base, kind), {"__module__": kind.__module__})
