"""Label smoothing."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F

from launcher.core.algorithm import Algorithm
from launcher.core.loss import Loss
from launcher.core.run import Run
from launcher.data.samples import Batch
from launcher.errors import ConfigError


class LabelSmoothing(Algorithm):
    """Cross-entropy against (1 - smoothing) on the true class and smoothing / classes on every class.

    Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7. For tasks whose output is logits for the
    batch's `labels`, class numbers or probabilities; the validation loss stays the plain one.
    """

    needs_task: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(self, smoothing: float = 0.1) -> None:
        if not 0 <= smoothing < 1:
            raise ConfigError(
                f"regularization.label_smoothing.smoothing={smoothing}: expected a share from 0 to below 1"
            )
        self.smoothing = smoothing

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        labels = batch["labels"]
        labels = labels.flatten(0, -2) if labels.is_floating_point() else labels.flatten()
        total = F.cross_entropy(output.flatten(0, -2), labels, reduction="sum", label_smoothing=self.smoothing)
        return Loss(total, loss.weight)
