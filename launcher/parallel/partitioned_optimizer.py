"""Optimizers of which each rank does a part: whole parameters dealt to ranks, or its part of every parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from launcher.adapters.torch import foreach_copy_
from launcher.artifacts.checkpoint.pieces import Piece, Pieces, whole

from .dtensor_parts import local, part_of, piece

Make = Callable[[list[dict[str, Any]]], Optimizer]

ELEMENTWISE = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD")
"""Of torch.optim, those that look at each element alone."""


class PartOptimizer(Optimizer):
    """The groups of `groups`, whose parameters `inner`, an optimizer of this rank's part of them, updates.

    Options of the groups (the rate that a scheduler sets, the steps that an optimizer counts) are handed on both ways.
    Between two steps these groups have the newer ones, which the schedule has moved since: what is saved is theirs.
    """

    def __init__(self, inner: Optimizer, groups: list[dict[str, Any]]) -> None:
        self.inner = inner
        completed = [
            {key: value for key, value in own.items() if key != "params"} | {"params": group["params"]}
            for own, group in zip(inner.param_groups, groups, strict=True)
        ]
        super().__init__(completed, inner.defaults)

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]  # torch's own overloads
        self.hand_down()
        loss: Tensor | None = self.inner.step(closure)  # type: ignore[arg-type]  # torch's closures return floats
        self.hand_up()
        return loss

    def hand_down(self) -> None:
        """Give the inner optimizer what it needs for a step."""
        _hand(self.param_groups, self.inner.param_groups)

    def hand_up(self) -> None:
        """Take over what a step of the inner optimizer has changed."""
        _hand(self.inner.param_groups, self.param_groups)

    def options(self) -> list[dict[str, Any]]:
        """The options of each group as the next step will have them."""
        return [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]

    def saved_groups(self, options: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The groups of a `state_dict`: these options, and the parameters by their numbers."""
        numbers = iter(range(sum(len(group["params"]) for group in self.param_groups)))
        return [
            own | {"params": [next(numbers) for _ in group["params"]]}
            for own, group in zip(options, self.param_groups, strict=True)
        ]


def _hand(source: list[dict[str, Any]], target: list[dict[str, Any]]) -> None:
    for ours, theirs in zip(source, target, strict=True):
        theirs.update({key: value for key, value in ours.items() if key != "params"})


class LocalOptimizer(PartOptimizer):
    """For parameters that are split: the inner optimizer sees this rank's part of each as a plain tensor.

    Only for optimizers that look at each element alone, of which a part is then what it is of the whole. Kernels that
    know nothing of split tensors work, and a step costs none of their bookkeeping.
    """

    def __init__(self, make: Make, groups: list[dict[str, Any]]) -> None:
        self._pairs = [(each, nn.Parameter(local(each.detach()))) for group in groups for each in group["params"]]
        part = dict(self._pairs)
        super().__init__(
            make([group | {"params": [part[each] for each in group["params"]]} for group in groups]), groups
        )

    def hand_down(self) -> None:
        super().hand_down()
        for parameter, part in self._pairs:
            part.grad = None if parameter.grad is None else local(parameter.grad)

    def hand_up(self) -> None:
        super().hand_up()
        for _, part in self._pairs:
            part.grad = None

    def state_dict(self) -> dict[str, Any]:
        """As the optimizer's own of the whole parameters; what is split is a piece."""
        found = self.inner.state_dict()
        states = {
            index: {key: self._piece(index, value) for key, value in state.items()}
            for index, state in found["state"].items()
        }
        return {"state": states, "param_groups": self.saved_groups(self.options())}

    def _piece(self, index: int, value: Any) -> Any:
        parameter, part = self._pairs[index]
        if not isinstance(value, Tensor) or value.shape != part.shape or not value.ndim:
            return value
        return piece(parameter, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what any way of running in parallel saved, at any number of ranks."""
        own = {
            index: {key: self._part(index, value) for key, value in state.items()}
            for index, state in state_dict["state"].items()
        }
        self.inner.load_state_dict({"state": own, "param_groups": whole(state_dict["param_groups"])})
        super().hand_up()

    def _part(self, index: int, value: Any) -> Any:
        if not isinstance(value, Tensor | Pieces):
            return value
        parameter, _ = self._pairs[index]
        if tuple(value.shape) != tuple(parameter.shape) or not value.shape:
            return whole(value).clone()
        return part_of(value, parameter).clone()


def looks_at_each_element(optimizer: Optimizer) -> bool:
    """Whether an optimizer's step of a part of a parameter is that part of its step of the whole."""
    kind = type(optimizer)
    return bool(getattr(kind, "elementwise", False)) or any(kind is getattr(torch.optim, name) for name in ELEMENTWISE)


class DealtOptimizer(PartOptimizer):
    """Each rank updates the parameters that are dealt to it and sends them to the others.

    The largest are dealt first, each to the rank that has least so far.
    """

    def __init__(self, make: Make, groups: list[dict[str, Any]], rank: int, num_ranks: int) -> None:
        self.rank, self.num_ranks = rank, num_ranks
        parameters = [parameter for group in groups for parameter in group["params"]]
        self.owners = deal([parameter.numel() for parameter in parameters], num_ranks)
        number = {parameter: index for index, parameter in enumerate(parameters)}
        mine = [
            group | {"params": [each for each in group["params"] if self.owners[number[each]] == rank]}
            for group in groups
        ]
        super().__init__(make(mine), groups)
        self._parameters = parameters
        self._number = number

    def hand_up(self) -> None:
        super().hand_up()
        self._send()

    @torch.no_grad()
    def _send(self) -> None:
        """Every parameter from its owner to all ranks, those of one owner and type as one message."""
        messages: dict[tuple[int, torch.dtype], list[Tensor]] = {}
        for parameter, owner in zip(self._parameters, self.owners, strict=True):
            messages.setdefault((owner, parameter.dtype), []).append(parameter)
        sent = []
        for (owner, _), tensors in messages.items():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            sent.append((dist.broadcast(flat, owner, async_op=True), owner, flat, tensors))
        for work, owner, flat, tensors in sent:
            work.wait()
            if owner != self.rank:
                parts = flat.split([tensor.numel() for tensor in tensors])
                foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """As the optimizer's own of all parameters, every tensor in it a piece. Every rank has to call it."""
        order = [self._number[each] for group in self.inner.param_groups for each in group["params"]]
        inner = self.inner.state_dict()
        mine = {order[index]: as_pieces(state) for index, state in inner["state"].items()}
        said = {
            "state": {index: described(state) for index, state in mine.items()},
            "options": [  # of a group in which a rank has no parameter, it has counted nothing
                own if group["params"] else None
                for own, group in zip(self.options(), inner["param_groups"], strict=True)
            ],
        }
        heard: list[Any] = [None] * self.num_ranks
        dist.all_gather_object(heard, said)
        states = {index: state for each in heard for index, state in each["state"].items()} | mine
        options = [
            next(each["options"][number] for each in heard if each["options"][number] is not None)
            for number in range(len(self.param_groups))
        ]
        return {"state": {index: states[index] for index in sorted(states)}, "param_groups": self.saved_groups(options)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what this, or the optimizer without parts, saved at any number of ranks."""
        order = [self._number[each] for group in self.inner.param_groups for each in group["params"]]
        own = {
            index: copied(state_dict["state"][number])
            for index, number in enumerate(order)
            if number in state_dict["state"]
        }
        groups, start = [], 0
        for saved, inner in zip(state_dict["param_groups"], self.inner.param_groups, strict=True):
            end = start + len(inner["params"])
            groups.append(saved | {"params": list(range(start, end))})
            start = end
        self.inner.load_state_dict({"state": own, "param_groups": groups})
        super().hand_up()


def deal(sizes: list[int], num_ranks: int) -> list[int]:
    """The rank that each of the tensors of these sizes goes to: the largest first, to who has least."""
    loads, owners = [0] * num_ranks, [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        owners[index] = min(range(num_ranks), key=loads.__getitem__)
        loads[owners[index]] += sizes[index]
    return owners


def as_pieces(state: dict[str, Any]) -> dict[str, Any]:
    """A parameter's entry, its tensors as pieces that this rank holds whole."""
    return {
        key: Piece(tuple(value.shape), value.dtype, [((0,) * value.ndim, value)])
        if isinstance(value, Tensor)
        else value
        for key, value in state.items()
    }


def described(state: dict[str, Any]) -> dict[str, Any]:
    """The same as another rank has it: of the pieces their shapes."""
    return {
        key: Piece(value.shape, value.dtype, []) if isinstance(value, Piece) else value for key, value in state.items()
    }


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """A parameter's saved entry, in memory of its own."""
    return {key: each.clone() if isinstance(each, Tensor) else each for key, each in whole(state).items()}
