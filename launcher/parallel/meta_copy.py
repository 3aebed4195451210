"""A model without its memory, from which one is made that can be exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def outline(model: nn.Module) -> nn.Module:
    """A copy of a model without memory for its parameters."""
    memo: dict[int, Any] = {
        id(each): nn.Parameter(torch.empty_like(each, device="meta"), requires_grad=each.requires_grad)
        for each in model.parameters()
    }
    return copy.deepcopy(model, memo)


def filled(made: nn.Module, live: nn.Module) -> nn.Module:
    """A copy of an outline on the CPU: room for its parameters, and the buffers of `live`."""
    memo: dict[int, Any] = {
        id(each): nn.Parameter(torch.empty_like(each, device="cpu"), requires_grad=each.requires_grad)
        for each in made.parameters()
    }
    memo |= {
        id(ours): theirs.detach().cpu().clone() for ours, theirs in zip(made.buffers(), live.buffers(), strict=True)
    }
    return copy.deepcopy(made, memo)
