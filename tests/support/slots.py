"""Digits whose stages write down when they compute; LAUNCHER_TRUST has to allow `tests.support.slots.*`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from launcher.tasks.image_classification import ImageClassification

TRUST = {"LAUNCHER_TRUST": "tests.support.slots.*"}


class Slot(NamedTuple):
    """What a process does at a time: the forward pass of a portion through a stage, or the backward pass."""

    stage: int
    backward: bool


class Noted(ImageClassification):
    """Rank r writes each slot of its stages that learn into the file `<path>-<r>`, a line each, in their order."""

    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.path = Path(f"{path}-{os.environ.get('RANK', '0')}")

    def stages(self, model: nn.Module, num: int | None) -> list[nn.Module]:
        found: list[nn.Module] = super().stages(model, num)
        for index, stage in enumerate(found):
            stage.register_forward_hook(partial(self._passed, index))
        return found

    def _passed(self, index: int, stage: nn.Module, received: Any, output: Tensor) -> None:
        if output.requires_grad:
            self._note(index, "forward")
            output.register_hook(lambda gradient: self._note(index, "backward"))

    def _note(self, index: int, what: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{index} {what}\n")


def noted(path: Path) -> list[Slot]:
    """What a rank wrote."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Slot(int(index), what == "backward") for index, what in lines]


def waiting(orders: list[list[Slot]], num_stages: int) -> float:
    """The share of a step in which processes wait, where each does its slots in that order, every slot takes as long
    and messages no time. A stage takes the portions one after the other: its nth forward slot is that of the nth."""
    ended: dict[tuple[Slot, int], int] = {}
    left = [list(order) for order in orders]
    counts: list[dict[Slot, int]] = [{} for _ in orders]
    time = 0
    while any(left):
        begun = []
        for order, count in zip(left, counts, strict=True):
            if not order:
                continue
            slot, number = order[0], count.get(order[0], 0)
            if slot.backward:
                before = Slot(slot.stage + 1, True) if slot.stage + 1 < num_stages else Slot(slot.stage, False)
            else:
                before = Slot(slot.stage - 1, False)
            if before.stage < 0 or ended.get((before, number), time + 1) <= time:
                begun.append((order.pop(0), number))
                count[slot] = number + 1
        assert begun, "each waits for another one"
        time += 1
        ended |= dict.fromkeys(begun, time)
    return 1 - sum(map(len, orders)) / (len(orders) * time)
