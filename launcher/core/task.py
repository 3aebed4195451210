"""Task: what is learned, its data, its model, its loss and its metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from launcher.errors import ConfigError
from launcher.functional.baselines import Baselines, of_classes, of_quantity

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import Tensor, nn
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss
    from launcher.data.samples import Batch, Datasets


class Task(ABC):
    """One kind of learning problem.

    `build.py` constructs it with `data` (an object of conf/data), `model` (a callable that takes facts of the
    data as keywords and returns the model), `validation` (a splitter with scikit-learn's interface) and `seed`;
    a subclass adds options of its own as keyword arguments.

    The model callable drops the facts that its target does not take, never overrides what the config gives, and
    shows the target as `target` and the config's arguments as `keywords`.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    """The kinds of data it learns from, as data classes state theirs: "images", "texts", "corpus", "table"."""
    provides: ClassVar[tuple[str, ...]] = ()
    """The facts of the data that it hands to a model: a model that requires another one is refused by name."""
    metric_names: ClassVar[tuple[str, ...]] = ("loss",)
    """What an evaluation reports, each under `val/`; `objective.metric` is one of them."""
    low_is_good: ClassVar[tuple[str, ...]] = ("loss",)
    """Those of them that are to be low."""
    estimators: ClassVar[bool] = False
    """Whether a scikit-learn estimator is a model of it."""
    offers: ClassVar[frozenset[str]] = frozenset()
    """What an algorithm may need of it, by these words: "logits" (the output is [..., classes] for the batch's `labels`
    [...]), "classes" (one of `num_classes` a sample; `labels` may be probabilities [batch, classes] too), "images" (the
    batch has `images`), "mixing" (`mixed` says what Mixup mixes)."""
    ordered: ClassVar[bool] = False
    """Whether its rows stand in the order of time, so that no training row may come after a held-out one."""
    packages: ClassVar[dict[str, str]] = {}
    """What it needs beyond the launcher's own requirements: module to import, package to install."""

    def __init__(self, data: Any, model: Callable[..., Any], validation: Any, seed: int = 0) -> None:
        self.data = data
        self.model_factory = model
        self.validation = validation
        self.seed = seed

    def loop(self) -> str:
        """The name of the loop that trains its model: a module in `launcher/train/loops`, or, by its dotted name, a class below
        `launcher.core.loop.Loop` of a package whose code a config may name. Asked before `datasets`."""
        return "supervised"

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

    def predictions(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """What the model says of each sample of a batch, for predictions.csv: `label` and `prediction` ([batch]; class
        numbers, or a quantity in its own unit), and for classes `probabilities` ([batch, classes]). Empty where a
        sample is no row of the data."""
        return {}

    def shown(self, batch: Batch) -> list[np.ndarray | str]:
        """Each sample of a batch as a person sees it: a picture (uint8, [height, width] or [height, width, 3]) or a text.
        Empty where there is neither."""
        return []

    def baselines(self, data: Datasets, columns: dict[str, np.ndarray]) -> Baselines:
        """What is reached on the held-out samples without looking at them, by the bare names of metrics; `columns` are those
        of `predictions`. Of classes it is the commonest, of a quantity the mean."""
        if "probabilities" in columns:
            return of_classes(columns["label"].astype(np.int64), columns["probabilities"].shape[1])
        if "label" in columns and columns["label"].dtype.kind == "f":
            return of_quantity(columns["label"])
        return {}

    def continued(self, model: nn.Module, batch: Batch, num_tokens: int) -> list[tuple[str, str]]:
        """For a language model: the beginning of each text of a batch, and the `num_tokens` that the model finds likeliest
        after it. Empty for every other."""
        return []

    def num_classes(self) -> int:
        """How many classes a sample may be of, for a task that offers "classes"."""
        raise NotImplementedError(f"{type(self).__name__} has no classes")

    def mixed(self, model: nn.Module) -> str | nn.Module:
        """What Mixup takes shares of, for a task that offers "mixing": a column of the batch, by name, or the module of
        `model` that makes vectors [batch, tokens, width] of `input_ids`."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to mix")

    def tokens(self, batch: Batch) -> int | None:
        """Tokens in a batch, where a rate in tokens/s makes sense; from shapes alone."""
        return None

    def frozen(self) -> dict[str, nn.Module]:
        """Models that take part and are not trained: a reference, a reward model."""
        return {}

    def stages(self, model: nn.Module, num: int | None) -> list[nn.Module]:
        """The model as `num` modules in a row (None: as many as there can be), each called as `stage(x, batch)`, the first
        one without x; what the last one gives is what `forward` does. For strategies that split a model by its layers; weights stay the model's."""
        raise ConfigError(f"{type(self).__name__} does not say how its model is cut into stages")

    def score(self, estimator: Any, rows: Any) -> dict[str, float]:
        """A fitted scikit-learn estimator's metrics on rows, by their bare names; for tasks whose models are such."""
        raise ConfigError(f"{type(self).__name__} trains torch modules; scikit-learn's estimators are not for it")

    def predict(self, estimator: Any, rows: Any) -> dict[str, np.ndarray]:
        """The columns of `predictions` from a fitted estimator; only for tasks with `estimators`."""
        raise NotImplementedError

    def export(self, model: Any, folder: Path) -> None:
        """Write the trained model into `folder`, loadable without this launcher."""
        from launcher.artifacts.export import save_module

        save_module(model, folder)
