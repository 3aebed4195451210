"""Metrics of quantities are scikit-learn's in float64, whatever the target's scale and offset, on one rank and on two."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import nn

from launcher.data.batches import EvalBatches
from launcher.data.splits import Holdout, TemporalHoldout
from launcher.functional.baselines import of_quantity
from launcher.functional.calibration import calibration_error
from launcher.tasks.base import classification_metrics
from launcher.tasks.data.kinds import Series, Table
from launcher.tasks.forecasting import Forecasting
from launcher.tasks.metrics import CalibrationError, QuantityErrors
from launcher.tasks.models.mlp import MLP
from launcher.tasks.tabular import TabularRegression
from launcher.train.build import build_parallel
from launcher.train.evaluate import evaluate, predict
from tests.conftest import Launch
from tests.support.fits import config_of
from tests.tasks.conftest import factory

SCALES = (1e-6, 1.0, 1e6)
OFFSETS = (0.0, 1e5, -1e8)
"""In units of the scale: how far the target's mean is from zero beside its spread."""
NOISE = 1e-3


def reference(label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    return {
        "rmse": mean_squared_error(label, prediction) ** 0.5,
        "mae": mean_absolute_error(label, prediction),
        "r2": r2_score(label, prediction),
    }


def rows(scale: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """A table whose target is nearly linear, so that its errors are small beside the spread."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 3))
    y = X @ [1.0, -2.0, 0.5] + NOISE * draw.normal(size=300)
    return X, scale * (y + offset)


class Given:
    """A table or a series by its numbers."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def table(self) -> Table:
        return Table(self.X, self.y, ["a", "b", "c"], [])

    def series(self) -> Series:
        return Series(self.y, "given")


def fitted(data: Any) -> nn.Module:
    """Least squares on the training samples, as a module of float32 weights."""
    inputs, labels = data.train.columns["inputs"].double(), data.train.columns["labels"].double()
    columns = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
    found = torch.linalg.lstsq(columns, labels[:, None]).solution
    linear = nn.Linear(inputs.shape[1], 1)
    with torch.no_grad():
        linear.weight.copy_(found[:-1].T)
        linear.bias.copy_(found[-1])
    return nn.Sequential(linear)


def tabular(scale: float, offset: float) -> Any:
    return TabularRegression(Given(*rows(scale, offset)), factory(MLP), Holdout(0.3, seed=0))


def forecasting(scale: float, offset: float) -> Any:
    """Two periods: a window says what comes next but for the noise."""
    steps, draw = np.arange(300.0), np.random.default_rng(0)
    values = np.sin(steps) + np.sin(0.3 * steps) + NOISE * draw.normal(size=300)
    return Forecasting(Given(np.zeros(0), scale * (values + offset)), factory(MLP), TemporalHoldout(0.3), lags=8)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("make", [tabular, forecasting])
def test_every_metric_is_scikit_learns(make: Any, scale: float, offset: float) -> None:
    task = make(scale, offset)
    data = task.datasets()
    model, parallel = fitted(data), build_parallel(config_of("task=forecasting"))
    batches = EvalBatches(data.val, batch_size=16)
    found, columns = evaluate(task, model, batches, parallel), predict(task, model, batches, parallel)
    expected = reference(columns["label"], columns["prediction"])
    assert expected["r2"] > 0.999, "errors are small beside the spread, which is what float32 could not tell"
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    unit = task.unit if make is forecasting else task.std
    assert found["loss"] == pytest.approx((expected["rmse"] / unit) ** 2, rel=1e-6)
    y = task.data.y[data.val_rows + (8 if make is forecasting else 0)]
    np.testing.assert_allclose(columns["label"], y, rtol=1e-15, atol=0.0 if offset else 1e-14 * scale)
    if make is forecasting:
        naive = mean_squared_error(y, task.data.y[data.val_rows + 7]) ** 0.5
        assert found["naive_rmse"] == pytest.approx(naive, rel=1e-6)
        assert 1 - found["skill"] == pytest.approx((expected["rmse"] / naive) ** 2, rel=1e-6)
    found_baselines = {name: value for name, (value, _) in of_quantity(columns["label"]).items()}
    assert found_baselines == pytest.approx(reference(y, np.full(len(y), y.mean())), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("offset", OFFSETS)
def test_two_ranks_report_what_one_would(offset: float, launch: Launch, tmp_path: Path) -> None:
    """By the real command; predictions.csv has every held-out row with all digits."""
    X, y = rows(1.0, offset)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "target"], *np.column_stack([X, y]).tolist()])
    words = ("task=tabular", "data=files", "data.path=table.csv", "data.problem=regression", "model=mlp", "tracker=[]")
    short = ("training.max_steps=40", "training.eval_batch_size=7", "training.predictions=true", "hydra.run.dir=run")
    outcome = launch(*words, *short, "parallel=ddp", "parallel.num_processes=2", "parallel.device=cpu")
    assert outcome.returncode == 0, outcome.stderr
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    table = np.genfromtxt(tmp_path / "run" / "predictions.csv", delimiter=",", names=True)
    expected = reference(table["label"], table["prediction"])
    assert {name: metrics[f"val/{name}"] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert 0.3 < expected["r2"] < 1
    training = np.delete(y, table["row"].astype(int))
    assert metrics["val/loss"] == pytest.approx((expected["rmse"] / training.std()) ** 2, rel=1e-6)
    np.testing.assert_allclose(table["label"], y[table["row"].astype(int)], rtol=1e-14)


@pytest.mark.parametrize(
    "label", [[3.0], [2.0, 2.0, 2.0], [0.0, 1.0], [1e8, 1e8 + 1]], ids=["one", "constant", "few", "large"]
)
@pytest.mark.parametrize("off", [0.0, 0.25])
@pytest.mark.filterwarnings("ignore:R.2 score is not well-defined")
def test_samples_of_no_spread_are_as_scikit_learn_has_them(label: list[float], off: float) -> None:
    metric, values = QuantityErrors(), torch.tensor(label, dtype=torch.float64)
    for value in values.split(1):
        metric.update(torch.full_like(value, off), value)
    metric.update(values[:0], values[:0])
    found = {name: float(value) for name, value in metric.compute().items()}
    expected = reference(values.numpy(), values.numpy() + off)
    assert found == pytest.approx(expected, nan_ok=True)


def test_calibration_is_the_formula_whatever_the_logits() -> None:
    """Also where they look like probabilities, and of more samples than float32 could sum up to a millionth."""
    generator = torch.Generator().manual_seed(0)
    for logits in (torch.rand(2000, 4, generator=generator), 3 * torch.randn(200_000, 4, generator=generator)):
        labels = torch.randint(4, (len(logits),), generator=generator)
        metric = CalibrationError()
        for part in torch.arange(len(logits)).split(64):
            metric.update(logits[part], labels[part])
        probabilities = logits.double().softmax(1).numpy()
        right = probabilities.argmax(1) == labels.numpy()
        assert float(metric.compute()) == pytest.approx(calibration_error(probabilities.max(1), right), rel=1e-9)


def test_shares_of_classes_are_scikit_learns() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(999, 5)), draw.integers(4, size=999)  # a class that no sample is of
    metrics = classification_metrics(5)
    for part in np.array_split(np.arange(999), 40):
        metrics.update(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    found, said = metrics.compute(), logits.argmax(1)
    assert float(found["accuracy"]) == pytest.approx(accuracy_score(labels, said), rel=1e-6)
    assert float(found["f1"]) == pytest.approx(f1_score(labels, said, average="macro"), rel=1e-6)
