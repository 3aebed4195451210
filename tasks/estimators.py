"""What scikit-learn's estimators share, whatever the task: their rows, what counts as one, their scores."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from launcher.core.task import Task
from launcher.data.samples import Batch, Samples, fingerprints

from .base import target_of


class Estimable(Task):
    """A task whose model may be a torch module or an estimator of scikit-learn, which is fitted in one call."""

    estimators: ClassVar[bool] = True

    @property
    def by_estimator(self) -> bool:
        """Whether the model is fitted by scikit-learn's interface."""
        return is_estimator(self.model_factory)

    def loop(self) -> str:
        return "estimator" if self.by_estimator else "supervised"


class Rows(Samples):
    """The rows that an estimator is fitted on or judged by, all at once."""

    def __init__(self, X: Any, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.y)

    def fingerprints(self) -> np.ndarray | None:
        if not hasattr(self.X, "iloc"):
            return fingerprints(self.X)
        import pandas as pd

        hashes: np.ndarray = pd.util.hash_pandas_object(self.X, index=False).to_numpy()
        return hashes.view(np.int64)

    def fetch(self, indices: Tensor) -> Batch:
        """Raises TypeError: rows of a table are no tensors before they are prepared."""
        raise TypeError("an estimator takes its rows whole")


def take(X: Any, rows: np.ndarray) -> Any:
    """The rows of a data frame or an array, by position."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def is_estimator(factory: Any) -> bool:
    """Whether what a model callable makes is fitted by scikit-learn's interface."""
    target = target_of(factory)
    return (
        isinstance(target, type)
        and not issubclass(target, nn.Module)
        and all(hasattr(target, name) for name in ("fit", "get_params"))
    )


def regression_scores(y: np.ndarray, found: np.ndarray, unit: float) -> dict[str, float]:
    """`rmse`, `mae` and `r2` of predictions in the target's own unit, and `loss`, the mean squared error in units of `unit`."""
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    squared = float(mean_squared_error(y, found))
    return {
        "loss": squared / unit**2,
        "rmse": squared**0.5,
        "mae": float(mean_absolute_error(y, found)),
        "r2": float(r2_score(y, found)) if len(y) > 1 else float("nan"),
    }


def log_loss(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> float:
    """The mean of -log p(class), natural logarithm; a class that training never saw has the smallest probability there is."""
    column = {int(number): position for position, number in enumerate(classes)}
    smallest = np.finfo(np.float64).eps
    right = np.array(
        [probabilities[row, column[int(number)]] if int(number) in column else 0.0 for row, number in enumerate(y)]
    )
    return float(-np.log(right.clip(smallest, 1)).mean())


SCALERS = {
    "standard": "StandardScaler", "minmax": "MinMaxScaler", "robust": "RobustScaler", "power": "PowerTransformer",
    "none": None,
}  # fmt: skip


IMPUTERS = ("median", "mean", "most_frequent")
