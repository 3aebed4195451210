"""Sweeps by the real command: what is run, what is left behind, and what the same command does again."""

from __future__ import annotations

import csv
import json
import math
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import Launch
from tests.support.failing import TRUST
from tests.support.fits import curve

SHORT = ("-m", "model=mlp", "tracker=[]", "training.max_epochs=1")
GRID = (
    *SHORT,
    "optimizer.lr=1e-3,1e-2",
    "training.batch_size=32,64",
    "training.log_every=1",
    "hydra.sweeper.study_name=grid",
)


def table(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_is_its_product_once(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*GRID)
    assert outcome.returncode == 0, outcome.stderr
    study = tmp_path / "multirun" / "grid"
    rows = table(study)
    assert [(row["number"], row["state"]) for row in rows] == [(str(number), "completed") for number in range(4)]
    assert [(row["optimizer.lr"], row["training.batch_size"]) for row in rows] == [
        ("0.001", "32"), ("0.001", "64"), ("0.01", "32"), ("0.01", "64")
    ]  # fmt: skip
    for row in rows:
        own = study / row["number"]
        config = yaml.safe_load((own / "config.yaml").read_text())
        assert (config["optimizer"]["lr"], config["training"]["batch_size"]) == (
            float(row["optimizer.lr"]),
            int(row["training.batch_size"]),
        )
        result = json.loads((own / "result.json").read_text())
        assert (result["status"], result["objective"]["value"]) == ("completed", float(row["value"]))
        assert {path.name for path in own.iterdir()} >= {"metrics.jsonl", "checkpoints", "model", "log.txt"}
    best = max(rows, key=lambda row: float(row["value"]))
    results = yaml.safe_load((study / "optimization_results.yaml").read_text())
    assert results["best_value"] == float(best["value"])
    assert results["best_params"] == {
        "optimizer.lr": float(best["optimizer.lr"]),
        "training.batch_size": int(best["training.batch_size"]),
    }
    assert f"best: trial {best['number']}" in outcome.stdout

    stamps = {path: path.stat().st_mtime_ns for path in study.glob("*/*")}
    base = launch(*GRID, "training.clip_norm=1")
    assert base.returncode == 2
    assert "\n  training.clip_norm: null -> 1.0\n" in base.stderr
    again = launch(*GRID)
    assert again.returncode == 0
    assert "4 of them done already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in study.glob("*/*")} == stamps, "nothing was run twice"

    changed = launch(*(word.replace("1e-2", "3e-2") for word in GRID))
    assert changed.returncode == 2
    assert changed.stderr == (
        "error: multirun/grid holds another sweep; different are\n"
        "  optimizer.lr: 0.001,0.01 -> 0.001,0.03\n"
        "another hydra.sweeper.study_name begins a new one, this one keeps its choices\n"
    )
    assert {path: path.stat().st_mtime_ns for path in study.glob("*/*")} == stamps


def test_random_draws_are_the_seeds_and_a_failing_trial_fails_alone(launch: Launch, tmp_path: Path) -> None:
    """A rate of 1e25 ruins the weights in a step."""
    words = [*SHORT, "search=random", "optimizer.lr=tag(log,interval(1e-4,1e25))", "hydra.sweeper.n_jobs=2"]
    first = launch(*words, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=first")
    assert first.returncode == 1
    (study,) = (
        (tmp_path / "first").glob("*/") if not (tmp_path / "first" / "trials.csv").exists() else (tmp_path / "first",)
    )
    rows = table(study)
    rates = [float(row["optimizer.lr"]) for row in rows]
    assert all(1e-4 <= rate < 1e25 for rate in rates)
    assert {row["state"] for row in rows} == {"completed", "failed"}
    for row in rows:
        assert row["state"] == ("failed" if float(row["optimizer.lr"]) > 1e10 else "completed")
        if row["state"] == "failed":
            result = json.loads((study / row["number"] / "result.json").read_text())
            assert "Try a lower optimizer.lr" in result["reason"]
            assert f"trial {row['number']}: failed: {result['reason']}" in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    finished = [row for row in rows if row["state"] == "completed"]
    assert (
        max(float(row["value"]) for row in finished)
        == yaml.safe_load((study / "optimization_results.yaml").read_text())["best_value"]
    )

    forgiving = launch(*words, "hydra.sweeper.n_trials=5", "hydra.sweep.dir=second", "hydra.sweeper.max_failure_rate=1")
    assert forgiving.returncode == 0
    (study,) = (
        (tmp_path / "second").glob("*/")
        if not (tmp_path / "second" / "trials.csv").exists()
        else (tmp_path / "second",)
    )
    assert [float(row["optimizer.lr"]) for row in table(study)][:4] == rates, "the same draws, whatever their number"


def test_a_killed_sweep_goes_on(launch: Launch, tmp_path: Path) -> None:
    """SIGKILL to the driver alone: its trials end with it, and the same command resumes, skips and goes on."""
    words = [*SHORT, "seed=1,2,3", "training.max_epochs=40", "training.log_every=50", "training.checkpoint_every=44"]
    words.remove("training.max_epochs=1")
    running = launch.start(*words, "hydra.sweeper.study_name=killed")
    study = tmp_path / "multirun" / "killed"
    deadline = time.monotonic() + 120
    while not list(study.glob("1/checkpoints/step-*")):
        assert time.monotonic() < deadline, "the second trial never began"
        assert not running.done(), running.stdout.read_text() + running.stderr.read_text()
        time.sleep(0.02)
    running.send(signal.SIGKILL)
    assert running.wait().returncode == -signal.SIGKILL
    assert not (study / "1" / "result.json").exists(), "it was killed in the middle of its second trial"
    stamp = (study / "0" / "metrics.jsonl").stat()
    again = launch(*words, "hydra.sweeper.study_name=killed")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of them done already" in again.stdout
    assert [row["state"] for row in table(study)] == ["completed"] * 3
    assert (study / "0" / "metrics.jsonl").stat().st_mtime_ns == stamp.st_mtime_ns
    for number in range(3):
        steps = list(curve(study / str(number)))
        assert steps == sorted(set(steps))
        assert steps[-1] == 40 * 44
    alone = launch(
        "model=mlp",
        "tracker=[]",
        "training.max_epochs=40",
        "seed=2",
        "training.checkpoint_every=44",
        "hydra.run.dir=alone",
    )
    assert alone.returncode == 0
    assert curve(study / "1") == curve(tmp_path / "alone"), "resumed, a trial is what it would have been"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("optimizer.lr=interval(0.1,1)",), "an interval has no grid; search=random draws from it"),
        (("optimizer.lr=1e-3,-1",), "expected a number above 0"),
        (("model=mlp,mpl",), "no such option of the group 'model'. Did you mean 'mlp'"),
        (
            ("seed=1,2", "hydra.sweeper.direction=minimize"),
            "hydra.sweeper.direction=minimize disagrees with objective.direction=maximize",
        ),
        (
            ("seed=1,2", "hydra.sweeper.direction=[maximize,maximize,maximize]"),
            "ImageClassification has not so many metrics to maximize; name each with hydra.sweeper.metrics=",
        ),
        (("seed=1,2", "hydra.sweeper.n_jobs=0"), "hydra.sweeper.n_jobs=0"),
        (("seed=1,2", "hydra.sweep.dir=file/folder"), "hydra.sweep.dir=file/folder: file is a file"),
        (("seed=1,2", "hydra.sweeper.storage=oracle://host"), "hydra.sweeper.storage=oracle://host: expected a URL"),
    ],
)
def test_a_wrong_sweep_starts_nothing(launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").touch()
    outcome = launch("-m", *words)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("error: ")
    assert not (tmp_path / "multirun").exists()


def test_what_only_the_data_shows_fails_the_trial(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*SHORT, "training.batch_size=32,5000", "hydra.sweeper.study_name=sizes")
    assert outcome.returncode == 1
    rows = table(tmp_path / "multirun" / "sizes")
    assert [row["state"] for row in rows] == ["completed", "failed"]
    assert "trial 1: failed: training.batch_size=5000 is larger than the training data: 1438 samples" in outcome.stdout
    assert math.isfinite(float(rows[0]["value"]))


THEIRS = """# @package _global_
defaults:
  - override /hydra/sweeper: optuna
  - override /hydra/sweeper/sampler: tpe
hydra:
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      consider_prior: true
      prior_weight: 1.0
      consider_magic_clip: true
      consider_endpoints: false
      n_startup_trials: 2
      n_ei_candidates: 24
      multivariate: false
      group: false
      warn_independent_sampling: true
      constant_liar: false
      constraints_func: null
    direction: maximize
    storage: sqlite:///theirs.db
    study_name: theirs
    n_trials: 3
    n_jobs: 2
    max_failure_rate: 0.3
    params:
      optimizer.lr: interval(0.001, 0.01)
      optimizer.weight_decay: tag(log, interval(1e-4, 1e-1))
      training.batch_size: choice(32, 64)
      model.depth: range(1, 3)
      model.dropout: range(0.1, 0.4, step=0.1)
      training.max_epochs: 1
    custom_search_space: tests.search.spaces.configure
"""
"""Every key of its schema, and each kind of its grammar."""


def test_a_config_written_for_hydra_optuna_sweeper_runs_unchanged(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "theirs.yaml").write_text(THEIRS)
    words = ["--config-dir", "mine", "-m", "experiment=theirs", "model=mlp", "tracker=[]"]
    env = {"LAUNCHER_TRUST": "tests.search.spaces.*"}
    outcome = launch(*words, env=env)
    assert outcome.returncode == 0, outcome.stderr
    study = tmp_path / "multirun" / "theirs"
    rows = table(study)
    assert [row["state"] for row in rows] == ["completed"] * 3
    for row in rows:
        rate = float(row["optimizer.lr"])
        assert 0.001 <= rate <= 0.01
        assert 1e-4 <= float(row["optimizer.weight_decay"]) <= 1e-1
        assert (row["training.batch_size"], row["model.depth"]) in [(a, b) for a in ("32", "64") for b in ("1", "2")]
        assert round(float(row["model.dropout"]), 9) in (0.1, 0.2, 0.3)
        assert 1 <= float(row["training.clip_norm"]) <= 1 + 100 * rate, "as its own space, which looks at the rate"
    results = yaml.safe_load((study / "optimization_results.yaml").read_text())
    assert results["name"] == "optuna"
    assert set(results["best_params"]) == {
        "optimizer.lr", "optimizer.weight_decay", "training.batch_size", "model.depth", "model.dropout", "training.clip_norm"
    }  # fmt: skip
    assert (tmp_path / "theirs.db").exists()
    assert not (study / "study.journal").exists()
    more = launch(
        *words, "hydra.sweeper.n_trials=4", "hydra/sweeper/sampler=tpe", "hydra.sweeper.metrics=[val/accuracy]", env=env
    )
    assert more.returncode == 0, more.stderr
    assert "3 of them done already" in more.stdout
    assert table(study)[:3] == rows, "n_trials is the total: the first three stand"
    assert len(table(study)) == 4


@pytest.mark.parametrize(
    ("task", "directions", "objectives"),
    [
        ("image_classification", "[maximize,minimize]", "val/accuracy to maximize, val/loss to minimize"),
        ("image_classification", "[minimize,maximize,maximize]", "val/loss to minimize, val/accuracy to maximize, val/f1 to maximize"),
        ("pretrain_clm", "[minimize,minimize]", "val/loss to minimize, val/perplexity to minimize"),
    ],
)  # fmt: skip
def test_directions_without_metrics_are_those_of_the_run_and_its_task(
    launch: Launch, task: str, directions: str, objectives: str
) -> None:
    """As in a config written for hydra-optuna-sweeper, where the function returns a number for each."""
    words = ["-m", "action=plan", f"task={task}", "seed=1,2", "num_seeds=2", f"hydra.sweeper.direction={directions}"]
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stderr
    assert objectives in " ".join(outcome.stdout.split())


def test_two_objectives_leave_a_front(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        *SHORT, "model.width=8,32", "hydra.sweeper.metrics=[val/accuracy,parameters]",
        "hydra.sweeper.direction=[maximize,minimize]", "hydra.sweeper.study_name=front",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    small, large = table(tmp_path / "multirun" / "front")
    assert float(small["parameters"]) < float(large["parameters"])
    front = yaml.safe_load((tmp_path / "multirun" / "front" / "optimization_results.yaml").read_text())["solutions"]
    assert {"params": {"model.width": 8}, "values": [float(small["val/accuracy"]), float(small["parameters"])]} in front


def test_each_trial_fails_alone_and_says_why(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        *SHORT, "task._target_=tests.support.failing.Fails", "+task.how=hangs,raises,crashes,overflows,fine",
        "hydra.sweeper.trial_timeout=20", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=bad", env=TRUST,
    )  # fmt: skip
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    study = tmp_path / "multirun" / "bad"
    assert [row["state"] for row in table(study)] == ["failed"] * 4 + ["completed"]
    hangs, raises, crashes, overflows = (json.loads((study / str(n) / "result.json").read_text()) for n in range(4))
    assert hangs["reason"] == "it took longer than hydra.sweeper.trial_timeout=20 s"
    assert raises["reason"] == "ValueError: the third digit is one too many"
    assert crashes["reason"].startswith("SIGSEGV ended it")
    assert "out of memory at step 5" in overflows["reason"]
    for result, where in ((hangs, "hangs"), (raises, "raises"), (crashes, "crashes"), (overflows, "overflows")):
        assert f"in {where}" in result["traceback"], result["traceback"]
    again = launch(
        *SHORT, "task._target_=tests.support.failing.Fails", "+task.how=hangs,raises,crashes,overflows,fine",
        "hydra.sweeper.max_failure_rate=0.8", "hydra.sweeper.study_name=bad", env=TRUST,
    )  # fmt: skip
    assert again.returncode == 0, "what failed stands as failed"
    assert "5 of them done already" in again.stdout


def test_a_plan_starts_nothing(launch: Launch, tmp_path: Path) -> None:
    words = ["-m", "action=plan", "model=mlp", "training.max_epochs=9"]
    grid = launch(*words, "optimizer.lr=1e-3,1e-2", "seed=range(3)", "hydra.sweeper.n_jobs=2").stdout
    assert "6 points" in grid
    assert "trial 5: optimizer.lr=0.01 seed=2" in grid
    halving = launch(*words, "search=halving", "optimizer.lr=interval(1e-4,1e-1)").stdout
    assert "27 to 1, 9 to 3, 3 to 9 epochs" in halving
    assert "about 63 of 243 epochs (26%)" in halving
    assert not (tmp_path / "multirun").exists()


def test_only_the_best_keep_their_weights(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        *SHORT, "optimizer.lr=1e-5,1e-4,1e-3,1e-2", "hydra.sweeper.keep_trials=2", "hydra.sweeper.study_name=k"
    )
    assert outcome.returncode == 0, outcome.stderr
    study = tmp_path / "multirun" / "k"
    best = sorted(table(study), key=lambda row: -float(row["value"]))[:2]
    kept = {row["number"] for row in best}
    assert {path.parent.name for path in study.glob("*/checkpoints")} == kept
    assert {path.parent.name for path in study.glob("*/model")} == kept
    for number in kept:
        assert {path.name for path in (study / number / "checkpoints").iterdir()} >= {"last", "best"}
    assert len(list(study.glob("*/metrics.jsonl"))) == 4


def test_another_driver_joins(launch: Launch, tmp_path: Path) -> None:
    words = [*SHORT, "seed=range(16)", "hydra.sweeper.study_name=joined"]
    first = launch.start(*words)
    study = tmp_path / "multirun" / "joined"
    deadline = time.monotonic() + 120
    while not (study / "0" / "config.yaml").exists():
        assert time.monotonic() < deadline, first.stdout.read_text() + first.stderr.read_text()
        time.sleep(0.02)
    refused = launch(*words)
    assert refused.returncode == 2
    assert "worker=true joins it" in refused.stderr
    second = launch(*words, "worker=true")
    done = first.wait()
    assert (done.returncode, second.returncode) == (0, 0), second.stderr
    assert "a new one" not in second.stdout
    ran = [[line for line in outcome.stdout.splitlines() if ": completed" in line] for outcome in (done, second)]
    assert len(ran[0]) + len(ran[1]) == 16
    assert ran[0]
    assert ran[1]
    assert [row["state"] for row in table(study)] == ["completed"] * 16


def test_a_time_limit_ends_a_sweep_that_goes_on_later(launch: Launch, tmp_path: Path) -> None:
    words = [*SHORT, "search=random", "optimizer.lr=interval(0.001,0.01)", "hydra.sweeper.study_name=timed"]
    words = [word for word in words if not word.startswith("training.max_epochs")]
    long = [*words, "training.max_epochs=10000", "hydra.sweeper.n_trials=2"]
    outcome = launch(*long, "hydra.sweeper.timeout=12")
    assert outcome.returncode == 0, outcome.stderr
    assert "saved, to be resumed" in outcome.stdout
    assert "hydra.sweeper.timeout is over with 2 trials left; this command goes on" in outcome.stdout
    assert {row["state"] for row in table(tmp_path / "multirun" / "timed")} == {"preempted"}
