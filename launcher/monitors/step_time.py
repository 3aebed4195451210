"""Where the time of a step goes."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from torch.autograd import Variable

from launcher.algorithm import Monitor
from launcher.data import Batch
from launcher.run import Loss, Run

PARTS = ("data", "forward", "backward", "communication", "optimizer")
Mark = Any
"""A point in time: seconds, or an event in the device's stream."""


class StepTime(Monitor):
    """Logs the mean milliseconds of a step's parts since the line before: `time/data_ms`, `forward`, `backward`,
    `communication`, `optimizer`, and `time/step_ms`, their sum.

    *data* is the wait for the next batch and its way to the device; *communication*, what of the exchange of gradients
    was not hidden behind the backward pass; *optimizer*, clipping and the schedule included. A step in which something
    else is done (a line, an evaluation, a checkpoint) is timed without that. On a GPU the parts are those of the device's
    own stream, by events that are read at log lines: no step waits.

    Under DDP also `communication/total_ms` and `communication/hidden` (the share behind the backward pass), which torch
    samples, with `communication/mib` of gradients a step and `communication/gib_s`, the bandwidth that a ring over n ranks
    would have to have: 2 (n - 1) / n times the bytes, over the time.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[str, Mark]] = []
        self._steps: list[list[tuple[str, Mark]]] = []
        self._on_gpu = False

    def fit_start(self, run: Run) -> None:
        self._on_gpu = run.parallel.device.type == "cuda"

    def batch(self, run: Run, batch: Batch) -> Batch:
        if not self._marks or self._marks[-1][0] == "end":
            self._mark("data")
        return batch

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        self._mark("forward")
        if loss.sum.requires_grad:
            loss.sum.register_hook(self._at_backward)
        return loss

    def _at_backward(self, gradient: torch.Tensor) -> None:
        """The first thing a backward pass does is to ask to be told of its end."""
        Variable._execution_engine.queue_callback(lambda: self._mark("backward"))

    def gradients(self, run: Run) -> None:
        self._mark("communication")

    def after_step(self, run: Run) -> None:
        self._mark("optimizer")
        self._steps.append(self._marks)
        plan, step = run.plan, run.progress.step + 1
        intervals = (plan.log_every, plan.eval_every, plan.checkpoint_every)
        busy = any(every and step % every == 0 for every in intervals)
        # What comes after a step in which something else is done is no wait for data.
        self._marks = [] if busy else [("end", self._marks[-1][1])]

    def _mark(self, part: str) -> None:
        mark: Mark = time.perf_counter()
        if self._on_gpu:
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        self._marks.append((part, mark))

    def log(self, run: Run) -> dict[str, float]:
        steps, self._steps = self._steps, []
        sums, nums = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0)
        for marks in steps:
            seen = set()
            for (_, before), (part, after) in itertools.pairwise(marks):
                sums[part] += before.elapsed_time(after) if self._on_gpu else 1000 * (after - before)
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
    logged = getattr(run.main.model, "_get_ddp_logging_data", None)
    if logged is None or run.parallel.world_size == 1:
        return {}
    told = logged()
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
