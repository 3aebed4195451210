"""Forecasting: a later value of a series, from its latest ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from launcher.data.samples import Batch, Datasets, Samples, TensorSamples
from launcher.errors import ConfigError
from launcher.functional.baselines import Baselines, of_quantity

from .base import split_rows, squared_loss
from .estimators import Estimable, Rows, regression_scores

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss

    from .data.kinds import Series


class Forecasting(Estimable):
    """Learns the value `horizon` steps after the last of the `lags` latest ones, by the squared error.

    Row i is the window of values i to i + lags - 1 and the value at i + lags - 1 + horizon; rows stand in the order of
    time, and a validation that trains on a later row than it holds out is refused. So is a `gap` below horizon - 1:
    the last training targets would lie after the first held-out forecast is made.

    What is learned is the change from the window's last value, in units of the training rows' standard deviation of
    it; with `difference` the window too is taken relative to its last value, so that a trend does not lead out of what
    training saw. Else the window is standardised by the mean and deviation of the training rows.

    `rmse` and `mae` are in the series' own unit. `naive_rmse` is that of the forecast that nothing changes, and
    `skill` = 1 - (rmse / naive_rmse)^2 (Murphy, 1988): 0 is no better than it, 1 is perfect.
    """

    kinds: ClassVar[tuple[str, ...]] = ("series",)
    provides: ClassVar[tuple[str, ...]] = ("input_shape", "num_outputs", "random_state")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "rmse", "mae", "r2", "naive_rmse", "skill")
    low_is_good: ClassVar[tuple[str, ...]] = ("loss", "rmse", "mae", "naive_rmse")
    ordered: ClassVar[bool] = True

    def __init__(
        self,
        data: Any,
        model: Any,
        validation: Any,
        seed: int = 0,
        lags: int = 12,
        horizon: int = 1,
        difference: bool = False,
    ) -> None:
        super().__init__(data, model, validation, seed)
        if lags < 1 or horizon < 1:
            raise ConfigError(f"task.lags={lags}, task.horizon={horizon}: expected 1 at least")
        if difference and lags < 2:
            raise ConfigError(
                "task.difference=true takes the last value out of the window: task.lags has to be 2 at least"
            )
        self.lags, self.horizon, self.difference = lags, horizon, difference

    def datasets(self) -> Datasets:
        self.series: Series = self.data.series()
        values = self.series.values
        num = len(values) - self.lags - self.horizon + 1
        if num < 2:
            raise ConfigError(
                f"the series {self.series.name!r} has {len(values)} values, too few for task.lags={self.lags} and task.horizon={self.horizon}"
            )
        windows = np.lib.stride_tricks.sliding_window_view(values, self.lags)[:num]
        last, target = windows[:, -1], values[self.lags + self.horizon - 1 :]
        train, val = split_rows(self.validation, num, ordered=self.ordered)
        if len(val) and val[0] - train[-1] < self.horizon:
            raise ConfigError(
                f"task.horizon={self.horizon}: the training rows' targets reach beyond the first held-out forecast; "
                f"validation.gap={self.horizon - 1} at least keeps them before it"
            )
        inputs = windows[:, :-1] - last[:, None] if self.difference else windows
        self.mean, self.std = _statistics(inputs[train])
        self.unit = _statistics((target - last)[train])[1]
        if self.std == 0 or self.unit == 0:
            raise ConfigError(
                f"the series {self.series.name!r} does not move in the training rows: there is nothing to learn"
            )
        inputs = (inputs - self.mean) / self.std
        changes = (target - last) / self.unit

        def samples(rows: np.ndarray) -> Samples:
            if self.by_estimator:
                return WindowRows(inputs[rows], changes[rows], last[rows])
            return _tensors(inputs[rows], changes[rows], last[rows])

        held_out = samples(val) if len(val) else None
        return Datasets(train=samples(train), val=held_out, facts=self.facts(), train_rows=train, val_rows=val)

    def facts(self) -> dict[str, Any]:
        """What the header and the exported model say of the data: with these a forecast is
        last + unit * model((window - mean) / std)."""
        options = {"lags": self.lags, "horizon": self.horizon, "difference": self.difference}
        return {"series": self.series.name, **options, "mean": self.mean, "std": self.std, "unit": self.unit}

    def model(self) -> nn.Module | BaseEstimator:
        shape = (self.lags - self.difference,)
        model: Any = self.model_factory(input_shape=shape, num_outputs=1, random_state=self.seed % 2**32)
        if self.by_estimator:
            from sklearn.base import is_regressor

            if not is_regressor(model):
                raise ConfigError(f"{type(model).__name__} is not for regression, and a series is forecast by it")
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        return model(batch["inputs"])

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return squared_loss(output.squeeze(-1), batch["labels"])

    def metrics(self) -> MetricCollection:
        from torchmetrics import MetricCollection

        from .metrics import QuantityErrors

        errors, naive = QuantityErrors(self.unit), QuantityErrors(self.unit, ("rmse",), "naive_")
        return MetricCollection({"errors": errors, "naive": naive}, compute_groups=False)

    def update(self, metrics: MetricCollection, output: Any, batch: Batch) -> None:
        changes = batch["labels"]
        label = batch["last"] / self.unit + changes
        metrics["errors"].update(output.squeeze(-1) - changes, label)
        metrics["naive"].update(-changes, label)

    def derived(self, metrics: dict[str, float]) -> dict[str, float]:
        return {"skill": skill(metrics["rmse"], metrics["naive_rmse"])}

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        last = batch["last"].cpu().double()
        both = {"label": batch["labels"], "prediction": output.squeeze(-1)}
        return {name: last + changes.cpu().double() * self.unit for name, changes in both.items()}

    def baselines(self, data: Datasets, columns: dict[str, np.ndarray]) -> Baselines:
        """Nothing changes: the window's last value is the forecast."""
        if not columns:
            return {}
        held_out: Any = data.val
        last = held_out.last if self.by_estimator else held_out.columns["last"].cpu().numpy()
        return of_quantity(columns["label"], last[: len(columns["label"])], "the latest value goes on")

    def predict(self, estimator: Pipeline, rows: WindowRows) -> dict[str, np.ndarray]:
        changes = {"label": rows.y, "prediction": np.ravel(estimator.predict(rows.X))}
        return {name: rows.last + each * self.unit for name, each in changes.items()}

    def score(self, estimator: Pipeline, rows: WindowRows) -> dict[str, float]:
        found = self.predict(estimator, rows)
        metrics = regression_scores(found["label"], found["prediction"], self.unit)
        naive = regression_scores(found["label"], rows.last, self.unit)["rmse"]
        return metrics | {"naive_rmse": naive, "skill": skill(metrics["rmse"], naive)}

    def export(self, model: Any, folder: Path) -> None:
        from launcher.artifacts.export import save_estimator, save_module

        if self.by_estimator:
            save_estimator(model, folder, facts=self.facts())
        else:
            save_module(model, folder, facts=self.facts())


class WindowRows(Rows):
    """Windows and changes for an estimator, and the values that the changes start from ([rows])."""

    def __init__(self, X: np.ndarray, y: np.ndarray, last: np.ndarray) -> None:
        super().__init__(X, y)
        self.last = last


def skill(rmse: float, naive_rmse: float) -> float:
    """The share of the naive forecast's squared error that is gone; NaN where the naive forecast is perfect."""
    return 1 - (rmse / naive_rmse) ** 2 if naive_rmse else float("nan")


def _statistics(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std())


def _tensors(inputs: np.ndarray, changes: np.ndarray, last: np.ndarray) -> TensorSamples:
    return TensorSamples(
        inputs=torch.from_numpy(inputs.astype(np.float32)),
        labels=torch.from_numpy(changes.copy()),
        last=torch.from_numpy(last.copy()),
    )
