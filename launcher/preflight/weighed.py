"""The strategy of an estimate: one process, in which every part of a step weighs what a rank of the real run has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from launcher.adapters.torch import FakeTensorMode
from launcher.core.parallel import Parallel
from launcher.functional.flops import counter
from launcher.memory.precision import Precision

from .fake_tensors import Tracker, placed

if TYPE_CHECKING:
    from launcher.core.loss import Loss
    from launcher.core.memory_shares import Shares
    from launcher.core.parallel import LossHook
    from launcher.core.run import Run
    from launcher.data.samples import Batch


class Weighed(Parallel):
    """Has the model where it was made, without contents, and takes down what a step needs: `activations`, the bytes that
    live at the end of the first micro-batch's forward pass, and `flops`, the operations of the first step.

    What comes to life counts by its share of the real run (`shares`): in forward and backward as activations, between
    them and the optimizer as gradients, in the optimizer's step as its state.
    """

    def __init__(
        self, precision: Precision, device: torch.device, shares: Shares, fake: FakeTensorMode, tracker: Tracker
    ) -> None:
        super().__init__(precision, device)
        self.scaler = None  # it would look at the gradients; the scaled loss takes no memory of its own
        self.portions, self.fake, self.tracker = shares, fake, tracker
        self.activations = self.flops = 0

    def prepare(self, model: nn.Module) -> nn.Module:
        return model

    def place(self, batch: Batch) -> Batch:
        return placed(self.fake, self.tracker, batch)

    def forward_backward(
        self, run: Run, batches: list[Batch], loss_hooks: list[LossHook]
    ) -> tuple[Tensor, int | Tensor]:
        tracker, start = self.tracker, self.tracker.now
        weights = [weight for weight in run.main.model.parameters() if weight.requires_grad]

        def forward_done(run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
            if all(weight.grad is None for weight in weights):  # of the first micro-batch
                self.activations = max(self.activations, int(tracker.now - start))
            return loss

        tracker.weight = 1 / self.portions.activations
        if run.progress.step == 0:
            operations = counter()
            with operations:
                result = super().forward_backward(run, batches, [*loss_hooks, forward_done])
            self.flops += operations.get_total_flops()
            del operations  # it holds on to what it counts
        else:
            result = super().forward_backward(run, batches, [*loss_hooks, forward_done])
        tracker.weight = 1 / self.portions.gradients
        return result

    def step(self, run: Run) -> None:
        self.tracker.weight = 1 / self.portions.optimizer
        super().step(run)
        self.tracker.weight = 1.0
        if self.portions.sends_weights:
            [torch.empty_like(weight) for weight in run.main.model.parameters() if weight.requires_grad]
