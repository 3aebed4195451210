"""When a fit that has a limit of time leaves its loop: early enough for what is still to be done then."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

from .evidence import LIMIT, NEW_TOKENS, PROMPTS

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.data.batches import EvalBatches

BYTES_PER_S = 200e6
"""What a disk is taken to write before the run has written a checkpoint."""


class Deadline:
    """The limit less what the end costs: the last evaluation, its checkpoint, reading it back for the export, and the
    closer look at what the best weights do.

    Each is predicted to take what it took the last time in this run. Before there was one, an evaluation is as many times
    its first batch as it has batches (that batch is judged here, and what it loads once, torchmetrics, is loaded then),
    and a checkpoint holds three times the weights. The closer look takes as long a sample as an evaluation, on the main
    rank alone; where it goes on with texts, as many times some first tokens as it makes.
    """

    def __init__(self, run: Run, max_time: float) -> None:
        self.run = run
        self.step_s = 0.0
        self.evaluation_s = 0.0
        self.num_saves = 0
        self._spent_before = self._spent_on_saves()
        self._weights_s = (
            3 * sum(each.nbytes for each in run.parallel.unwrap(run.main.model).parameters()) / BYTES_PER_S
        )
        self._last: float | None = None
        self._ahead = 1 if run.parallel.world_size == 1 else 2  # steps; ranks agree one step late
        self._end = time.monotonic() + max_time - run.progress.elapsed()
        self._predicts, self._looks, self._texts_s = False, 0.0, 0.0
        if run.loaders.val is not None:
            self.evaluation_s = self._first_batch_s(run.loaders.val)
            self._looks = self._looked_at(run.loaders.val)
            self._texts_s = self._going_on_s(run.loaders.val)

    def due(self) -> bool:
        """Whether the step that has just ended is the last one that there is time for."""
        now = time.monotonic()
        if self._last is not None:
            taken = now - self._last
            self.step_s += (taken - self.step_s) * (0.1 if self.step_s else 1.0)
        self._last = now
        return now + self._ahead * self.step_s >= self._end - self.finish_s()

    def near(self) -> bool:
        """Whether an evaluation now would leave no time for the one at the end."""
        once = self.evaluation_s + self._predicted_save()
        return time.monotonic() + self._ahead * self.step_s + once >= self._end - self.finish_s()

    def evaluated(self, seconds: float) -> None:
        """An evaluation took so long."""
        self.evaluation_s = seconds

    def saved(self) -> None:
        """A checkpoint was begun."""
        self.num_saves += 1

    def pause(self) -> None:
        """What was done since the last step is no part of the next one's time."""
        self._last = None

    def finish_s(self) -> float:
        """Seconds from the last step to the exported model."""
        return (1 + self._looks) * self.evaluation_s + self._texts_s + 2 * self._predicted_save()

    def _looked_at(self, batches: EvalBatches) -> float:
        """How many evaluations the closer look is like; those are shared by the ranks."""
        if not self._predicts:
            return 0.0
        return batches.world_size * (1.0 if self.run.settings.predictions else min(1.0, LIMIT / max(1, batches.num)))

    @torch.no_grad()
    def _going_on_s(self, batches: EvalBatches) -> float:
        if not self.run.parallel.whole_weights:
            return 0.0
        batch = batches.samples.fetch(torch.arange(min(PROMPTS, len(batches.samples))))
        started = time.monotonic()
        self.run.task.continued(self.run.parallel.unwrap(self.run.main.model), batch, 4)
        return (time.monotonic() - started) * NEW_TOKENS / 4

    @torch.no_grad()
    def _first_batch_s(self, batches: EvalBatches) -> float:
        run, parallel = self.run, self.run.parallel
        metrics = run.task.metrics().to(parallel.device)
        model = parallel.unwrap(run.main.model)
        training = model.training
        model.eval()
        started = time.monotonic()
        for batch in batches:
            batch = parallel.place(batch)
            with parallel.precision.autocast(parallel.device):
                output = parallel.forward(run.task, model, batch)
                float(run.task.loss(output, batch).sum)
            run.task.update(metrics, output, batch)
            self._predicts = bool(run.task.predictions(output, batch))
            break
        taken = time.monotonic() - started
        model.train(training)
        return taken * math.ceil(batches.num / (batches.batch_size * batches.world_size))

    def _predicted_save(self) -> float:
        if not self.num_saves:
            return self._weights_s
        return (self._spent_on_saves() - self._spent_before) / self.num_saves

    def _spent_on_saves(self) -> float:
        return self.run.checkpoints.blocked_s + self.run.checkpoints.written_s
