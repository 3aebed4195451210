"""Where the time of a step goes."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from launcher.adapters.torch import after_backward, communication_times
from launcher.core.algorithm import Monitor
from launcher.core.loss import Loss
from launcher.core.run import Run
from launcher.data.samples import Batch

from .moments import Moment, moment, seconds_between

PARTS = ("data", "forward", "backward", "communication", "optimizer")


class StepTime(Monitor):
    """Logs the mean milliseconds of a step's parts since the line before: `time/data_ms`, `forward`, `backward`,
    `communication`, `optimizer`, and `time/step_ms`, their sum.

    *data* is the wait for the next batch and its way to the device; *communication*, what of the exchange of gradients
    was not hidden behind the backward pass; *optimizer*, clipping and the schedule included. What is done between two
    steps (a line, an evaluation, a checkpoint) is no part of them. On a GPU the parts are those of the device's
    own stream, by events that are read at log lines: no step waits.

    Under DDP also `communication/total_ms` and `communication/hidden` (the share behind the backward pass), which torch
    samples, with `communication/mib` of gradients a step and `communication/gib_s`, the bandwidth that a ring over n ranks
    would have to have: 2 (n - 1) / n times the bytes, over the time.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[str, Moment]] = []
        self._steps: list[list[tuple[str, Moment]]] = []
        self._on_gpu = False

    def fit_start(self, run: Run) -> None:
        self._on_gpu = run.parallel.device.type == "cuda"

    def go_on(self, run: Run) -> None:
        self._marks = [("end", moment(self._on_gpu))]

    def batch(self, run: Run, batch: Batch) -> Batch:
        if self._marks[-1][0] == "communication":  # the step before was left out
            self._marks = [("end", self._marks[-1][1])]
        if self._marks[-1][0] == "end":
            self._mark("data")
        return batch

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        self._mark("forward")
        if loss.sum.requires_grad:
            loss.sum.register_hook(self._at_backward)
        return loss

    def _at_backward(self, gradient: torch.Tensor) -> None:
        """The first thing a backward pass does is to ask to be told of its end."""
        after_backward(lambda: self._mark("backward"))

    def gradients(self, run: Run) -> None:
        self._mark("communication")

    def after_step(self, run: Run) -> None:
        self._mark("optimizer")
        self._steps.append(self._marks)
        self._marks = [("end", self._marks[-1][1])]

    def _mark(self, part: str) -> None:
        self._marks.append((part, moment(self._on_gpu)))

    def log(self, run: Run) -> dict[str, float]:
        steps, self._steps = self._steps, []
        sums, nums = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0)
        for marks in steps:
            seen = set()
            for (_, before), (part, after) in itertools.pairwise(marks):
                sums[part] += 1000 * seconds_between(before, after)
                seen.add(part)
            for part in seen:
                nums[part] += 1
        means = {part: sums[part] / nums[part] for part in PARTS if nums[part]}
        if not means:
            return {}
        found = {f"time/{part}_ms": value for part, value in means.items()}
        return found | {"time/step_ms": sum(means.values())} | _exchanged(run)


def _exchanged(run: Run) -> dict[str, float]:
    """What DDP's own clock says of its collectives."""
    told = None if run.parallel.world_size == 1 else communication_times(run.main.model)
    if told is None:
        return {}
    whole, hidden = told.get("avg_backward_comm_time", 0), told.get("avg_backward_compute_comm_overlap_time", 0)
    if not whole:
        return {}
    # Not the gradients: they are gone by now.
    sent = [each for each in run.main.model.parameters() if each.requires_grad]
    ranks, num_bytes = run.parallel.world_size, sum(each.numel() * each.element_size() for each in sent)
    seconds = whole / 1e9
    found = {"communication/total_ms": 1000 * seconds, "communication/hidden": hidden / whole}
    if num_bytes:
        found["communication/mib"] = num_bytes / (1 << 20)
        found["communication/gib_s"] = 2 * (ranks - 1) / ranks * num_bytes / seconds / (1 << 30)
    return found
