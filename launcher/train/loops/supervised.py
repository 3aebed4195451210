"""The supervised loop: batches with targets, one optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from launcher.train.step import TrainingStep

from .base import Stepped

if TYPE_CHECKING:
    from launcher.core.loop import StepResult
    from launcher.core.run import Run


class Supervised(Stepped):
    """Fits `run.main` to the batches of `run.loaders.train`, one a step."""

    can: ClassVar[frozenset[str]] = Stepped.can | {"rehearse"}

    def start(self, run: Run) -> None:
        train = run.loaders.train
        self._batches = train.start(run.progress.step)
        self._training_step = TrainingStep(run)
        self._counts_tokens = run.task.tokens(train.samples.fetch(torch.zeros(1, dtype=torch.int64))) is not None
        run.main.model.train()

    def step(self, run: Run) -> StepResult:
        micro = self._training_step.take(run, self._batches)
        result = self._training_step(run, micro)
        if self._counts_tokens:
            tokens = sum(run.task.tokens(batch) or 0 for batch in micro)
            run.progress.tokens += tokens * run.parallel.num_data_ranks
        return result

    def samples(self, run: Run, step: int) -> list[int]:
        return [int(each) for each in run.loaders.train.indices(step)]
