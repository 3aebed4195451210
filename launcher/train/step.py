"""One training step, for whoever takes one: the supervised loop, the range test, the batch-size search, the pace of a plan
and the memory estimate."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.core.algorithm import overriding
from launcher.core.loop import StepResult

if TYPE_CHECKING:
    from launcher.core.algorithm import Algorithm
    from launcher.core.run import Run
    from launcher.data.samples import Batch


class TrainingStep:
    """The step of `run.main`, with the hooks of `algorithms` (all of the run's, where not given) in their order; the hooks
    are looked up once, so that one that nobody overrides costs a step nothing.

    `take` gives the micro-batches of a step as the algorithms have them, a call makes the step of these. Whoever takes
    steps counts them: `run.progress.step` is the number of the ones before, in every hook.
    """

    def __init__(self, run: Run, algorithms: list[Algorithm] | None = None) -> None:
        hooked = run.algorithms if algorithms is None else algorithms
        self.loss_hooks = overriding(hooked, "loss")
        self._epoch_hooks, self._batch_hooks = overriding(hooked, "epoch_start"), overriding(hooked, "batch")
        self._gradient_hooks, self._after_hooks = overriding(hooked, "gradients"), overriding(hooked, "after_step")
        self._step_hook = next(iter(overriding(hooked, "step")), None)  # of a run one algorithm at most has it
        self._clips = run.settings.clip_norm is not None or run.settings.clip_value is not None
        self._parameters = [each for group in run.main.optimizer.param_groups for each in group["params"]]

    def take(self, run: Run, batches: Iterator[list[Batch]]) -> list[Batch]:
        """The next step's micro-batches: on this rank's device, and as the `batch` hooks give them back. The first ones of an
        epoch are preceded by `epoch_start`."""
        if self._epoch_hooks and run.progress.step % run.plan.steps_per_epoch == 0:
            for hook in self._epoch_hooks:
                hook(run)
        micro = [run.parallel.place(batch) for batch in next(batches)]
        for hook in self._batch_hooks:
            micro = [hook(run, batch) for batch in micro]
        return micro

    def __call__(self, run: Run, micro: list[Batch]) -> StepResult:
        """Forward, backward, divide, clip, step: once, from the micro-batches that `take` gave."""
        parallel = run.parallel
        loss, weight = parallel.forward_backward(run, micro, self.loss_hooks)
        if parallel.scaler is not None:
            parallel.unscale(run)
        skipped = False
        for hook in self._gradient_hooks:
            skipped = bool(hook(run)) or skipped  # each has its turn
        if skipped:
            parallel.skip(run)
        else:
            if self._clips:
                parallel.clip_asked(run)
            if self._step_hook is not None:
                self._step_hook(run, micro, functools.partial(parallel.recompute, run, micro, self.loss_hooks))
            else:
                parallel.step(run)
        run.main.scheduler.step()
        if not skipped:
            for hook in self._after_hooks:
                hook(run)
        for parameter in self._parameters:  # what zero_grad() does, without its bookkeeping
            parameter.grad = None
        return StepResult(loss, weight, skipped)
