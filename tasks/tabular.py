"""Tables: a class or a quantity from columns of numbers and categories, by scikit-learn or by torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from launcher.data.samples import Batch, Datasets, TensorSamples
from launcher.errors import ConfigError, did_you_mean
from launcher.functional.calibration import calibration_error
from tasks.estimators import IMPUTERS, SCALERS

from .base import class_predictions, classification_metrics, softmax_loss, split_rows, squared_loss
from .data.kinds import Table
from .estimators import Estimable, Rows, log_loss, regression_scores, take

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss

PREPROCESSING = "preprocessing"
"""The folder in an exported torch model that holds the fitted preprocessing."""


class Tabular(Estimable):
    """What the two problems share: preprocessing, fitted on the training rows alone, in front of the model.

    Columns of numbers are imputed (`impute`: `median`, `mean`, `most_frequent`) and scaled (`scale`: `standard`,
    `minmax`, `robust`, `power` after Yeo and Johnson, 2000, `none`); columns of categories become a column a category, at
    most `max_categories`, the rarest together. A category that training never saw counts as rare, or as none.

    An estimator of scikit-learn is fitted as the last step of a `Pipeline`. A torch module gets batches of `inputs`
    (float32, [batch, columns after preprocessing]) and `labels`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table",)
    provides: ClassVar[tuple[str, ...]] = ("input_shape", "num_outputs", "random_state")
    low_is_good: ClassVar[tuple[str, ...]] = ("loss", "ece", "rmse", "mae")
    problem: ClassVar[str]

    def __init__(
        self,
        data: Any,
        model: Any,
        validation: Any,
        seed: int = 0,
        impute: str = "median",
        scale: str = "standard",
        max_categories: int = 50,
    ) -> None:
        super().__init__(data, model, validation, seed)
        if impute not in IMPUTERS:
            raise ConfigError(f"task.impute={impute}: no such imputation.{did_you_mean(impute, IMPUTERS)}")
        if scale not in SCALERS:
            raise ConfigError(f"task.scale={scale}: no such scaling.{did_you_mean(scale, SCALERS)}")
        if max_categories < 2:
            raise ConfigError(f"task.max_categories={max_categories}: expected 2 at least")
        self.impute, self.scale, self.max_categories = impute, scale, max_categories

    def datasets(self) -> Datasets:
        table: Table = self.data.table()
        if (table.classes is not None) != (self.problem == "classification"):
            raise ConfigError(
                f"the data's target {table.target!r} is not for {self.problem}: data.problem says what it is for"
            )
        self.table = table
        labels = table.y if table.classes is not None else None
        train, val = split_rows(self.validation, len(table.y), labels, table.groups, classes=table.classes or ())
        self.learn_target(table.y[train])
        if self.by_estimator:
            self.num_features = len(table.columns)
            return Datasets(
                train=Rows(take(table.X, train), table.y[train]),
                val=Rows(take(table.X, val), table.y[val]) if len(val) else None,
                facts=self.facts(),
                train_rows=train,
                val_rows=val,
            )
        self.preprocessing = self.preprocessor().fit(take(table.X, train))
        inputs = torch.from_numpy(np.asarray(self.preprocessing.transform(table.X), dtype=np.float32))
        targets = self.targets(table.y)
        self.num_features = inputs.shape[1]
        return Datasets(
            train=TensorSamples(inputs=inputs[train], labels=targets[train]),
            val=TensorSamples(inputs=inputs[val], labels=targets[val]) if len(val) else None,
            facts=self.facts(),
            train_rows=train,
            val_rows=val,
        )

    def preprocessor(self) -> ColumnTransformer:
        """From the table's columns to float64 columns; not fitted."""
        from sklearn import preprocessing
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline

        scaler = SCALERS[self.scale]
        numbers: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy=self.impute, keep_empty_features=True))]
        if scaler is not None:
            numbers.append(("scale", getattr(preprocessing, scaler)()))
        encoder = preprocessing.OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=self.max_categories, sparse_output=False
        )
        # A column without a value among these rows is one category: what is missing.
        filler = SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True)
        categories = [("impute", filler), ("encode", encoder)]
        categorical = set(self.table.categorical)
        numeric = [position for position in range(len(self.table.columns)) if position not in categorical]
        steps = [("numbers", Pipeline(numbers), numeric), ("categories", Pipeline(categories), self.table.categorical)]
        return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0.0)

    def model(self) -> nn.Module | BaseEstimator:
        facts = {
            "input_shape": (self.num_features,),
            "num_outputs": self.num_outputs(),
            "random_state": self.seed % 2**32,
        }
        model: Any = self.model_factory(**facts)
        if not self.by_estimator:
            return model
        from sklearn.base import is_classifier, is_regressor
        from sklearn.pipeline import Pipeline

        if not (is_classifier(model) if self.problem == "classification" else is_regressor(model)):
            raise ConfigError(
                f"{type(model).__name__} is not for {self.problem}, and the data's problem is (data.problem)"
            )
        return Pipeline([("prepare", self.preprocessor()), ("model", model)])

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch["inputs"])

    def facts(self) -> dict[str, Any]:
        """What the header and the exported model say of the data."""
        return {"problem": self.problem, "columns": self.table.columns, "target": self.table.target}

    def learn_target(self, y: np.ndarray) -> None:
        """What the training rows say of the target."""

    def targets(self, y: np.ndarray) -> Tensor:
        """The target as a torch model is trained on it: [rows]."""
        raise NotImplementedError

    def num_outputs(self) -> int:
        """The number of outputs of a torch model."""
        raise NotImplementedError

    def score(self, estimator: Pipeline, rows: Rows) -> dict[str, float]:
        """A fitted pipeline's metrics on rows, by their bare names."""
        raise NotImplementedError

    def predict(self, estimator: Pipeline, rows: Rows) -> dict[str, np.ndarray]:
        """The columns of `predictions` from a fitted pipeline."""
        raise NotImplementedError

    def export(self, model: Any, folder: Path) -> None:
        from launcher.artifacts.export import save_estimator, save_module

        if self.by_estimator:
            save_estimator(model, folder, facts=self.facts())
            return
        save_module(model, folder, facts=self.facts())
        save_estimator(self.preprocessing, folder / PREPROCESSING, facts={"columns": self.table.columns})


class TabularClassification(Tabular):
    """A class from a row. The loss is the cross-entropy; an estimator that gives no probabilities has none."""

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "f1", "ece")
    probable_metrics: ClassVar[tuple[str, ...]] = ("loss", "ece")
    """Those of probabilities."""
    offers: ClassVar[frozenset[str]] = frozenset({"logits", "classes", "mixing"})
    problem: ClassVar[str] = "classification"

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"classes": self._classes}

    @property
    def _classes(self) -> list[str]:
        assert self.table.classes is not None
        return self.table.classes

    def learn_target(self, y: np.ndarray) -> None:
        found = np.unique(y)
        if len(found) < 2:
            raise ConfigError(
                f"every training row is of the class {self._classes[int(found[0])]!r}: there is nothing to tell apart"
            )

    def targets(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(y)

    def num_outputs(self) -> int:
        return len(self._classes)

    def num_classes(self) -> int:
        return len(self._classes)

    def mixed(self, model: nn.Module) -> str | nn.Module:
        return "inputs"

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return softmax_loss(output, batch["labels"])

    def metrics(self) -> MetricCollection:
        return classification_metrics(len(self._classes))

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return class_predictions(output, batch["labels"])

    def predict(self, estimator: Pipeline, rows: Rows) -> dict[str, np.ndarray]:
        columns = {"label": rows.y, "prediction": estimator.predict(rows.X)}
        if hasattr(estimator, "predict_proba"):  # a class that training never saw has no column of its own
            columns["probabilities"] = np.zeros((len(rows), len(self._classes)))
            columns["probabilities"][:, estimator.classes_] = estimator.predict_proba(rows.X)
        return columns

    def score(self, estimator: Pipeline, rows: Rows) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score

        found = estimator.predict(rows.X)
        metrics = {
            "accuracy": float(accuracy_score(rows.y, found)),
            "f1": float(f1_score(rows.y, found, average="macro", zero_division=0)),
        }
        if hasattr(estimator, "predict_proba"):
            probabilities = estimator.predict_proba(rows.X)
            metrics["loss"] = log_loss(rows.y, probabilities, estimator.classes_)
            right = estimator.classes_[probabilities.argmax(axis=1)] == rows.y
            metrics["ece"] = calibration_error(probabilities.max(axis=1), right)
        return metrics


class TabularRegression(Tabular):
    """A quantity from a row.

    `rmse` and `mae` are in the target's own unit. The loss is the mean squared error of the target in units of the
    training rows' standard deviation, for torch modules, which are trained on that, and for estimators. A batch's
    `labels` are those (float64: a target's digits are more than float32 has), less the training rows' mean.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "rmse", "mae", "r2")
    problem: ClassVar[str] = "regression"

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"target_mean": self.mean, "target_std": self.std}

    def learn_target(self, y: np.ndarray) -> None:
        self.mean, self.std = float(y.mean()), float(y.std())
        if self.std == 0:
            raise ConfigError(
                f"the target {self.table.target!r} is {self.mean} in every training row: there is nothing to learn"
            )

    def targets(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy((y - self.mean) / self.std)

    def num_outputs(self) -> int:
        return 1

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return squared_loss(output.squeeze(-1), batch["labels"])

    def metrics(self) -> MetricCollection:
        from torchmetrics import MetricCollection

        from .metrics import QuantityErrors

        return MetricCollection({"errors": QuantityErrors(self.std)}, compute_groups=False)

    def update(self, metrics: MetricCollection, output: Any, batch: Batch) -> None:
        labels = batch["labels"]
        metrics.update(output.squeeze(-1) - labels, labels)

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        both = {"label": batch["labels"], "prediction": output.squeeze(-1)}
        return {name: values.cpu().double() * self.std + self.mean for name, values in both.items()}

    def predict(self, estimator: Pipeline, rows: Rows) -> dict[str, np.ndarray]:
        return {"label": rows.y, "prediction": estimator.predict(rows.X)}

    def score(self, estimator: Pipeline, rows: Rows) -> dict[str, float]:
        return regression_scores(rows.y, estimator.predict(rows.X), self.std)
