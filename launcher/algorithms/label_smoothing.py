"""Label smoothing."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from launcher.algorithm import Algorithm
from launcher.data import Batch
from launcher.errors import ConfigError
from launcher.run import Loss, Run


class LabelSmoothing(Algorithm):
    """Cross-entropy against (1 - smoothing) on the true class and smoothing / classes on every class.

    Szegedy et al., "Rethinking the Inception Architecture" (2016), section 7. For tasks whose output is logits
    [batch, classes] and whose batches hold `labels`; the validation loss stays the plain one.
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        if not 0 <= smoothing < 1:
            raise ConfigError(f"regularization.label_smoothing.smoothing={smoothing}: expected a share from 0 to below 1")
        self.smoothing = smoothing

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        if not isinstance(output, Tensor) or output.ndim != 2 or "labels" not in batch:
            raise ConfigError(f"regularization=[label_smoothing] is for classifiers; {type(run.task).__name__} is none")
        return Loss(F.cross_entropy(output, batch["labels"], reduction="sum", label_smoothing=self.smoothing), loss.weight)
