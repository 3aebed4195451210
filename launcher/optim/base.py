"""What the optimizers of this room share: the outer step, portions for the cache, and models with other weights."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PORTION = 1 << 17
"""Elements that a thread updates at a time on a CPU."""


class GroupOptimizer(Optimizer):
    """An optimizer that updates one group at a time, and leaves the gradients as they are."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]  # torch's own overloads
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self.update(group, weights)
        return loss

    @abstractmethod
    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        """Take a step of the `weights` of a group, all of which have gradients; without autograd.

        A weight's gradient may come later than its group's first, and may be missing at a step: what is counted of steps
        is counted for each weight.
        """

    def counted(self, weights: Sequence[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        """Counts this step for each of the weights (`steps` of its state), and gives those that have taken as many."""
        found: dict[int, list[Tensor]] = {}
        for weight in weights:
            state = self.state[weight]
            state["steps"] = state.get("steps", 0) + 1
            found.setdefault(state["steps"], []).append(weight)
        yield from found.items()


def portions(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Lists of tensors (weights, gradients, moments: the n-th of each of one shape) in portions to be updated in turn.

    For updates that look at each element alone. An update is several operations, each of which reads and writes
    tensors of the size of the weights: on a CPU a portion that fits the caches of its cores goes through memory once
    instead of once an operation. So small tensors go together and large ones are cut. On an accelerator all go at once.
    """
    first, most = lists[0], PORTION * torch.get_num_threads()
    if (
        first[0].device.type != "cpu"
        or sum(tensor.numel() for tensor in first) <= most
        or any(type(tensor) not in (Tensor, nn.Parameter) for tensor in first)
    ):
        yield tuple(list(each) for each in lists)
        return
    together: list[tuple[Tensor, ...]] = []
    size = 0
    for tensors in zip(*lists, strict=True):
        num = tensors[0].numel()
        if num > most and all(tensor.is_contiguous() for tensor in tensors):
            for piece in zip(*(tensor.view(-1).split(most) for tensor in tensors), strict=True):
                yield tuple([part] for part in piece)
            continue
        if together and size + num > most:
            yield tuple(map(list, zip(*together, strict=True)))
            together, size = [], 0
        together.append(tensors)
        size += num
    if together:
        yield tuple(map(list, zip(*together, strict=True)))


def with_weights(model: nn.Module, weights: Mapping[Tensor, Tensor]) -> nn.Module:
    """A copy of `model` in which the parameters that are keys of `weights` have the values given for them."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), copied.parameters(), strict=True):
            if ours in weights:
                theirs.copy_(weights[ours])
    return copied
