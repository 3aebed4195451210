"""Image classification: one label a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from launcher.core.task import Task
from launcher.data.samples import Batch, Datasets, Samples, TensorSamples

from .base import class_predictions, classification_metrics, softmax_loss, split_rows
from .stages import in_stages

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss

    from .data.kinds import Pictures


STATISTICS = 2048
"""Training pictures, at most, whose mean and deviation are taken where pictures are decoded on the way."""


class PictureSamples(Samples):
    """Pictures that are decoded when a batch is fetched: `images` and `labels`, as `ImageClassification` has them."""

    decodes = True
    alike = True

    def __init__(self, pixels: Pictures, labels: np.ndarray, rows: np.ndarray, mean: Tensor, std: Tensor) -> None:
        self.pixels, self.rows = pixels, rows
        self.labels = torch.from_numpy(labels)
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, indices: Tensor) -> Batch:
        rows = self.rows[indices.numpy()]
        images = (torch.from_numpy(self.pixels[rows]) - self.mean) / self.std
        return {"images": images, "labels": self.labels[torch.from_numpy(rows)]}


class ImageClassification(Task):
    """Learns the class of a picture by cross-entropy.

    Batches hold `images` (float32, [batch, channels, height, width]) and `labels` (int64, [batch]). The mean and
    standard deviation per channel of the training pictures are taken out of all of them.
    """

    kinds: ClassVar[tuple[str, ...]] = ("images",)
    provides: ClassVar[tuple[str, ...]] = ("image_shape", "input_shape", "num_outputs")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "f1", "ece")
    low_is_good: ClassVar[tuple[str, ...]] = ("loss", "ece")
    offers: ClassVar[frozenset[str]] = frozenset({"logits", "classes", "images", "mixing"})

    def datasets(self) -> Datasets:
        source = self.data.images()
        train, val = split_rows(self.validation, len(source.labels), source.labels, classes=source.classes)
        self.classes: list[str] = source.classes
        self.image_shape: tuple[int, ...] = tuple(source.pixels.shape[1:])
        in_memory = isinstance(source.pixels, np.ndarray)
        seen = train if in_memory else train[:: -(-len(train) // STATISTICS)]
        learned = torch.from_numpy(source.pixels[seen])
        mean = learned.mean(dim=(0, 2, 3), keepdim=True)
        std = learned.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
        self.mean, self.std = mean.flatten().tolist(), std.flatten().tolist()

        def samples(rows: np.ndarray) -> Samples:
            if not in_memory:
                return PictureSamples(source.pixels, source.labels, rows, mean, std)
            images = (torch.from_numpy(source.pixels[rows]) - mean) / std
            return TensorSamples(images=images, labels=torch.from_numpy(source.labels[rows]))

        return Datasets(
            train=samples(train),
            val=samples(val) if len(val) else None,
            facts={"classes": self.classes, "image_shape": list(self.image_shape)},
            train_rows=train,
            val_rows=val,
        )

    def model(self) -> nn.Module:
        model: nn.Module = self.model_factory(
            image_shape=self.image_shape, input_shape=self.image_shape, num_outputs=len(self.classes)
        )
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch["images"])

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return softmax_loss(output, batch["labels"])

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return class_predictions(output, batch["labels"])

    def shown(self, batch: Batch) -> list[np.ndarray | str]:
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        images = batch["images"].cpu() * std + mean
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        pixels = ((images - low) / (high - low).clamp_min(1e-6) * 255).round().byte().numpy()
        return [each[0] if len(each) != 3 else each.transpose(1, 2, 0) for each in pixels]

    def stages(self, model: nn.Module, num: int | None) -> list[nn.Module]:
        return in_stages(model, num, "images")

    def num_classes(self) -> int:
        return len(self.classes)

    def mixed(self, model: nn.Module) -> str | nn.Module:
        return "images"

    def metrics(self) -> MetricCollection:
        return classification_metrics(len(self.classes))

    def export(self, model: Any, folder: Path) -> None:
        from launcher.artifacts.export import save_module

        facts = {"classes": self.classes, "image_shape": list(self.image_shape), "mean": self.mean, "std": self.std}
        save_module(model, folder, facts=facts)
