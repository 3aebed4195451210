"""`search=automl` by the real command: families under folds, one model of the best, and rows that chose nothing."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error

from launcher.artifacts.export import load_estimator, load_facts
from tests.conftest import Launch
from tests.support.harness import Warm

COMMON = (
    "-m", "search=automl", "task=tabular", "tracker=[]", "validation.folds.n_splits=3", "hydra.sweeper.study_name=s",
)  # fmt: skip
WINE = (*COMMON, "data=wine", "model=knn,naive_bayes,logistic_regression", "hydra.sweeper.n_trials=5")


@pytest.fixture(scope="module")
def wine(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose driver was killed after its first trial, and which the same command finished."""
    folder = tmp_path_factory.mktemp("wine")
    running = warm.start(*WINE, cwd=folder)
    deadline = time.monotonic() + 120
    while not (folder / "multirun" / "s" / "0" / "result.json").exists():
        assert time.monotonic() < deadline
        assert not running.done(), running.stderr.read_text()
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):  # it may have come to its end meanwhile
        running.send(signal.SIGKILL)
    running.wait()
    outcome = warm(*WINE, cwd=folder)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "ensemble: " in outcome.stdout
    assert "held out: val/accuracy" in outcome.stdout
    return folder / "multirun" / "s"


def members(study: Path) -> list[tuple[Path, float]]:
    told = json.loads((study / "ensemble.json").read_text())["members"]
    assert sum(each["weight"] for each in told) == pytest.approx(1)
    return [(study / str(each["trial"]), each["weight"]) for each in told]


def test_every_trial_is_a_cross_validation_over_its_own_family(wine: Path) -> None:
    with (wine / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["completed"] * 5
    own = {"knn": "model.n_neighbors", "naive_bayes": "model.var_smoothing", "logistic_regression": "model.C"}
    for row in rows:
        assert row[own[row["model"]]]
        assert bool(row.get("task.scale")) == (row["model"] != "naive_bayes")
        result = json.loads((wine / row["number"] / "result.json").read_text())
        assert len(result["fits"]) == 3
        assert (wine / row["number"] / "model").is_dir()
        assert not list((wine / row["number"]).glob("fold-*/model")), "that of all rows is enough"
        assert float(row["value"]) == pytest.approx(np.mean([each["objective"] for each in result["fits"]]), rel=1e-12)


def test_the_rows_put_aside_are_in_no_fold(wine: Path) -> None:
    for number in range(5):
        chosen = set(pd.read_csv(wine / str(number) / "oof.csv").row)
        aside = set(pd.read_csv(wine / str(number) / "refit" / "predictions.csv").row)
        assert len(aside) == round(178 * 0.2)
        assert not chosen & aside
        assert chosen | aside == set(range(178))


def test_the_ensemble_is_the_weighted_mean_of_its_members(wine: Path) -> None:
    X, y = load_wine(return_X_y=True)
    model = load_estimator(wine / "model")
    aside = pd.read_csv(wine / "0" / "refit" / "predictions.csv").row.to_numpy()
    columns = [f"p_{name}" for name in load_facts(wine / "model")["classes"]]
    found = model.predict_proba(X[aside])
    mean = sum(
        weight * pd.read_csv(own / "refit" / "predictions.csv")[columns].to_numpy() for own, weight in members(wine)
    )
    np.testing.assert_allclose(found, mean, rtol=1e-9, atol=1e-12)
    held_out = json.loads((wine / "ensemble.json").read_text())["held_out"]
    assert held_out["val/accuracy"] == accuracy_score(y[aside], model.predict(X[aside]))
    assert held_out["val/loss"] == pytest.approx(log_loss(y[aside], found), rel=1e-9)


def test_it_is_chosen_by_what_no_member_had_learned(wine: Path) -> None:
    told = json.loads((wine / "ensemble.json").read_text())["out_of_fold"]
    tables = {number: pd.read_csv(wine / str(number) / "oof.csv").sort_values("row") for number in range(5)}
    columns = [name for name in tables[0] if name.startswith("p_")]
    losses = {
        number: log_loss([f"p_{label}" for label in table.label], table[columns].to_numpy(), labels=columns)
        for number, table in tables.items()
    }
    assert told["best_trial"] == min(losses, key=lambda number: losses[number])
    assert told["best_loss"] == pytest.approx(min(losses.values()), rel=1e-9)
    mixed = sum(weight * tables[int(own.name)][columns].to_numpy() for own, weight in members(wine))
    labels = [f"p_{label}" for label in tables[0].label]
    assert told["loss"] == pytest.approx(log_loss(labels, mixed, labels=columns), rel=1e-9)
    assert told["loss"] <= told["best_loss"]


def test_quantities(launch: Launch, tmp_path: Path) -> None:
    words = (*COMMON, "data=diabetes", "model=ridge,knn", "hydra.sweeper.n_trials=3")
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    study = tmp_path / "multirun" / "s"
    X, y = load_diabetes(return_X_y=True)
    tables = [pd.read_csv(own / "refit" / "predictions.csv") for own, _ in members(study)]
    aside = tables[0].row.to_numpy()
    found = load_estimator(study / "model").predict(X[aside])
    mean = sum(weight * table.prediction.to_numpy() for table, (_, weight) in zip(tables, members(study), strict=True))
    np.testing.assert_allclose(found, mean, rtol=1e-9)
    held_out = json.loads((study / "ensemble.json").read_text())["held_out"]
    assert held_out["val/rmse"] == pytest.approx(root_mean_squared_error(y[aside], found), rel=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "ImageClassification trains torch modules; task=tabular learns by scikit-learn's estimators"),
        (("task=tabular", "model=mlp"), "MLP is a torch module"),
        (("task=tabular", "validation=holdout"), "chooses by out-of-fold predictions: validation=reserved"),
        (("task=tabular", "validation=nested"), "the folds of validation=nested have a model each"),
        (("task=tabular", "procedure.refit=false"), "is made of models of all rows: procedure.refit=true"),
        (("task=tabular", "model=knn,ridgee"), "no such option of the group 'model'. Did you mean 'ridge'"),
        (("task=tabular", "model=knn,ridge,lasso"), "model=lasso is for regression"),
        (
            ("task=tabular", "hydra.sweeper.ensemble=0"),
            "hydra.sweeper.ensemble=0: expected a whole number at least 1 or null",
        ),
    ],
)
def test_what_does_not_go_together_starts_nothing(
    launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = launch("-m", "search=automl", *words)
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()
