"""Algorithms change the training, monitors watch it; this is the loop they hook into.

    model = task.model()                      ► algorithm.model          surgery: LoRA, QAT, stochastic depth
    frozen = task.frozen()                    ► algorithm.frozen         a teacher, a reference
    groups of parameters                      ► algorithm.param_groups   rates and decay per group
    optimizer, scheduler, wrapping, restore   ► algorithm.fit_start
    nothing is done beside steps          ► algorithm.go_on          at the start, and after lines, evaluations, checkpoints
    while not done:
        at an epoch's start                   ► algorithm.epoch_start
        micro-batches of one step             ► algorithm.batch          mixup, cutmix
        for each micro-batch:
            output = task.forward(model, batch)
            loss = task.loss(output, batch)   ► algorithm.loss           label smoothing, distillation, EWC
            backward
        divide by the step's weight           ► algorithm.gradients      before clipping; may leave the step out
        clip
        optimizer.step()                      ► algorithm.step           SAM calls the closure again
        scheduler.step()                      ► algorithm.after_step     the gradients are still there
        at every log line                     ► algorithm.log            values to write beside the loss
        at an evaluation                      ► algorithm.eval_model     the weights that are judged: EMA
                                              ► algorithm.eval_end       may set run.stop
    the best weights are exported             ► algorithm.fit_end

Override what you need and nothing else: the loop calls only the hooks that were overridden, so an algorithm
costs nothing at the points it does not touch. A hook returns what it changes; it does not mutate and restore.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from launcher.data.samples import Batch

    from .loss import Loss
    from .run import Run


class Algorithm:
    """Something that changes the training. State that must survive a kill goes through `state_dict`.

    What it needs of the run's other parts it says in words that they have: a `Parallel` in its `capabilities`, a task
    and a model in what it `offers`. A run whose parts lack one is refused before anything starts.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Of the way of running in parallel."""
    needs_task: ClassVar[frozenset[str]] = frozenset()
    needs_model: ClassVar[frozenset[str]] = frozenset()

    def model(self, run: Run, model: nn.Module) -> nn.Module:
        """The model to train, before the optimizer sees its parameters and before it is wrapped."""
        return model

    def frozen(self, run: Run) -> dict[str, nn.Module]:
        """Models that take part and are not trained, by name."""
        return {}

    def param_groups(self, run: Run, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups: dicts with `params` and any option of the optimizer."""
        return groups

    def fit_start(self, run: Run) -> None:
        """Everything is built and restored; no step has been taken in this process."""

    def go_on(self, run: Run) -> None:
        """The next step begins now: the first of this process, or the one after a line, an evaluation or a checkpoint."""

    def epoch_start(self, run: Run) -> None:
        """The first step of an epoch is next."""

    def batch(self, run: Run, batch: Batch) -> Batch:
        """A micro-batch on the device, before the forward pass."""
        return batch

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        """The loss of a micro-batch, before the backward pass."""
        return loss

    def gradients(self, run: Run) -> bool | None:
        """The gradients of the whole step are in `.grad`, before clipping. True leaves the step out: the weights
        stay as they are, the loss is not counted, the schedule goes on. Every rank has to say the same."""
        return None

    def step(self, run: Run, batches: list[Batch], closure: Callable[[], Tensor]) -> None:
        """Takes the optimizer's step, by `run.parallel.step(run)`; one algorithm of a run may override it.

        `closure` computes the step's gradients anew, clipped as they were, at the weights as they are when it is
        called, and returns the mean loss of this rank.
        """
        run.parallel.step(run)

    def after_step(self, run: Run) -> None:
        """The weights have moved; the gradients are still there."""

    def log(self, run: Run) -> dict[str, float]:
        """Values to write at a log line, by the name they get there."""
        return {}

    def eval_model(self, run: Run, model: nn.Module) -> nn.Module:
        """The model that is evaluated and exported in place of `model`."""
        return model

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        """An evaluation is done; may set `run.stop` to the reason to end."""

    def fit_end(self, run: Run) -> None:
        """The fit is over and the best weights are loaded."""

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts and lists of tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class Monitor(Algorithm):
    """Runs last and only reads; may set `run.stop`."""


def overriding(algorithms: list[Algorithm], hook: str) -> list[Any]:
    """The bound hooks of the algorithms that override `hook`: algorithms first, monitors last, each in order."""
    ordered = sorted(algorithms, key=lambda algorithm: isinstance(algorithm, Monitor))
    return [
        getattr(algorithm, hook)
        for algorithm in ordered
        if getattr(type(algorithm), hook) is not getattr(Algorithm, hook)
    ]
