"""Weights that several ranks hold alike: whether they still do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from launcher.core.collectives import Difference

_WHOLE_NUMBERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Group = tuple[Any, dict[str, Tensor]]
"""A process group (None: all ranks), and the tensors that are to be the same on each of its ranks, by their names."""


@torch.no_grad()
def difference(groups: Sequence[Group], device: torch.device) -> Difference | None:
    """The weight that differs most between ranks that should hold the same; None where all are bit for bit alike.

    What is compared is the sum of each tensor's bits, read as whole numbers: one pass over the weights, and one message of
    two numbers a tensor. Every rank of a group has to come here, and those of one group hear the same.
    """
    found: Difference | None = None
    for group, tensors in groups:
        if not tensors:
            continue
        sums = torch.stack([_bits(tensor).to(device) for tensor in tensors.values()])
        most, least = _extremes(sums, ~sums, group)
        if torch.equal(most, ~least):
            continue
        values = [tensor.detach().double() for tensor in tensors.values()]
        totals = torch.stack([value.sum() for value in values]).to(device)
        sizes = torch.stack([value.abs().sum() for value in values]).to(device)
        most, least = _extremes(totals, -totals, group)
        shares = torch.nan_to_num((most + least) / sizes.clamp(min=1e-300), nan=torch.inf)
        index = int(shares.argmax())
        worst = Difference(list(tensors)[index], float(shares[index]))
        found = worst if found is None or worst.share > found.share else found
    return found


def _bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's elements, each read as a whole number of as many bits; overflow wraps around."""
    return tensor.detach().contiguous().view(-1).view(_WHOLE_NUMBERS[tensor.element_size()]).sum(dtype=torch.int64)


def _extremes(first: Tensor, second: Tensor, group: Any) -> tuple[Tensor, Tensor]:
    """The largest over the ranks of two tensors of one shape, by one message."""
    both = torch.stack([first, second])
    dist.all_reduce(both, op=dist.ReduceOp.MAX, group=group)
    return both[0], both[1]
