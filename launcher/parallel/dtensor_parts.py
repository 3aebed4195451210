"""Tensors of which each rank holds a part (`torch.distributed.tensor.DTensor`), and what is asked of them between steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from launcher.adapters.torch import foreach_norm
from launcher.artifacts.checkpoint.pieces import Piece, Pieces, region, whole

Span = tuple[slice, tuple[int, ...], tuple[int, ...]]
"""Rows of this rank's part, and the offset and the shape of the block that they are of the whole tensor."""


def local(tensor: Tensor) -> Tensor:
    """This rank's part, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def chunk(size: int, num: int, index: int) -> tuple[int, int]:
    """Where the part `index` of `num` of `size` rows begins, and how many it has: all as large as the first, then less."""
    step = -(-size // num)
    start = min(index * step, size)
    return start, min(step, size - start)


def block(tensor: DTensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and offset of this rank's part of a tensor, which the innermost axis of its mesh was the first to split."""
    shape, offset = list(tensor.shape), [0] * tensor.ndim
    coordinates = tensor.device_mesh.get_coordinate()
    assert coordinates is not None
    for axis in reversed(range(tensor.device_mesh.ndim)):
        placement: Any = tensor.placements[axis]
        if not placement.is_replicate():
            start, length = chunk(shape[placement.dim], tensor.device_mesh.size(axis), coordinates[axis])
            offset[placement.dim] += start
            shape[placement.dim] = length
    return tuple(shape), tuple(offset)


def spans(tensor: DTensor) -> list[Span]:
    """The blocks that this rank's part consists of: one, but for a tensor of several matrices in one.

    Of such a one (`packed`: how many matrices, over how many ranks) a rank has some rows of each, one matrix after the
    other: heads of queries, keys and values. What the mesh knows as rows in a row lies apart in the tensor then.
    """
    shape, offset = block(tensor)
    packed = getattr(tensor, "packed", None)
    if packed is None:
        return [(slice(0, shape[0] if shape else 1), offset, shape)] if all(shape) else []
    num, ranks = packed
    run = tensor.shape[0] // (num * ranks)
    found: list[Span] = []
    row, end = offset[0], offset[0] + shape[0]
    while row < end:
        upto = min(end, (row // run + 1) * run)
        rank, matrix = divmod(row // run, num)
        begin = matrix * ranks * run + rank * run + row % run
        rows = slice(row - offset[0], upto - offset[0])
        found.append((rows, (begin, *offset[1:]), (upto - row, *shape[1:])))
        row = upto
    return found


def piece(tensor: Tensor, held: Tensor | None = None) -> Tensor | Piece:
    """What this rank saves of a tensor: of the ranks that hold the same block, the first one has it.

    `held` is saved in place of the tensor's own part: what belongs to it and is split as it is.
    """
    part = local(tensor.detach()) if held is None else local(held)
    if not isinstance(tensor, DTensor) or tensor.numel() == 0:
        return part
    coordinates = tensor.device_mesh.get_coordinate()
    assert coordinates is not None
    first = all(
        place == 0 for place, placement in zip(coordinates, tensor.placements, strict=True) if placement.is_replicate()
    )
    blocks = [(offset, part[rows] if part.ndim else part) for rows, offset, _ in spans(tensor)] if first else []
    return Piece(tuple(tensor.shape), part.dtype, blocks)


def part_of(saved: Tensor | Pieces, tensor: Tensor) -> Tensor:
    """This rank's part of what was saved whole or in pieces, as `tensor` is split; perhaps in the memory of `saved`."""
    if not isinstance(tensor, DTensor):
        found: Tensor = whole(saved)
        return found
    parts = [region(saved, offset, shape) for _, offset, shape in spans(tensor)]
    if not parts:
        return torch.empty(block(tensor)[0], dtype=saved.dtype)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def fill(tensor: Tensor, saved: Tensor | Pieces) -> None:
    """Copy what was saved, whole or in pieces, into a tensor that may be split otherwise."""
    with torch.no_grad():
        local(tensor).copy_(part_of(saved, tensor))


def like(tensor: Tensor, saved: Tensor | Pieces) -> Tensor:
    """What was saved of a parameter's moments, split as the parameter is; a copy."""
    if not isinstance(tensor, DTensor) or tuple(saved.shape) != tuple(tensor.shape) or not saved.shape:
        found: Tensor = whole(saved)
        return found.clone()
    part = part_of(saved, tensor).to(tensor.to_local().device, copy=True)
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
        square = torch.linalg.vector_norm(torch.stack(foreach_norm(group))).square().to(device)
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
