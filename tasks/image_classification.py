"""Image classification: one label a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from launcher.data import Batch, Datasets, TensorSamples

from .base import Task, softmax_loss, split_rows

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from launcher.run import Loss


class ImageClassification(Task):
    """Learns the class of a picture by cross-entropy.

    Batches hold `images` (float32, [batch, channels, height, width], 0 to 1 before `normalize`) and `labels`
    (int64, [batch]). The training pictures' mean and standard deviation per channel are taken out of all of them.
    """

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    provides: ClassVar[tuple[str, ...]] = ("image_shape", "input_shape", "num_outputs")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "f1")

    def datasets(self) -> Datasets:
        source = self.data.load()
        train, val = split_rows(self.validation, len(source.labels), source.labels)
        self.classes: list[str] = source.classes
        pixels = torch.from_numpy(source.pixels)
        labels = torch.from_numpy(source.labels)
        learned = pixels[train]
        mean = learned.mean(dim=(0, 2, 3), keepdim=True)
        std = learned.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        pixels = (pixels - mean) / std
        self.image_shape = tuple(pixels.shape[1:])
        return Datasets(
            train=TensorSamples(images=pixels[train], labels=labels[train]),
            val=TensorSamples(images=pixels[val], labels=labels[val]),
            facts={"classes": self.classes, "image_shape": list(self.image_shape), "mean": mean.flatten().tolist(), "std": std.flatten().tolist()},
        )

    def model(self) -> nn.Module:
        model: nn.Module = self.model_factory(image_shape=self.image_shape, input_shape=self.image_shape, num_outputs=len(self.classes))
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch["images"])

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return softmax_loss(output, batch["labels"])

    def metrics(self) -> MetricCollection:
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        num = len(self.classes)
        return MetricCollection({"accuracy": MulticlassAccuracy(num, average="micro"), "f1": MulticlassF1Score(num, average="macro")})
