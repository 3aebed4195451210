"""Tensors from rank to rank: to the next or to all of a group, of a size that only the sender knows, and sums over one."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def pass_on(x: Tensor | None, source: int, target: int, group: Any, device: torch.device) -> Tensor | None:
    """What rank `source` has as `x`, on rank `target`; other ranks keep theirs and need not come here."""
    if dist.get_rank() == source:
        assert x is not None
        dist.send_object_list([(tuple(x.shape), x.dtype)], target, group=group, device=device)
        dist.send(x.contiguous(), target, group=group)
    elif dist.get_rank() == target:
        about: list[Any] = [None]
        dist.recv_object_list(about, source, group=group, device=device)
        x = torch.empty(about[0][0], dtype=about[0][1], device=device)
        dist.recv(x, source, group=group)
    return x


def add_up(tensors: list[Tensor], group: Any) -> None:
    """Each of the tensors, in place, summed over the ranks of a group, by one message."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat, group=group)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def tell(x: Tensor | None, source: int, group: Any, device: torch.device) -> Tensor:
    """What rank `source` has as `x`, on every rank of the group; all of them come here."""
    about: list[Any] = [None if x is None or dist.get_rank() != source else (tuple(x.shape), x.dtype)]
    dist.broadcast_object_list(about, source, group=group, device=device)
    if dist.get_rank() != source or x is None:
        x = torch.empty(about[0][0], dtype=about[0][1], device=device)
    x = x.contiguous()
    dist.broadcast(x, source, group=group)
    return x
