"""Task: what is learned, from which data, by which model, judged by which metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.data.splits import split_rows as split_rows
from launcher.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss


def encode_labels(
    labels: Iterable[Any], classes: Sequence[Any] | int | None = None, where: Callable[[int], str] = "row {}".format
) -> tuple[np.ndarray, list[str]]:
    """Labels as int64 class numbers, and the classes' names in the order of the numbers.

    `classes` are the names, or a number n that stands for 0 to n - 1; where neither is given they are what is
    found, in numerical order if they are all numbers, else in alphabetical. `where` says for the errors where a row stands.

    Raises ConfigError for a missing label, one that `classes` does not have, and for fewer than two classes.
    """
    texts: list[str] = []
    for row, label in enumerate(labels):
        if label is None or label != label or label == "":
            raise ConfigError(f"{where(row)}: the label is missing")
        texts.append(_label_text(label))
    if classes is None:
        names = _sorted_names(set(texts))
    else:
        names = [_label_text(name) for name in (range(classes) if isinstance(classes, int) else classes)]
    number = {name: index for index, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in number:
            known = (
                f"out of range: expected 0 to {classes - 1}"
                if isinstance(classes, int)
                else f"not one of the {len(names)} classes"
            )
            hint = "" if isinstance(classes, int) else did_you_mean(text, names)
            raise ConfigError(f"{where(row)}: label {text!r} is {known}.{hint}")
    if len(names) < 2:
        raise ConfigError(
            f"{where(0)}: every label is {names[0]!r}; there is nothing to tell apart"
            if names
            else "there are no labels"
        )
    return np.array([number[text] for text in texts], dtype=np.int64), names


def _label_text(label: Any) -> str:
    """A label's name: 3.0 is 3, as a column of whole numbers with gaps is read as floats."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label)


def _sorted_names(names: set[str]) -> list[str]:
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def target_of(factory: Any) -> Any:
    """What a model callable makes: its class or function."""
    return getattr(factory, "target", factory)


def keywords_of(factory: Any) -> dict[str, Any]:
    """The arguments that the config gives a model callable."""
    return dict(getattr(factory, "keywords", {}))


def softmax_loss(logits: Tensor, labels: Tensor) -> Loss:
    """Cross-entropy, summed over the batch; the weight is the number of samples.

    `labels` holds class numbers (int64, shape [batch]) or class probabilities (float, shape [batch, classes]).
    """
    import torch.nn.functional as F

    from launcher.core.loss import Loss

    return Loss(F.cross_entropy(logits, labels, reduction="sum"), len(labels))


def squared_loss(values: Tensor, labels: Tensor) -> Loss:
    """The squared error of quantities ([batch]), summed over the batch; the weight is the number of samples.

    `labels` are float64, and with them the error is: in float32 a small error is lost in a large label's last digits.
    """
    from launcher.core.loss import Loss

    return Loss((values - labels).square().sum(), len(labels))


def class_predictions(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The columns of `Task.predictions` from logits ([batch, classes]) and class numbers ([batch])."""
    probabilities = logits.float().softmax(dim=-1)
    return {"label": labels, "prediction": probabilities.argmax(dim=-1), "probabilities": probabilities}


def classification_metrics(num_classes: int) -> MetricCollection:
    """Accuracy over the samples, F1 averaged over the classes, and the expected calibration error over 15 bins, from logits."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    from .metrics import CalibrationError

    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
            "ece": CalibrationError(),
        }
    )
