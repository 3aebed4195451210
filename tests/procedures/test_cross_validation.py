"""Cross-validation: a fit a fold, what they say together, the prediction of each row by the fit that had not seen it."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from launcher.artifacts.export import load_estimator
from launcher.artifacts.metrics_file import read
from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.config.instantiate import instantiate
from launcher.core.procedure import Procedure, deviation
from launcher.errors import ConfigError
from launcher.procedures.selection import best_of
from launcher.process.forkserver import cores
from launcher.process.seeds import derive
from tests.conftest import Launch
from tests.procedures.folds import planned, rows_of, run_here
from tests.support.failing import TRUST
from tests.support.fits import config_of, fit

ENV = {"OMP_NUM_THREADS": "1"}


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_fits_differ_in_fold_and_seed() -> None:
    _, jobs = planned("validation=kfold", "seed=5")
    assert [job.name for job in jobs] == [f"fold-{fold}" for fold in range(5)]
    for fold, job in enumerate(jobs):
        assert (job.config.procedure.fold, job.config.procedure.inner_fold) == (fold, None)
        assert job.config.seed == derive(5, "fold", fold)
        assert job.config.validation.random_state == 5, "all cut the rows the same way"
        assert job.config.training.predictions
    assert len({job.config.seed for job in jobs}) == 5


def test_folds_times_seeds() -> None:
    _, jobs = planned("validation=kfold", "validation.n_splits=2", "num_seeds=3")
    assert [job.name for job in jobs] == [f"fold-{fold}-seed-{seed}" for fold in (0, 1) for seed in (0, 1, 2)]
    assert jobs[4].config.seed == derive(derive(0, "fold", 1), "repeat", 1)
    assert {job.config.num_seeds for job in jobs} == {1}


@pytest.mark.parametrize(
    ("words", "num"),
    [
        (("num_seeds=3000",), 3000),
        (("validation=kfold", "validation.n_splits=3000"), 3000),
        (("validation=kfold", "validation.n_splits=100", "num_seeds=30", "procedure.refit=true"), 3000),
        (("validation=repeated_kfold", "validation.n_splits=50", "validation.n_repeats=60"), 3000),
        (("validation=nested", "validation.outer.n_splits=100", "validation.inner.n_splits=10"), 3000),
    ],
)
def test_thousands_of_fits_are_laid_out_for_next_to_nothing(words: tuple[str, ...], num: int) -> None:
    """A config is made as its fit begins: to make all of them first took half a minute and 300 MB."""
    config = config_of("tracker=[]", *words)
    procedure: Procedure = instantiate(config.procedure)
    tracemalloc.start()
    jobs = procedure.next(config, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len({job.name for job in jobs}) == len(jobs) == num
    assert peak < 16 << 20
    assert jobs[-1].config.seed != jobs[0].config.seed, "each has its own config when it is asked for one"


def test_one_fold_alone() -> None:
    (job,) = planned("validation=kfold", "procedure.fold=2")[1]
    assert job.name == ""


def test_folds_that_no_one_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "validation" / "each.yaml"
    path.parent.mkdir()
    path.write_text("_target_: sklearn.model_selection.LeaveOneOut\n")
    with compose.session(str(tmp_path)) as hydra:
        composed = compose.compose(hydra, ["validation=each", "procedure=cross_validation"])
    with pytest.raises(ConfigError, match="does not say how many folds"):
        check(composed.config, composed.origins)


def test_a_refusal_takes_no_finished_fit_with_it(launch: Launch, tmp_path: Path) -> None:
    """What the first fit came to stays where a later one is refused, and a resume goes on with the others."""
    words = ["model=mlp", "training.max_epochs=1", "tracker=[]", "num_seeds=2", "hydra.run.dir=run"]
    words += ["task._target_=tests.support.failing.Fails", "+task.how=refuses"]
    done = launch(*words, env=ENV | TRUST | {"REFUSE": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "seed-1 failed: the digits are not for everybody" in done.stderr
    assert result_of(tmp_path / "run" / "seed-0")["status"] == "completed"
    assert result_of(tmp_path / "run")["status"] == "failed"
    gone_on = launch("resume=run", env=ENV | TRUST)
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert result_of(tmp_path / "run")["status"] == "completed"


ESTIMATOR = ("task=tabular", "data=breast_cancer", "model=logistic_regression")


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cancer")
    return folder, run_here(folder, *ESTIMATOR, "validation=stratified_kfold", "procedure.refit=true")


def test_out_of_fold_predictions_are_scikit_learns(cancer: tuple[Path, dict[str, Any]]) -> None:
    """Every row once, and the same probabilities as `cross_val_predict` gives with the same folds."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from launcher.train.build import build_task

    folder, result = cancer
    assert result["predictions"] == "oof.csv"
    rows = rows_of(folder / "oof.csv")
    assert sorted(int(row["row"]) for row in rows) == list(range(569))
    rows.sort(key=lambda row: int(row["row"]))
    data = load_breast_cancer()
    assert [row["label"] for row in rows] == [str(data.target_names[label]) for label in data.target]
    task = build_task(config_of(*ESTIMATOR))
    task.datasets()
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    expected = cross_val_predict(task.model(), data.data, data.target, cv=splitter, method="predict_proba")
    found = np.array([[float(row["p_malignant"]), float(row["p_benign"])] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert [row["prediction"] for row in rows] == [str(data.target_names[each]) for each in expected.argmax(1)]
    folds = np.array([int(row["fold"]) for row in rows])
    for fold, (_, val) in enumerate(splitter.split(data.data, data.target)):
        assert np.array_equal(np.flatnonzero(folds == fold), val)


def test_mean_deviation_and_interval(cancer: tuple[Path, dict[str, Any]]) -> None:
    from scipy import stats

    folder, result = cancer
    own = [result_of(folder / f"fold-{fold}")["metrics"]["val/accuracy"] for fold in range(5)]
    assert len(set(own)) > 1
    assert result["mean"]["val/accuracy"] == pytest.approx(np.mean(own))
    assert result["std"]["val/accuracy"] == pytest.approx(np.std(own, ddof=1))
    assert [each["objective"] for each in result["fits"]] == own
    assert [each["fold"] for each in result["fits"]] == [0, 1, 2, 3, 4]
    expected = stats.t.interval(0.95, 4, loc=np.mean(own), scale=stats.sem(own))
    assert result["confidence"]["intervals"]["val/accuracy"] == pytest.approx(expected)
    assert (result["confidence"]["level"], result["confidence"]["method"]) == (0.95, "student_t")
    assert all(name.startswith("val/") for name in result["confidence"]["intervals"])


def test_the_corrected_interval_allows_for_shared_rows(cancer: tuple[Path, dict[str, Any]]) -> None:
    from scipy import stats

    folder, result = cancer
    procedure, jobs = planned(
        *ESTIMATOR, "validation=stratified_kfold", "procedure.interval=nadeau_bengio", "procedure.confidence=0.9"
    )
    own = [result_of(folder / f"fold-{fold}") for fold in range(5)]
    low, high = procedure.combine(jobs, own)["confidence"]["intervals"]["val/loss"]
    values = [each["metrics"]["val/loss"] for each in own]
    sizes = np.mean([each["val_samples"] / each["train_samples"] for each in own])
    assert sizes == pytest.approx(1 / 4, rel=0.01)
    half = stats.t.ppf(0.95, 4) * np.std(values, ddof=1) * np.sqrt(1 / 5 + sizes)
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((np.mean(values), half))
    plain = result["confidence"]["intervals"]["val/loss"]
    wider = stats.t.ppf(0.975, 4) / stats.t.ppf(0.95, 4) * half
    assert wider / ((plain[1] - plain[0]) / 2) == pytest.approx(1.5, rel=0.01), "sqrt((1/5 + 1/4) / (1/5))"


def test_seeds_of_a_fold_are_no_folds_of_their_own() -> None:
    """The interval is over the folds: more seeds do not make it narrower than they should."""
    from scipy import stats

    procedure, jobs = planned("validation=kfold", "validation.n_splits=3", "num_seeds=2")
    values = [0.8, 0.9, 0.7, 0.8, 0.9, 0.9]
    same = {"status": "completed", "steps": 1, "epochs": 1, "wall_s": 1.0, "world_size": 1, "parameters": 1}
    same |= {"trainable_parameters": 1, "peak_memory_bytes": 1, "seed": 0, "val_samples": 10, "train_samples": 20}
    results = [same | {"metrics": {"val/x": value}, "objective": {"value": value}} for value in values]
    combined = procedure.combine(jobs, results)
    folds = [0.85, 0.75, 0.9]
    expected = stats.t.interval(0.95, 2, loc=np.mean(folds), scale=stats.sem(folds))
    assert combined["confidence"]["intervals"]["val/x"] == pytest.approx(expected)
    assert combined["std"]["val/x"] == pytest.approx(np.std(values, ddof=1))


def test_refit_learns_from_all_rows(cancer: tuple[Path, dict[str, Any]]) -> None:
    from sklearn.datasets import load_breast_cancer

    folder, result = cancer
    refit = result_of(folder / "refit")
    assert (refit["train_samples"], refit["val_samples"]) == (569, 0)
    assert refit["objective"]["name"] == "train/accuracy"
    assert refit["seed"] == derive(0, "refit")
    assert "refit" not in [each["name"] for each in result["fits"]]
    data = load_breast_cancer()
    exported = load_estimator(folder / "model")
    assert exported.score(data.data, data.target) == pytest.approx(refit["metrics"]["train/accuracy"])
    folds = [load_estimator(folder / f"fold-{fold}" / "model") for fold in range(5)]
    assert all(not np.array_equal(exported[-1].coef_, each[-1].coef_) for each in folds)
    assert exported[0].transformers_[0][1][-1].mean_ == pytest.approx(data.data.mean(axis=0)), "scaled by all rows"
    assert folds[0][0].transformers_[0][1][-1].mean_ != pytest.approx(data.data.mean(axis=0))


def test_repeats_hold_each_row_out_once_each(tmp_path: Path) -> None:
    words = ("validation=repeated_kfold", "validation.n_splits=2", "validation.n_repeats=2")
    result = run_here(tmp_path, "task=tabular", "data=diabetes", "model=ridge", *words)
    assert result["reason"] == "4 folds"
    rows = rows_of(tmp_path / "oof.csv")
    for repeat in "01":
        assert sorted(int(row["row"]) for row in rows if row["repeat"] == repeat) == list(range(442))
    assert {(row["repeat"], row["fold"], row["fit"]) for row in rows} == {
        ("0", "0", "fold-0"), ("0", "1", "fold-1"), ("1", "2", "fold-2"), ("1", "3", "fold-3"),
    }  # fmt: skip
    squared = [(float(row["label"]) - float(row["prediction"])) ** 2 for row in rows if row["fold"] == "2"]
    assert np.sqrt(np.mean(squared)) == pytest.approx(result_of(tmp_path / "fold-2")["metrics"]["val/rmse"])


def test_folds_of_time_predict_what_is_yet_to_come(tmp_path: Path) -> None:
    words = ("task=forecasting", "model=ridge", "validation=time_series", "validation.gap=2", "procedure.refit=true")
    result = run_here(tmp_path, *words)
    rows = [(int(row["fold"]), int(row["row"])) for row in rows_of(tmp_path / "oof.csv")]
    assert rows == sorted(rows), "in the order of time"
    assert len({row for _, row in rows}) == len(rows) == 5 * ((309 - 12) // 6)
    sizes = [result_of(tmp_path / f"fold-{fold}")["train_samples"] for fold in range(5)]
    assert np.diff(sizes).tolist() == [49] * 4, "the window expands"
    assert result["mean"]["val/skill"] > 0.3
    assert (tmp_path / "model" / "model.skops").is_file()


@pytest.mark.slow
def test_a_modules_folds_from_the_command_line(launch: Launch, tmp_path: Path) -> None:
    """The real command: folds in processes of their own, one result, one page, and what comes next."""
    words = ("validation=kfold", "validation.n_splits=3", "model=mlp", "tracker=[]", "training.max_epochs=4")
    outcome = launch(*words, "stopping=[val_loss]", "procedure.refit=true", "hydra.run.dir=run", env=ENV)
    assert outcome.returncode == 0, outcome.stderr
    run = tmp_path / "run"
    result = result_of(run)
    assert (result["status"], result["reason"], len(result["fits"])) == ("completed", "3 folds", 3)
    slots = min(4, cores())  # three folds and the fit in the end
    assert f"4 fits in run, {slots} at a time" in outcome.stdout
    begun, ended = (
        sorted((run / f"fold-{fold}" / name).stat().st_mtime_ns for fold in range(3))
        for name in ("config.yaml", "result.json")
    )
    assert all(later >= earlier for later, earlier in zip(begun[slots:], ended, strict=False)), "one fold a slot"
    assert begun[min(slots, 3) - 1] < ended[0] or slots == 1, "and a fold in every slot"
    rows = rows_of(run / "oof.csv")
    assert sorted(int(row["row"]) for row in rows) == list(range(1797))
    correct = {fold: [row["label"] == row["prediction"] for row in rows if row["fold"] == fold] for fold in "012"}
    for fold, right in correct.items():
        own = result_of(run / f"fold-{fold}")
        assert np.mean(right) == pytest.approx(own["metrics"]["val/accuracy"]), "of the weights that are exported"
        assert (own["train_samples"], own["val_samples"]) == (1198, 599)
    probabilities = np.array([[float(row[f"p_{digit}"]) for digit in range(10)] for row in rows])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [row["prediction"] for row in rows] == [str(digit) for digit in probabilities.argmax(axis=1)]
    refit = OmegaConf.load(run / "refit" / "config.yaml")
    best = [result_of(run / f"fold-{fold}")["best_step"] / (1198 // 32) for fold in range(3)]
    assert refit.training.max_epochs == pytest.approx(np.mean(best)), "as long as the folds were at their best"
    assert refit.stopping == {}
    assert (run / "model" / "model.safetensors").read_bytes() == (run / "refit/model/model.safetensors").read_bytes()
    assert "val/accuracy" in outcome.stdout
    assert "action=evaluate" not in outcome.stdout
    page = (run / "report.html").read_text()
    assert "fold-2" in page

    alone = tmp_path / "alone"
    seed = derive(0, "fold", 1)
    fit(alone, *words, "stopping=[val_loss]", "procedure.fold=1", f"seed={seed}", "validation.random_state=0")
    assert values(alone) == values(run / "fold-1"), "a fold is the fit alone"

    refused = launch("action=evaluate", "run=run", env=ENV)
    assert refused.returncode == 2
    assert "is made of 3 fits" in refused.stderr


def values(folder: Path, name: str = "val/loss") -> list[float]:
    return [line[name] for line in read(folder / "metrics.jsonl") if name in line]


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name != "time_s"} for line in read(folder / "metrics.jsonl")
    ]


@pytest.mark.slow
def test_killed_it_goes_on_at_the_fold_where_it_was(launch: Launch, tmp_path: Path) -> None:
    """SIGKILL to the driver and all its processes, while one fold is done and another is in its middle."""
    words = (
        "validation=kfold", "validation.n_splits=3", "model=mlp", "model.dropout=0.2", "tracker=[]",
        "training.max_epochs=30", "training.checkpoint_every=50", "training.log_every=10",
    )  # fmt: skip
    whole = launch(*words, "hydra.run.dir=whole", env=ENV)
    assert whole.returncode == 0, whole.stderr

    run = tmp_path / "killed"
    running = launch.start(*words, "hydra.run.dir=killed", env=ENV)
    while True:
        done = {fold for fold in range(3) if (run / f"fold-{fold}" / "result.json").exists()}
        begun = {fold for fold in range(3) if list(run.glob(f"fold-{fold}/checkpoints/step-*"))}
        if done and begun - done:
            break
        assert not running.done(), "it was over before it could be killed"
        time.sleep(0.01)
    running.kill()
    assert running.wait().returncode < 0
    done = {fold for fold in range(3) if (run / f"fold-{fold}" / "result.json").exists()}
    before = {fold: (run / f"fold-{fold}" / "result.json").stat().st_mtime_ns for fold in done}
    assert 0 < len(done) < 3
    assert not (run / "result.json").exists()

    resumed = launch("resume=killed", env=ENV)
    assert resumed.returncode == 0, resumed.stderr
    for fold, stamp in before.items():
        assert (run / f"fold-{fold}" / "result.json").stat().st_mtime_ns == stamp, "what was done is not done again"
    logs = [(run / f"fold-{fold}" / "log.txt").read_text() for fold in range(3) if fold not in done]
    assert any("resumed" in log for log in logs), "the fold that had begun went on from its checkpoint"
    for fold in range(3):
        assert untimed(run / f"fold-{fold}") == untimed(tmp_path / "whole" / f"fold-{fold}")
    assert (run / "oof.csv").read_bytes() == (tmp_path / "whole" / "oof.csv").read_bytes()
    assert result_of(run)["mean"] == result_of(tmp_path / "whole")["mean"]
    assert launch("resume=killed", env=ENV).returncode == 2, "there is nothing left to do"


@pytest.mark.slow
def test_a_trial_may_be_a_cross_validation(launch: Launch, tmp_path: Path) -> None:
    words = ("task=tabular", "data=diabetes", "model=ridge", "validation=kfold", "validation.n_splits=2", "tracker=[]")
    outcome = launch("-m", *words, "model.alpha=0.1,1000", "hydra.sweeper.study_name=ridge", env=ENV)
    assert outcome.returncode == 0, outcome.stderr
    (study,) = tmp_path.glob("multirun/**/ridge")
    trials = [result_of(study / number) for number in "01"]
    for number, trial in zip("01", trials, strict=True):
        own = [result_of(study / number / f"fold-{fold}")["objective"]["value"] for fold in (0, 1)]
        assert trial["objective"]["value"] == pytest.approx(np.mean(own))
    assert trials[0]["objective"]["value"] < trials[1]["objective"]["value"]
    assert "best: trial 0" in outcome.stdout


FIVE = "a,b,y\n0,0.134,0.847\n1,0.764,2.255\n2,0.495,4.449\n3,0.652,6.789\n4,0.094,8.028\n"


def test_a_metric_that_a_fold_has_no_value_of(launch: Launch, tmp_path: Path) -> None:
    """r2 of one row is none: its mean is none, all else is there."""
    (tmp_path / "five.csv").write_text(FIVE)
    outcome = launch(
        "task=tabular", "model=linear_regression", "data=files", "data.path=five.csv", "data.target=y",
        "data.problem=regression", "validation=kfold", "validation.n_splits=5", "tracker=[]", "hydra.run.dir=run",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert "warning: no mean of val/r2: a fit has no value of it\n" in outcome.stdout
    result = result_of(tmp_path / "run")
    assert result["status"] == "completed"
    assert (result["mean"]["val/r2"], result["std"]["val/r2"]) == ("NaN", "NaN")
    assert result["confidence"]["intervals"]["val/r2"] == ["NaN", "NaN"]
    errors = [result_of(tmp_path / "run" / f"fold-{fold}")["metrics"]["val/rmse"] for fold in range(5)]
    assert result["mean"]["val/rmse"] == pytest.approx(np.mean(errors))
    assert result["std"]["val/rmse"] == pytest.approx(np.std(errors, ddof=1))


@pytest.mark.parametrize("values", [[1.0, float("nan")], [float("inf"), 1.0]])
def test_the_deviation_of_what_is_not_finite(values: list[float]) -> None:
    assert np.isnan(deviation(values))
    assert deviation([1.0, 3.0]) == pytest.approx(2**0.5)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_point_without_a_mean_is_never_the_best(direction: str) -> None:
    values = [float("nan"), 1.0, 3.0, 3.0, 2.0, 2.0]  # two folds of each of three points
    results = [{"objective": {"value": value}} for value in values]
    objective = OmegaConf.create({"metric": "val/loss", "direction": direction})
    best = best_of([{"seed": 1}, {"seed": 2}, {"seed": 3}], results, objective)
    assert best == {"seed": 3 if direction == "minimize" else 2}
