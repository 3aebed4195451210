"""Task: what is learned, from which data, by which model, judged by which metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from launcher.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import Tensor, nn
    from torchmetrics import MetricCollection

    from launcher.data import Batch, Datasets
    from launcher.run import Loss


class Task(ABC):
    """One kind of learning problem.

    `build.py` constructs it with `data` (an object of conf/data), `model` (a callable that takes facts of the
    data as keywords and returns the model), `validation` (a splitter with scikit-learn's interface) and `seed`;
    a subclass adds options of its own as keyword arguments.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    """The kinds of data it learns from, as data classes state theirs: "images", "texts", "corpus", "table"."""
    provides: ClassVar[tuple[str, ...]] = ()
    """The facts of the data that it hands to a model: a model that requires another one is refused by name."""
    metric_names: ClassVar[tuple[str, ...]] = ("loss",)
    """What an evaluation reports, each under `val/`; `objective.metric` is one of them."""

    def __init__(self, data: Any, model: Callable[..., Any], validation: Any, seed: int = 0) -> None:
        self.data = data
        self.model_factory = model
        self.validation = validation
        self.seed = seed

    @abstractmethod
    def datasets(self) -> Datasets:
        """The samples to learn from and to be judged by. Called once, before `model`."""

    @abstractmethod
    def model(self) -> nn.Module | BaseEstimator:
        """The model with fresh weights, on the CPU; may use what `datasets` found out."""

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """The model's output for a batch; what `loss` and `update` need of it."""
        return model(**batch)

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Loss:
        """Sum and weight. Apart from `forward`, because a pipeline's last stage needs it alone."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """torchmetrics by the names of `metric_names` (without "loss", which the loop averages itself)."""

    def update(self, metrics: MetricCollection, output: Any, batch: Batch) -> None:
        """Count one batch of an evaluation."""
        metrics.update(output, batch["labels"])

    def derived(self, metrics: dict[str, float]) -> dict[str, float]:
        """Values that follow from the loss and the metrics of an evaluation, such as a perplexity."""
        return {}

    def tokens(self, batch: Batch) -> int | None:
        """Tokens in a batch, where a rate in tokens/s makes sense; from shapes alone."""
        return None

    def frozen(self) -> dict[str, nn.Module]:
        """Models that take part and are not trained: a reference, a reward model."""
        return {}

    def stages(self, model: nn.Module, num: int) -> list[nn.Module]:
        """The model as `num` modules in a row, for pipeline parallel."""
        raise ConfigError(f"{type(self).__name__} does not say how its model is cut into stages")

    def export(self, model: Any, folder: Path) -> None:
        """Write the trained model into `folder`, loadable without this launcher."""
        from launcher.export import save_module

        save_module(model, folder)


def split_rows(validation: Any, num: int, labels: Any = None, groups: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The (training, held-out) rows of a splitter's only split."""
    train, val = next(iter(validation.split(np.zeros(num), labels, groups)))
    return train, val


def encode_labels(labels: Iterable[Any], classes: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Labels as int64 class numbers, and the classes' names in the order of the numbers (sorted where not given).

    Raises ConfigError for a label that `classes` does not have, naming the row.
    """
    texts = [str(label) for label in labels]
    names = classes if classes is not None else sorted(set(texts))
    number = {name: index for index, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in number:
            raise ConfigError(f"row {row}: label {text!r} is not one of the {len(names)} classes.{did_you_mean(text, names)}")
    return np.array([number[text] for text in texts], dtype=np.int64), names


def softmax_loss(logits: Tensor, labels: Tensor) -> Loss:
    """Cross-entropy, summed over the batch; the weight is the number of samples.

    `labels` holds class numbers (int64, shape [batch]) or class probabilities (float, shape [batch, classes]).
    """
    import torch.nn.functional as F

    from launcher.run import Loss

    return Loss(F.cross_entropy(logits, labels, reduction="sum"), len(labels))
