"""What an evaluation has predicted, kept for whoever looks at the run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST = 1 << 22
"""Numbers that are kept: 16 MB, all samples that are looked at where there are a few hundred classes."""


class Seen:
    """The columns of `Task.predictions` for the first samples of a rank's share of an evaluation, where the model is: that
    nobody waits for them is why they cost nothing.

    `at` are the samples' places among the held-out ones, in the order in which they are taken.
    """

    def __init__(self, step: int, at: Tensor) -> None:
        self.step = step
        self._at, self._left = at, MOST
        self._batches: list[dict[str, Tensor]] = []

    def take(
        self, predictions: Callable[[Any, dict[str, Tensor]], dict[str, Tensor]], output: Any, batch: dict[str, Tensor]
    ) -> None:
        """Keep what was predicted of a batch, while there is room."""
        if self._left <= 0 or sum(len(each["label"]) for each in self._batches) >= len(self._at):
            return
        columns = predictions(output, batch)
        self._left = self._left - sum(column.numel() for column in columns.values()) if columns else 0
        if columns:
            self._batches.append({name: column.detach() for name, column in columns.items()})

    def columns(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The columns, and the places of their samples; without columns where the task predicts nothing of a sample."""
        if not self._batches:
            return {}, np.zeros(0, dtype=np.int64)
        found = {name: torch.cat([each[name] for each in self._batches]).cpu().numpy() for name in self._batches[0]}
        num = min(len(self._at), *map(len, found.values()))
        return {name: column[:num] for name, column in found.items()}, self._at[:num].numpy()
