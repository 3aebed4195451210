"""Nested cross-validation: the inner folds choose, the outer ones judge, and what judges has no say in the choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.metrics_file import read
from launcher.config.instantiate import instantiate
from launcher.errors import ConfigError, TrainingError
from launcher.procedures.selection import best_of
from launcher.process.seeds import derive
from tests.procedures.folds import planned, rows_of, run_here
from tests.support.fits import TRUST, config_of, fit

SMALL = ("validation=nested", "validation.outer.n_splits=2", "validation.inner.n_splits=2")
RATES = "procedure.grid={optimizer.lr:[0.00001,0.01]}"
TORCH = (*SMALL, RATES, "model=mlp", "model.width=16", "training.max_epochs=2")


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("direction", "values", "chosen"),
    [
        ("minimize", [[NAN, 1.0], [3.0, 3.0], [2.0, 2.0]], 2),
        ("maximize", [[NAN, NAN], [3.0, 3.0], [2.0, 2.0]], 1),
        ("maximize", [[1.0, 1.0], [INF, 1.0], [2.0, None]], 0),
        ("minimize", [[1.0, 1.0], [-INF, 1.0], [1.0, 1.0]], 0),
    ],
)
def test_what_has_no_mean_is_never_chosen(direction: str, values: list[list[float | None]], chosen: int) -> None:
    objective = OmegaConf.create({"metric": "val/accuracy", "direction": direction})
    points = [{"optimizer.lr": rate} for rate in (0.1, 0.2, 0.3)]
    flat = [value for each in values for value in each]
    results: list[dict[str, Any]] = [{"objective": {"value": value}} for value in flat]
    assert best_of(points, results, objective) == points[chosen]
    for result in results:
        result["objective"]["value"] = NAN
    with pytest.raises(TrainingError, match=r"none of the 3 candidates has a finite val/accuracy .* nan, nan, nan"):
        best_of(points, results, objective)


def test_fits_of_which_one_says_nan_have_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of repeats the mean is NaN and the spread too; folds that never were the best are as long as they were."""
    monkeypatch.setenv("LAUNCHER_TRUST", TRUST["LAUNCHER_TRUST"])
    words = ("task._target_=tests.support.odd.Undecided", "+task.bad=[1,2]", "model=mlp", "training.max_epochs=1")
    words += ("objective.metric=val/loss", "objective.direction=minimize")
    found = run_here(tmp_path / "repeats", *words, "num_seeds=2")
    assert np.isnan(found["objective"]["value"])
    assert np.isnan(found["mean"]["val/loss"])
    assert np.isnan(found["std"]["val/loss"])
    assert found["std"]["train/loss"] > 0
    kfold = ("validation=kfold", "validation.n_splits=2", "procedure.refit=true", "stopping=[val_metric]")
    folds = run_here(tmp_path / "folds", *words, *kfold)
    assert np.isnan(folds["confidence"]["intervals"]["val/loss"]).all()
    assert (tmp_path / "folds" / "model").is_dir()


def test_a_fold_follows_its_inner_fits() -> None:
    config = config_of("tracker=[]", *SMALL, "procedure.grid={optimizer.lr:[0.1,0.2],model.dropout:[0.0,0.5]}")
    procedure = instantiate(config.procedure)
    jobs = procedure.next(config, {})
    inner = [job for job in jobs if job.name.startswith("inner/fold-1/")]
    assert [job.name for job in inner] == [
        f"inner/fold-1/candidate-{each}-fold-{fold}" for each in range(4) for fold in (0, 1)
    ]
    values = [(job.config.optimizer.lr, job.config.model.dropout) for job in inner[::2]]
    assert values == [(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]
    assert {job.config.procedure.fold for job in inner} == {1}
    seed = derive(derive(0, "fold", 1), "fold", 0)
    assert {job.config.seed for job in inner[::2]} == {seed}, "candidates differ in nothing else"
    assert len(jobs) == 2 * 8
    assert procedure.num_jobs(config) == 2 * (8 + 1)
    done = {job.name: {"objective": {"value": 0.5}} for job in inner}
    left = procedure.next(config, done)
    assert [job.name for job in left] == [*(job.name for job in jobs if job not in inner), "fold-1"]
    assert left[-1].after == tuple(job.name for job in inner)
    assert left[-1].config.seed == derive(0, "fold", 1)
    everything = {job.name: done[inner[0].name] for job in (*jobs, *left)} | {"fold-0": done[inner[0].name]}
    assert procedure.next(config, everything) == [], "it is over"


@pytest.mark.parametrize(("direction", "best"), [("maximize", 0.2), ("minimize", 0.1)])
def test_the_best_mean_decides(direction: str, best: float) -> None:
    config = config_of(
        "tracker=[]", *SMALL, "procedure.grid={optimizer.lr:[0.1,0.2,0.3]}", f"objective.direction={direction}"
    )
    procedure = instantiate(config.procedure)
    inner = [job.name for job in procedure.next(config, {}) if job.name.startswith("inner/fold-0/")]
    values = [0.1, 0.5, 0.9, 0.2, 0.4, 0.6]  # of three candidates, two folds each: means 0.3, 0.55, 0.5

    def decided(values: list[float]) -> DictConfig:
        done = {name: {"objective": {"value": value}} for name, value in zip(inner, values, strict=True)}
        return next(job.config for job in procedure.next(config, done) if job.name == "fold-0")

    chosen, other = decided(values), decided([*values[4:], *values[:4]])
    assert chosen.optimizer.lr == best
    assert other.optimizer.lr != best
    other.optimizer.lr = best
    assert other == chosen, "and nothing else changes"


def test_a_modules_rate_is_chosen_inside(tmp_path: Path) -> None:
    result = run_here(tmp_path, *TORCH)
    assert result["chosen"] == {"fold-0": {"optimizer.lr": 0.01}, "fold-1": {"optimizer.lr": 0.01}}
    assert [each["name"] for each in result["fits"]] == ["fold-0", "fold-1"], "inner fits do not count"
    for fold in range(2):
        own = tmp_path / f"fold-{fold}"
        assert OmegaConf.load(own / "config.yaml").optimizer.lr == 0.01
        inner = {
            candidate: np.mean(
                [
                    result_of(folder)["objective"]["value"]
                    for folder in tmp_path.glob(f"inner/fold-{fold}/{candidate}-*")
                ]
            )
            for candidate in ("candidate-0", "candidate-1")
        }
        assert inner["candidate-1"] > inner["candidate-0"] + 0.1
        looks = [line for line in read(own / "metrics.jsonl") if "val/accuracy" in line]
        assert [line["step"] for line in looks] == [result_of(own)["steps"]], "looked at once, at its end"
        assert not (tmp_path / f"inner/fold-{fold}/candidate-0-fold-0/predictions.csv").exists()
    assert sorted(int(row["row"]) for row in rows_of(tmp_path / "oof.csv")) == list(range(1797))


def test_the_default_grid_is_around_the_rate() -> None:
    _, jobs = planned(*SMALL, "optimizer.lr=0.003")
    rates = [
        job.config.optimizer.lr for job in jobs if job.name.startswith("inner/fold-0/") and job.name.endswith("fold-0")
    ]
    assert rates == [0.001, 0.003, 0.009]


def write(path: Path, labels: np.ndarray) -> None:
    """One feature that tells the classes apart, and nine of noise."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(len(labels), 10))
    X[:, 0] += 2.5 * (np.arange(len(labels)) % 2)
    lines = [",".join(f"{value:.9f}" for value in row) + f",{label}" for row, label in zip(X, labels, strict=True)]
    path.write_text("\n".join([",".join([*"abcdefghij", "target"]), *lines]) + "\n")


def test_outer_rows_have_no_say(tmp_path: Path) -> None:
    """The labels of an outer fold's held-out rows are turned round, so that a choice made by them would be the other one:
    inner scores, choice, seed and model stay as they were to the last bit, and the score alone tells of it."""
    path = tmp_path / "rows.csv"
    words = ("task=tabular", "model=decision_tree", "data=files", f"data.path={path}", *SMALL)
    grid = "procedure.grid={model.max_depth:[1,8]}"
    labels = np.arange(120) % 2
    write(path, labels)
    before = run_here(tmp_path / "before", *words, grid)
    held_out = [int(row["row"]) for row in rows_of(tmp_path / "before" / "fold-0" / "predictions.csv")]
    turned = labels.copy()
    turned[held_out] = 1 - turned[held_out]
    write(path, turned)
    after = run_here(tmp_path / "after", *words, grid)

    names = [folder.name for folder in sorted((tmp_path / "before/inner/fold-0").iterdir())]
    assert len(names) == 4
    for name in names:
        old, new = (result_of(tmp_path / side / "inner/fold-0" / name) for side in ("before", "after"))
        assert old["metrics"] == new["metrics"]
    assert before["chosen"]["fold-0"] == after["chosen"]["fold-0"] == {"model.max_depth": 1}
    old, new = (rows_of(tmp_path / side / "fold-0" / "predictions.csv") for side in ("before", "after"))
    for row, other in zip(old, new, strict=True):
        assert row["label"] != other.pop("label")
        assert {name: value for name, value in row.items() if name != "label"} == other
    scores = [result_of(tmp_path / side / "fold-0")["metrics"]["val/accuracy"] for side in ("before", "after")]
    assert scores[0] > 0.8
    assert scores[1] == pytest.approx(1 - scores[0])

    def by_the_outer_rows(side: str) -> int:
        """What a search that looks at them would choose."""
        write(path, labels if side == "before" else turned)
        own = (*words, grid, "procedure.fold=0", f"seed={derive(0, 'fold', 0)}", *seeds)
        found = {
            depth: fit(tmp_path / f"leak-{side}-{depth}", *own, f"model.max_depth={depth}")["metrics"]["val/accuracy"]
            for depth in (1, 8)
        }
        return max(found, key=lambda depth: found[depth])

    seeds = ("validation.outer.random_state=0", "validation.inner.random_state=0")
    assert (by_the_outer_rows("before"), by_the_outer_rows("after")) == (1, 8)


def test_refit_chooses_over_all_rows(tmp_path: Path) -> None:
    words = ("task=tabular", "data=diabetes", "model=ridge", *SMALL, "procedure.refit=true")
    result = run_here(tmp_path, *words, "procedure.grid={model.alpha:[1.0,100000.0]}")
    assert result["chosen"]["refit"] == {"model.alpha": 1.0}
    rows = [
        result_of(folder)["train_samples"] + result_of(folder)["val_samples"]
        for folder in tmp_path.glob("inner/refit/*")
    ]
    assert rows == [442] * 4
    assert result_of(tmp_path / "refit")["train_samples"] == 442
    assert (tmp_path / "model" / "model.skops").is_file()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{optimizer.rate:[1,2]}", r"procedure.grid \(optimizer.rate=1\): there is no key 'optimizer.rate'"),
        ("{optimizer.lr:[0.1,-1]}", r"procedure.grid \(optimizer.lr=-1\): optimizer.lr: expected a number above 0"),
        ("{optimizer.lr:[0.1]}", "give a key two values at least"),
        ("{optimizer.lr:0.1}", "optimizer.lr: expected a list of values"),
    ],
)
def test_a_wrong_grid_is_refused(grid: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(*SMALL, f"procedure.grid={grid}")


def test_an_estimator_needs_a_grid() -> None:
    with pytest.raises(ConfigError, match=r"give them as in 'procedure.grid=\{model.n_estimators: \[200, 400\]\}'"):
        planned(*SMALL, "task=tabular")
