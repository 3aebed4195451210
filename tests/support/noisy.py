"""Tasks for the tests of what regularises and of what goes wrong in a step; LAUNCHER_TRUST has to allow `tests.support.noisy.*`."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from launcher.core.loss import Loss
from launcher.data.samples import Batch, Datasets, TensorSamples
from launcher.parallel.single import Single
from launcher.tasks.image_classification import ImageClassification
from tests.support.odd import AtStep

TRUST = ("LAUNCHER_TRUST", "tests.support.noisy.*")


class Mislabelled(ImageClassification):
    """Digits; three in ten of the training labels are drawn at random. A model that learns those by heart is wrong and sure."""

    def datasets(self) -> Datasets:
        found = super().datasets()
        assert isinstance(found.train, TensorSamples)
        generator = torch.Generator().manual_seed(1)
        labels = found.train.columns["labels"]
        wrong = torch.rand(len(labels), generator=generator) < 0.3
        found.train.columns["labels"] = torch.where(wrong, torch.randint(10, labels.shape, generator=generator), labels)
        return found


class Shouts(AtStep):
    """A batch whose loss, and so its gradient, is a million times as large."""

    def odd(self, loss: Loss) -> Loss:
        return Loss(loss.sum * 1e6, loss.weight)


class Infinite(AtStep):
    """A batch whose loss is infinite and whose gradient is NaN."""

    def odd(self, loss: Loss) -> Loss:
        return Loss(loss.sum * torch.inf, loss.weight)


class Slow(ImageClassification):
    """Digits; by the clock of this class a sample that is judged, or looked at, takes 5 ms, a step 20 ms, and nothing else
    any time, so that a test of times does not depend on what else the machine does."""

    now: ClassVar[float] = 0.0

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        Slow.now += 0.02 if torch.is_grad_enabled() else 0.005 * len(batch["labels"])
        return super().forward(model, batch)


class Lacking(Single):
    """One process that says of itself that it can do nothing."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
