"""Forecasting: windows in the order of time, their units, and what beats the naive forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launcher.artifacts.export import load_estimator, load_facts, load_module
from launcher.data.splits import Everything, Fold, TemporalHoldout
from launcher.errors import ConfigError
from launcher.tasks.data.files import Files
from launcher.tasks.data.kinds import Series
from launcher.tasks.data.series import BundledSeries
from launcher.tasks.forecasting import Forecasting, skill
from launcher.tasks.models.mlp import MLP
from tests.support.fits import fit
from tests.tasks.conftest import factory


class Given:
    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)

    def series(self) -> Series:
        return Series(self.values, "given")


def of(values: Any, validation: Any = None, model: Any = MLP, **options: Any) -> Any:
    return Forecasting(Given(values), factory(model), validation or TemporalHoldout(0.25), **options)


@pytest.mark.parametrize(("lags", "horizon"), [(1, 1), (3, 1), (4, 3)])
def test_a_row_is_a_window_and_the_value_after_it(lags: int, horizon: int) -> None:
    values = np.random.default_rng(0).normal(size=40).cumsum()
    task = of(values, TemporalHoldout(0.25, gap=horizon - 1), lags=lags, horizon=horizon)
    data = task.datasets()
    num = 40 - lags - horizon + 1
    rows = data.val_rows
    assert rows.tolist() == list(range(num - round(num / 4), num))
    assert data.train_rows[-1] == rows[0] - horizon
    batch = data.val.fetch(torch.arange(len(rows)))
    windows = batch["inputs"].numpy() * task.std + task.mean
    np.testing.assert_allclose(windows, [values[row : row + lags] for row in rows], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch["last"], [values[row + lags - 1] for row in rows])
    targets = batch["last"].numpy() + batch["labels"].numpy() * task.unit
    np.testing.assert_allclose(targets, [values[row + lags - 1 + horizon] for row in rows], rtol=1e-5, atol=1e-6)


def test_units_are_the_training_rows() -> None:
    values = np.random.default_rng(0).normal(size=40).cumsum()
    task = of(values, lags=3)
    train = task.datasets().train_rows
    windows = np.array([values[row : row + 3] for row in train])
    changes = np.array([values[row + 3] - values[row + 2] for row in train])
    assert (task.mean, task.std, task.unit) == pytest.approx((windows.mean(), windows.std(), changes.std()))


def test_differences_do_not_know_the_level() -> None:
    """A trend moves the windows of plain values, and leaves the relative ones where they were."""
    values = np.sin(np.arange(60.0))
    low, high = (of(values + level, lags=5, difference=True).datasets() for level in (0, 1000))
    inputs = [data.train.columns["inputs"] for data in (low, high)]
    assert inputs[0].shape[1] == 4
    torch.testing.assert_close(*inputs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "model", [["model=mlp"], ["model=ridge"], ["model=gradient_boosting"]], ids=lambda words: words[0]
)
@pytest.mark.parametrize(
    "data", [["data=sunspots"], ["data=co2", "task.lags=25", "task.difference=true"]], ids=lambda words: words[0]
)
def test_beats_the_naive_forecast(data: list[str], model: list[str], tmp_path: Path) -> None:
    result = fit(tmp_path, "task=forecasting", *data, *model, "training.max_epochs=40", "training.eval_every=10epoch")
    metrics = result["metrics"]
    assert metrics["val/skill"] > 0.5
    assert metrics["val/skill"] == pytest.approx(1 - (metrics["val/rmse"] / metrics["val/naive_rmse"]) ** 2, abs=1e-6)
    assert metrics["val/mae"] <= metrics["val/rmse"] < metrics["val/naive_rmse"]


def test_the_naive_forecast_is_that_of_the_last_value(tmp_path: Path) -> None:
    """What the metrics compare with, from the file itself."""
    result = fit(tmp_path, "task=forecasting", "model=dummy")
    values = BundledSeries("sunspots").series().values
    num = len(values) - 12
    held_out = np.arange(num - round(0.2 * num), num) + 12
    expected = np.sqrt(np.mean((values[held_out] - values[held_out - 1]) ** 2))
    assert result["metrics"]["val/naive_rmse"] == pytest.approx(expected)
    assert result["metrics"]["val/skill"] == pytest.approx(0, abs=0.02), "the mean change is hardly any"


def test_modules_and_estimators_report_the_same(tmp_path: Path) -> None:
    """Least squares by scikit-learn, put into a linear module: every metric agrees."""
    from sklearn.linear_model import LinearRegression

    from launcher.data.batches import EvalBatches
    from launcher.train.build import build_parallel
    from launcher.train.evaluate import evaluate, predict
    from tests.support.fits import config_of

    theirs, ours = (of(BundledSeries("sunspots").series().values, model=kind) for kind in (LinearRegression, MLP))
    rows, data = theirs.datasets(), ours.datasets()
    fitted = theirs.model().fit(rows.train.X, rows.train.y)
    linear = torch.nn.Linear(12, 1, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(fitted.coef_[None]))
        linear.bias.fill_(fitted.intercept_)
    model = torch.nn.Sequential(linear.float())
    parallel = build_parallel(config_of("task=forecasting"))
    batches = EvalBatches(data.val, batch_size=16)
    found, expected = evaluate(ours, model, batches, parallel), theirs.score(fitted, rows.val)
    assert found.keys() == expected.keys() == set(Forecasting.metric_names)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    columns, reference = predict(ours, model, batches, parallel), theirs.predict(fitted, rows.val)
    np.testing.assert_allclose(columns["prediction"], reference["prediction"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(columns["label"], reference["label"], atol=1e-4)


@pytest.mark.parametrize("model", ["mlp", "ridge"])
def test_the_exported_model_forecasts_alone(model: str, tmp_path: Path) -> None:
    """last + unit * model((window - mean) / std) is what predictions.csv says, without the task."""
    words = ("task=forecasting", f"model={model}", "training.max_epochs=3", "training.predictions=true")
    fit(tmp_path, *words)
    facts = load_facts(tmp_path / "model")
    last_line = (tmp_path / "predictions.csv").read_text().splitlines()[-1].split(",")
    values = BundledSeries("sunspots").series().values
    row = int(last_line[0])
    window = values[row : row + facts["lags"]]
    inputs = (window - facts["mean"]) / facts["std"]
    if model == "mlp":
        with torch.no_grad():
            change = load_module(tmp_path / "model")(torch.tensor(inputs[None], dtype=torch.float32)).item()
    else:
        change = load_estimator(tmp_path / "model").predict(inputs[None])[0]
    assert float(last_line[1]) == pytest.approx(values[row + facts["lags"]], abs=1e-3)
    assert float(last_line[2]) == pytest.approx(window[-1] + facts["unit"] * change, rel=1e-5)


def test_a_horizon_needs_its_gap() -> None:
    values = np.sin(np.arange(60.0))
    with pytest.raises(ConfigError, match=r"validation.gap=2 at least"):
        of(values, TemporalHoldout(0.2, gap=1), lags=3, horizon=3).datasets()
    assert len(of(values, TemporalHoldout(0.2, gap=2), lags=3, horizon=3).datasets().val)


def test_all_of_a_series_can_be_learned_from() -> None:
    data = of(np.sin(np.arange(60.0)), Everything(), lags=3).datasets()
    assert data.val is None
    assert len(data.train) == 57


def test_what_can_not_be_forecast_is_refused() -> None:
    from sklearn.model_selection import KFold
    from sklearn.naive_bayes import GaussianNB

    for task, message in (
        (lambda: of(np.ones(50)), "does not move"),
        (lambda: of(np.arange(9.0), lags=12), "too few for task.lags=12"),
        (lambda: of(np.arange(50.0), Fold(KFold(3), 0)), "stand in the order of time"),
    ):
        with pytest.raises(ConfigError, match=message):
            task().datasets()
    for options, message in (({"lags": 0}, "expected 1 at least"), ({"lags": 1, "difference": True}, "2 at least")):
        with pytest.raises(ConfigError, match=message):
            of(np.arange(50.0), **options)
    classifier = of(np.sin(np.arange(50.0)), model=GaussianNB)
    classifier.datasets()
    with pytest.raises(ConfigError, match="GaussianNB is not for regression"):
        classifier.model()
    assert np.isnan(skill(1.0, 0.0))


def test_the_bundled_series() -> None:
    sunspots, co2 = BundledSeries("sunspots").series(), BundledSeries("co2").series()
    assert sunspots.times is not None
    assert co2.times is not None
    assert (len(sunspots.values), sunspots.times[0], sunspots.times[-1]) == (309, "1700", "2008")
    assert (len(co2.values), co2.times[0], co2.times[-1]) == (452, "1964-05", "2001-12")
    assert sunspots.times == sorted(sunspots.times)
    assert co2.times == sorted(co2.times)
    assert sunspots.values.max() == 190.2, "the solar maximum of 1957"
    assert sunspots.times[int(sunspots.values.argmax())] == "1957"
    months = [int(time[-2:]) for time in co2.times]
    assert (np.diff(months) % 12 == 1).all(), "no month is missing"
    with pytest.raises(ConfigError, match="Did you mean 'sunspots'"):
        BundledSeries("sunspot")


def written(path: Path, rows: list[dict[str, Any]]) -> Files:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return Files(str(path), target="price", time="day", problem="regression")


def test_a_series_of_ones_own_file(tmp_path: Path) -> None:
    rows = [{"day": day, "price": day**0.5, "note": "x"} for day in range(1, 29)]
    found = written(tmp_path / "prices.jsonl", rows).series()
    assert found.values.tolist() == [row["price"] for row in rows]
    assert (found.name, found.times[3] if found.times else None) == ("price", "4")
    rows[4], rows[5] = rows[5], rows[4]
    with pytest.raises(ConfigError, match=r"prices.jsonl:6: 'day' is 5, not later than 6"):
        written(tmp_path / "prices.jsonl", rows).series()
    rows[2]["price"] = None
    with pytest.raises(ConfigError, match=r"prices.jsonl:3: the target 'price' is missing; a series needs a number"):
        written(tmp_path / "prices.jsonl", rows).series()
