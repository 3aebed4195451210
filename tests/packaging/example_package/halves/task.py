"""A task and a data set, written against the launcher's public names alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from launcher import Batch, Datasets, Loss, Task, TensorSamples, split_rows
from launcher.tasks.base import softmax_loss

if TYPE_CHECKING:
    from torchmetrics import MetricCollection


class Rows:
    """`num` rows of `width` normal numbers, and which half of each has the bigger sum (0 or 1)."""

    kind: ClassVar[str] = "rows"

    def __init__(self, num: int = 512, width: int = 8, seed: int = 0) -> None:
        self.num, self.width, self.seed = num, width, seed

    def load(self) -> tuple[Tensor, Tensor]:
        rows = torch.randn(self.num, self.width, generator=torch.Generator().manual_seed(self.seed))
        first, second = rows.chunk(2, dim=1)
        return rows, (second.sum(1) > first.sum(1)).long()


class BiggerHalf(Task):
    """Learns which half of a row is the bigger one. Batches hold `rows` ([batch, width]) and `labels` ([batch])."""

    kinds: ClassVar[tuple[str, ...]] = ("rows",)
    provides: ClassVar[tuple[str, ...]] = ("input_shape", "num_outputs")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy")

    def datasets(self) -> Datasets:
        rows, labels = self.data.load()
        self.width = rows.shape[1]
        train, val = split_rows(self.validation, len(rows), labels.numpy())
        return Datasets(
            train=TensorSamples(rows=rows[train], labels=labels[train]),
            val=TensorSamples(rows=rows[val], labels=labels[val]),
        )

    def model(self) -> nn.Module:
        model: nn.Module = self.model_factory(input_shape=(self.width,), num_outputs=2)
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch["rows"])

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return softmax_loss(output, batch["labels"])

    def metrics(self) -> MetricCollection:
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        return MetricCollection({"accuracy": MulticlassAccuracy(2, average="micro")})
