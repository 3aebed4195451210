"""Tensors of which each rank holds a part (`torch.distributed.tensor.DTensor`), and what is asked of them between steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from launcher.shards import Piece, Pieces, region


def local(tensor: Tensor) -> Tensor:
    """This rank's part, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def block(tensor: DTensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and offset of this rank's part of a tensor."""
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(shape), tuple(offset)


def piece(tensor: Tensor, held: Tensor | None = None) -> Tensor | Piece:
    """What this rank saves of a tensor: of the ranks that hold the same block, the first one has it.

    `held` is saved in place of the tensor's own part: what belongs to it and is split as it is.
    """
    part = local(tensor.detach()) if held is None else held
    if not isinstance(tensor, DTensor) or tensor.numel() == 0:
        return part
    coordinates = tensor.device_mesh.get_coordinate()
    assert coordinates is not None
    first = all(
        place == 0 for place, placement in zip(coordinates, tensor.placements, strict=True) if placement.is_replicate()
    )
    _, offset = block(tensor)
    return Piece(tuple(tensor.shape), part.dtype, offset, part if first and part.numel() else None)


def fill(tensor: Tensor, saved: Tensor | Pieces) -> None:
    """Copy what was saved, whole or in pieces, into a tensor that may be split otherwise."""
    with torch.no_grad():
        if isinstance(tensor, DTensor):
            shape, offset = block(tensor)
            part = tensor.to_local()
            if part.numel():
                part.copy_(region(saved, offset, shape))
        else:
            tensor.copy_(saved.whole() if isinstance(saved, Pieces) else saved)


def like(tensor: Tensor, saved: Tensor | Pieces) -> Tensor:
    """What was saved of a parameter's moments, split as the parameter is; a copy."""
    if not isinstance(tensor, DTensor) or tuple(saved.shape) != tuple(tensor.shape) or not saved.shape:
        return (saved.whole() if isinstance(saved, Pieces) else saved).clone()
    shape, offset = block(tensor)
    part = region(saved, offset, shape).to(tensor.to_local().device, copy=True)
    made: DTensor = DTensor.from_local(
        part, tensor.device_mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )
    return made


def norm(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """The 2-norm of whole tensors together, of which some are split and each perhaps over other ranks; a scalar.

    Squares are summed over the ranks that hold different parts, never over those that hold the same.
    """
    parts: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        key = None
        if isinstance(tensor, DTensor):
            axes = tuple(axis for axis, placement in enumerate(tensor.placements) if not placement.is_replicate())
            key = (tensor.device_mesh, axes) if axes else None
        parts.setdefault(key, []).append(local(tensor))
    total = torch.zeros((), device=device)
    for key, group in parts.items():
        square = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(group))).square().to(device)
        if key is not None:
            mesh, axes = key
            for axis in axes:
                dist.all_reduce(square, group=mesh.get_group(axis))
        total = total + square
    return total.sqrt()


def split_share(model: nn.Module) -> float:
    """The share of a model's parameters that this rank holds: 1 where nothing is split."""
    parameters = list(model.parameters())
    return sum(local(each).numel() for each in parameters) / max(1, sum(each.numel() for each in parameters))
