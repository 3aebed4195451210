"""Tables: estimators and torch modules on the same preparation, scored by the same formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from launcher import CONF
from launcher.artifacts.export import load_estimator, load_facts, load_module
from launcher.config.instantiate import instantiate
from launcher.config.resolvers import alternatives
from launcher.config.signatures import locate
from launcher.data.splits import Holdout
from launcher.errors import ConfigError
from launcher.tasks.data.bundled import Bundled
from launcher.tasks.data.files import Files
from launcher.tasks.estimators import regression_scores
from launcher.tasks.models.mlp import MLP
from launcher.tasks.tabular import PREPROCESSING, TabularClassification, TabularRegression
from tests.conftest import Launch
from tests.tasks.conftest import evaluate, factory, train


def of(name: str) -> Bundled:
    return Bundled(name, "regression" if name == "diabetes" else "classification")


def task(data: Any, model: Any, **options: Any) -> Any:
    kind = (
        TabularRegression
        if getattr(data, "problem", "") == "regression" or getattr(data, "name", "") == "diabetes"
        else TabularClassification
    )
    return kind(data, model, Holdout(0.2, seed=0), **options)


def estimators(problem: str) -> list[tuple[str, str]]:
    """The entries of conf/model that are scikit-learn's, with their class for the problem."""
    found = []
    for path in sorted((CONF / "model").glob("*.yaml")):
        target = yaml.safe_load(path.read_text())["_target_"]
        choices = target.rstrip("}").split(",")[1:] if "by_problem" in target else []
        chosen = choices[problem == "regression"] if choices else "null"
        if chosen != "null":
            found.append((path.stem, chosen))
    return found


def keywords(entry: str) -> dict[str, Any]:
    node = yaml.safe_load((CONF / "model" / f"{entry}.yaml").read_text())
    return {
        name: instantiate(OmegaConf.create(value), group="model") if isinstance(value, dict) else value
        for name, value in node.items()
        if not name.startswith("_")
    }


def test_an_entry_for_one_problem_is_no_way_out_of_the_other(launch: Launch) -> None:
    said = {data: launch("task=tabular", f"data={data}", "model=cnn").stderr for data in ("wine", "diabetes")}
    for data, entry, other in (("wine", "logistic_regression", "lasso"), ("diabetes", "lasso", "logistic_regression")):
        listed = said[data].rpartition(": ")[2].strip().split(", ")
        assert entry in listed
        assert "mlp" in listed
        assert other not in listed


CASES = [
    (data, *entry)
    for data in ("wine", "diabetes")
    for entry in estimators("regression" if data == "diabetes" else "classification")
]


@pytest.mark.parametrize(("data", "entry", "target"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_every_estimator_of_the_catalogue(data: str, entry: str, target: str, tmp_path: Path) -> None:
    """Fits, scores better than no learning, is written and read back through skops with the same predictions."""
    mine = task(of(data), factory(locate(target), **keywords(entry)))
    found = mine.datasets()
    pipeline = mine.model().fit(found.train.X, found.train.y)
    metrics = mine.score(pipeline, found.val)
    assert set(metrics) <= set(mine.metric_names)
    if data == "wine":
        assert metrics["accuracy"] > (0.8 if entry != "dummy" else 0.2)
        assert ("loss" in metrics) == hasattr(pipeline, "predict_proba")
    elif entry != "dummy":
        assert metrics["r2"] > {"svm": 0.05, "decision_tree": -0.6}.get(entry, 0.2)
    mine.export(pipeline, tmp_path)
    again = load_estimator(tmp_path)
    np.testing.assert_array_equal(again.predict(found.val.X), pipeline.predict(found.val.X))
    assert load_facts(tmp_path)["columns"] == mine.table.columns


def test_metrics_are_scikit_learns_and_the_formulas() -> None:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.metrics import log_loss

    mine = task(of("wine"), factory(RandomForestClassifier, n_estimators=20))
    found = mine.datasets()
    pipeline = mine.model().fit(found.train.X, found.train.y)
    metrics = mine.score(pipeline, found.val)
    assert metrics["loss"] == pytest.approx(
        log_loss(found.val.y, pipeline.predict_proba(found.val.X), labels=[0, 1, 2])
    )
    assert metrics["accuracy"] == (pipeline.predict(found.val.X) == found.val.y).mean()

    theirs = task(of("diabetes"), factory(RandomForestRegressor, n_estimators=20))
    found = theirs.datasets()
    pipeline = theirs.model().fit(found.train.X, found.train.y)
    metrics = theirs.score(pipeline, found.val)
    error = pipeline.predict(found.val.X) - found.val.y
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics["mae"] == pytest.approx(np.abs(error).mean())
    assert metrics["loss"] == pytest.approx((error**2).mean() / found.train.y.var())
    assert metrics["r2"] == pytest.approx(1 - (error**2).sum() / ((found.val.y - found.val.y.mean()) ** 2).sum())


def test_an_estimator_is_repeatable_and_follows_the_seed() -> None:
    from sklearn.ensemble import RandomForestClassifier

    def probabilities(seed: int, **options: Any) -> np.ndarray:
        mine = TabularClassification(
            of("wine"), factory(RandomForestClassifier, n_estimators=5, **options), Holdout(0.2, seed=0), seed=seed
        )
        found = mine.datasets()
        return np.asarray(mine.model().fit(found.train.X, found.train.y).predict_proba(found.val.X))

    large = 2**62 + 3  # seeds of fits have 63 bits, scikit-learn's 32
    np.testing.assert_array_equal(probabilities(large), probabilities(large))
    assert not np.array_equal(probabilities(large), probabilities(1))
    np.testing.assert_array_equal(
        probabilities(large, random_state=7), probabilities(1, random_state=7)
    )  # the config's own word counts


def test_mlp_in_torch_on_both_problems(tmp_path: Path) -> None:
    mine = task(of("breast_cancer"), factory(MLP, width=32))
    _, metrics = train(mine, 150, lr=3e-3)
    assert metrics["accuracy"] > 0.93
    theirs = task(of("diabetes"), factory(MLP, width=32, dropout=0.2))
    model, metrics = train(theirs, 150, lr=3e-3)
    assert metrics["r2"] > 0.3
    data = theirs.datasets()
    with torch.no_grad():
        predicted = model(data.val.columns["inputs"]).squeeze(-1).numpy().astype(np.float64) * theirs.std + theirs.mean
    y = theirs.table.y[next(iter(theirs.validation.split(np.zeros(len(theirs.table.y)))))[1]]
    assert metrics["rmse"] == pytest.approx(np.sqrt(((predicted - y) ** 2).mean()), rel=1e-4)
    assert metrics["mae"] == pytest.approx(np.abs(predicted - y).mean(), rel=1e-4)
    assert metrics["r2"] == pytest.approx(1 - ((predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-4)
    assert metrics["loss"] == pytest.approx(((predicted - y) ** 2).mean() / theirs.std**2, rel=1e-4)


def test_a_torch_model_is_exported_with_its_preparation(tmp_path: Path) -> None:
    """What is exported turns raw rows into the predictions that were scored."""
    mine = task(of("diabetes"), factory(MLP, width=16))
    model, metrics = train(mine, 50, lr=3e-3)
    mine.export(model, tmp_path)
    facts, again, prepare = load_facts(tmp_path), load_module(tmp_path), load_estimator(tmp_path / PREPROCESSING)
    rows = next(iter(mine.validation.split(np.zeros(len(mine.table.y)))))[1]
    inputs = torch.from_numpy(prepare.transform(mine.table.X[rows]).astype(np.float32))
    with torch.no_grad():
        predicted = again(inputs).squeeze(-1).numpy() * facts["target_std"] + facts["target_mean"]
    assert np.sqrt(((predicted - mine.table.y[rows]) ** 2).mean()) == pytest.approx(metrics["rmse"], rel=1e-5)


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """Numbers with gaps and categories, one of which only held-out rows have."""
    draw = np.random.default_rng(0)
    held_out = set(Holdout(0.2, seed=0).split(np.zeros(100)).__next__()[1].tolist())
    lines = ["size,colour,empty,target"]
    for row in range(100):
        size = draw.normal() + (5 if row in held_out else 0)
        colour = "never" if row in held_out else ["red", "blue", ""][row % 3]
        lines.append(f"{'' if row % 10 == 0 else size},{colour},,{'up' if row % 2 else 'down'}")
    path = tmp_path / "mixed.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_preparation_is_fitted_on_training_rows_alone(mixed: str) -> None:
    mine = task(Files(mixed), factory(MLP))
    data = mine.datasets()
    train_rows = next(iter(mine.validation.split(np.zeros(100))))[0]
    sizes = mine.table.X["size"].to_numpy()[train_rows]
    filled = np.where(np.isnan(sizes), np.nanmedian(sizes), sizes)
    inputs = data.train.columns["inputs"].numpy()
    np.testing.assert_allclose(inputs[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-5, atol=1e-6)
    assert data.val.columns["inputs"][:, 0].mean() > 2  # held-out rows are far out by the training rows' measure
    assert inputs.shape[1] == 5  # size, the empty column, blue, missing, red
    np.testing.assert_array_equal(inputs[:, 2:].sum(axis=1), 1)
    assert data.val.columns["inputs"][:, 2:].sum() == 0  # a colour that training never saw is none of them


def test_files_with_gaps_and_categories_through_an_estimator(mixed: str, tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    mine = task(Files(mixed), factory(HistGradientBoostingClassifier, max_iter=5))
    data = mine.datasets()
    pipeline = mine.model().fit(data.train.X, data.train.y)
    mine.export(pipeline, tmp_path)
    np.testing.assert_array_equal(load_estimator(tmp_path).predict(data.val.X), pipeline.predict(data.val.X))
    assert load_facts(tmp_path)["classes"] == ["down", "up"]


@pytest.mark.parametrize(("scale", "low", "high"), [("minmax", 0.0, 1.0), ("none", None, None)])
def test_scales(scale: str, low: float | None, high: float | None) -> None:
    mine = task(of("wine"), factory(MLP), scale=scale)
    inputs = mine.datasets().train.columns["inputs"].numpy()
    if low is None:
        rows = next(iter(mine.validation.split(np.zeros(len(mine.table.y)))))[0]
        np.testing.assert_array_equal(inputs, mine.table.X[rows].astype(np.float32))
    else:
        np.testing.assert_allclose(inputs.min(axis=0), low, atol=1e-6)
        np.testing.assert_allclose(inputs.max(axis=0), high, atol=1e-6)


def test_rare_categories_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,target\n" + "".join(f"c{row % 50},{row % 2}\n" for row in range(300)))
    assert task(Files(str(path)), factory(MLP), max_categories=8).datasets().train.columns["inputs"].shape[1] == 8


def test_refusals(tmp_path: Path) -> None:
    from sklearn.linear_model import Lasso, LogisticRegression

    with pytest.raises(ConfigError, match=r"data\.name=wien: scikit-learn brings no such table\. Did you mean 'wine'"):
        Bundled("wien", "classification")
    with pytest.raises(ConfigError, match=r"data\.problem=regression: the target of wine is for classification"):
        Bundled("wine", "regression")
    mine = task(of("wine"), factory(Lasso))
    mine.datasets()
    with pytest.raises(ConfigError, match="Lasso is not for classification"):
        mine.model()
    with pytest.raises(ConfigError, match="not for regression"):
        TabularRegression(of("wine"), factory(LogisticRegression), Holdout()).datasets()
    for key, value in (("impute", "mdian"), ("scale", "standrd"), ("max_categories", 1)):
        with pytest.raises(ConfigError, match=f"task\\.{key}={value}"):
            task(of("wine"), factory(MLP), **{key: value})
    path = tmp_path / "t.csv"
    path.write_text("a,target\n" + "".join(f"{row},{2.0}\n" for row in range(20)))
    constant = TabularRegression(Files(str(path), problem="regression"), factory(MLP), Holdout())
    with pytest.raises(ConfigError, match=r"the target 'target' is 2\.0 in every training row"):
        constant.datasets()


def test_every_choice_of_an_entry_is_found() -> None:
    target = yaml.safe_load((CONF / "model" / "random_forest.yaml").read_text())["_target_"]
    assert [name.rpartition(".")[2] for name in alternatives(target)] == [
        "RandomForestClassifier",
        "RandomForestRegressor",
    ]


def test_evaluation_of_torch_and_estimators_agree() -> None:
    """A linear model fitted by scikit-learn and the same weights in torch get the same metrics."""
    from sklearn.linear_model import LinearRegression

    theirs = task(of("diabetes"), factory(LinearRegression))
    found = theirs.datasets()
    pipeline = theirs.model().fit(found.train.X, found.train.y)
    mine = task(of("diabetes"), factory(MLP, depth=0))
    data = mine.datasets()
    model = mine.model()
    linear = pipeline.named_steps["model"]
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(linear.coef_[None] / mine.std))
        model.head.bias.fill_((linear.intercept_ - mine.mean) / mine.std)
    assert evaluate(mine, model, data.val) == pytest.approx(theirs.score(pipeline, found.val), rel=1e-4)


@pytest.mark.parametrize("empty", ["train", "all"])
def test_a_category_without_a_value_among_the_training_rows(tmp_path: Path, empty: str) -> None:
    held_out = set(Holdout(0.2, seed=0).split(np.zeros(40)).__next__()[1].tolist())
    lines = [f"{row},{'x' if row in held_out and empty == 'train' else ''},{row % 2}" for row in range(40)]
    path = tmp_path / "void.csv"
    path.write_text("\n".join(["age,remark,target", *lines]) + "\n")
    from sklearn.linear_model import LogisticRegression

    data = task(Files(str(path)), factory(MLP)).datasets()
    assert data.train.columns["inputs"].shape == (32, 2)
    assert torch.isfinite(data.val.columns["inputs"]).all()
    mine = task(Files(str(path)), factory(LogisticRegression))
    rows = mine.datasets()
    fitted = mine.model().fit(rows.train.X, rows.train.y)
    assert np.isfinite(mine.score(fitted, rows.val)["loss"])


@pytest.mark.parametrize("num", [1, 2, 5])
def test_r2_of_any_number_of_rows(num: int) -> None:
    """As the estimators' own score has it: none of one row."""
    from sklearn.metrics import r2_score

    from launcher.tasks.metrics import QuantityErrors

    draw = np.random.default_rng(num)
    label, found = draw.normal(size=num), draw.normal(size=num)
    metric = QuantityErrors(1.0, ("r2",))
    for row in range(num):
        metric.update(torch.tensor(found - label)[row : row + 1], torch.tensor(label)[row : row + 1])
    expected = r2_score(label, found) if num > 1 else np.nan
    assert float(metric.compute()["r2"]) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert regression_scores(label, found, 1.0)["r2"] == pytest.approx(expected, nan_ok=True)
