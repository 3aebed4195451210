"""Whether a fit can go on: its losses and weights are finite, and ranks that are to hold the same weights do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import torch

from launcher.adapters.torch import foreach_norm
from launcher.errors import TrainingError

if TYPE_CHECKING:
    from launcher.core.run import Run

Samples = Callable[["Run", int], list[int]]
"""Gives the training samples that a step (from 0) was made of; none where that is not known."""


class Soundness:
    """Ends a fit with a TrainingError that names the step, its samples and the last good checkpoint. Every rank asks."""

    def __init__(self) -> None:
        self._warned = False  # of weights that differ between ranks in their last bits

    def check_losses(self, run: Run, step: int, samples: Samples) -> None:
        """The losses since the last line, all at once; the first one that is not finite is named."""
        if not run.pending:
            return
        sums = run.parallel.sum(torch.stack([total for total, _ in run.pending]).cpu().double())
        bad = (~torch.isfinite(sums)).nonzero()
        if len(bad):
            first = step - len(run.pending) + int(bad[0]) + 1
            _fail(run, f"the loss is {sums[bad[0]].item()}", first, samples)

    def check_weights(self, run: Run, step: int, samples: Samples) -> None:
        """A checkpoint is good to go on from: no step before it, this one included, has ruined the weights, and ranks that
        are to hold the same do."""
        held = run.parallel.weights(run.main.model)
        weights = [each for each in held if each.is_floating_point() and each.numel()]
        sizes = [size.to(run.parallel.device) for size in foreach_norm(weights, ord=torch.inf)]
        bad = bool(sizes) and not torch.isfinite(torch.stack(sizes)).all()
        if run.parallel.max(float(bad)):
            _fail(run, "the weights are not finite", step, samples)
        different = run.parallel.differing(run.main.model)
        if different is None:
            return
        if not different.is_rounding:
            run.checkpoints.wait()
            raise TrainingError(different.told(step))
        if not self._warned and run.parallel.is_main:
            run.recorder.warn(
                f"{different.name} differs in its last bits between ranks: their processors round differently"
            )
        self._warned = True


def _fail(run: Run, what: str, step: int, samples: Samples) -> NoReturn:
    """Ends the fit at what `step`, counted from 1, did; every rank comes here."""
    rows = samples(run, step - 1)
    run.checkpoints.wait()
    run.parallel.barrier()  # the main rank's last checkpoint is there before another rank looks for it
    steps = run.checkpoints.steps()
    shown = ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")
    raise TrainingError(
        f"{what} at step {step} (epoch {(step - 1) // run.plan.steps_per_epoch + 1}"
        + (f", training samples {shown}" if rows else "")
        + "). Try a lower optimizer.lr, scheduler.warmup, training.clip_norm=1"
        + (", precision=bf16 or fp32" if run.parallel.precision.mixed else "")
        + ". "
        + (
            f"The last good checkpoint is {run.checkpoints.folder / f'step-{steps[-1]}'}."
            if steps
            else "There is no checkpoint yet."
        )
    )
