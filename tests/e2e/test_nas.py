"""`search=nas` by the real command: candidates are scored, the best are trained, and a front comes out.

The effects are read off one sweep that scores and trains all of its candidates: what the filter would have chosen of them
is then a matter of its own arithmetic.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import random
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
import yaml
from scipy.stats import spearmanr

from launcher.report.trial_reports import PASSED
from launcher.search.early.first_filter import PROXY, SCORE, Filter
from tests.conftest import Launch
from tests.support.harness import TIMEOUT, Running, Warm

WORDS = (
    "-m", "search=nas", "tracker=[]", "training.batch_size=64", "scheduler=constant", "hydra.sweeper.study_name=s",
    "hydra/sweeper/sampler=random",
)  # fmt: skip
Row = dict[str, str]


def table(cwd: Path) -> list[Row]:
    with (cwd / "multirun" / "s" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def all_trained(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolutional networks and perceptrons for the digits, every one of them scored and trained for two epochs."""
    folder = tmp_path_factory.mktemp("all")
    outcome = warm(
        *WORDS, "model=mlp,cnn", "training.max_epochs=3", "hydra.sweeper.n_trials=24", "hydra.sweeper.proxy.keep=1",
        "hydra.sweeper.keep_trials=1", "hydra.sweeper.n_jobs=2", cwd=folder,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder


@pytest.mark.slow
def test_the_score_foretells_the_accuracy(all_trained: Path) -> None:
    rows = table(all_trained)
    assert [row["state"] for row in rows] == ["completed"] * 24
    scores, accuracies = ([float(row[key]) for row in rows] for key in ("proxy", "val/accuracy"))
    assert spearmanr(scores, accuracies).statistic > 0.5


def covered(rows: Sequence[Row]) -> float:
    """The area that a front covers: accuracies up to 1, and parameters by their logarithm, from 100 to 1,000,000."""
    area, best = 0.0, 0.0
    for row in sorted(rows, key=lambda each: float(each["parameters"])):
        gain = max(0.0, float(row["val/accuracy"]) - best)
        area += gain * (6 - math.log10(float(row["parameters"]))) / 4
        best += gain
    return area


def chosen(rows: Sequence[Row], keep: float) -> list[Row]:
    """Those that the filter has trained, when all have been scored."""
    study = optuna.create_study()
    trials = [study.ask() for _ in rows]
    for trial, row in zip(trials, rows, strict=True):
        trial.set_user_attr(SCORE, {PROXY: float(row["proxy"]), "parameters": float(row["parameters"])})
    own = Filter("ntk", keep, len(rows), 32, ("parameters",))
    found: list[int] = []
    while (number := own.next(study.trials, set(range(len(rows))) - set(found), len(rows))) is not None:
        trials[number].set_user_attr(PASSED, True)
        found.append(number)
    return [rows[number] for number in found]


@pytest.mark.slow
def test_what_is_filtered_covers_more_than_as_many_random_ones(all_trained: Path) -> None:
    """A quarter of the candidates, for as many epochs, beside a thousand draws of a quarter."""
    rows, rng = table(all_trained), random.Random(0)
    best = chosen(rows, 0.25)
    assert len(best) == 6
    drawn = [covered(rng.sample(rows, 6)) for _ in range(1000)]
    assert sum(covered(best) > each for each in drawn) > 800


SMALL = (*WORDS, "model=mlp", "training.max_epochs=1", "hydra.sweeper.n_trials=12", "hydra.sweeper.proxy.first=8")


@pytest.fixture(scope="module")
def filtered(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that filters, killed when its first candidate is trained, and which the same command finished."""
    folder = tmp_path_factory.mktemp("filtered")
    running = warm.start(*SMALL, cwd=folder)
    wait_for_any(running, folder, "multirun/s/*/metrics.jsonl")
    with contextlib.suppress(ProcessLookupError):
        running.send(signal.SIGKILL)
    running.wait()
    outcome = warm(*SMALL, cwd=folder)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder


def wait_for_any(running: Running, folder: Path, pattern: str) -> None:
    end = time.monotonic() + TIMEOUT
    while not list(folder.glob(pattern)):
        assert not running.done(), running.wait().stdout + running.wait().stderr
        assert time.monotonic() < end
        time.sleep(0.01)


def test_candidates_that_are_left_out_are_recorded(filtered: Path) -> None:
    rows = table(filtered)
    assert len(rows) == 12
    assert all(row["proxy"] for row in rows)
    trained = [row for row in rows if row["state"] == "completed"]
    left_out = [row for row in rows if row["state"] == "pruned"]
    assert (len(trained), len(left_out)) == (3, 9)
    for row in left_out:
        own = filtered / "multirun" / "s" / row["number"]
        result = json.loads((own / "result.json").read_text())
        assert (result["status"], result["reason"], result["steps"]) == ("pruned", "filtered", 0)
        assert result["metrics"] == {"proxy/ntk": float(row["proxy"])}
        assert result["parameters"] > 0
        assert not (own / "metrics.jsonl").exists(), "no step was taken"


def test_a_killed_search_is_what_it_would_have_been(filtered: Path, launch: Launch, tmp_path: Path) -> None:
    whole = launch(*SMALL)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    columns = [key for key in table(tmp_path)[0] if key != "wall_s"]
    assert [[row[key] for key in columns] for row in table(filtered)] == [
        [row[key] for key in columns] for row in table(tmp_path)
    ]


def test_a_front_comes_out(filtered: Path) -> None:
    study = filtered / "multirun" / "s"
    points = {
        row["number"]: (float(row["val/accuracy"]), float(row["parameters"]))
        for row in table(filtered)
        if row["state"] == "completed"
    }
    front = {
        each for each in points.values()
        if not any(a >= each[0] and p <= each[1] and (a, p) != each for a, p in points.values())
    }  # fmt: skip
    found = yaml.safe_load((study / "optimization_results.yaml").read_text())["solutions"]
    assert {tuple(each["values"]) for each in found} == front
    assert all({"model.width", "model.depth", "model.norm"} == set(each["params"]) for each in found)
    page = (study / "report.html").read_text()
    assert "Pareto front of val/accuracy and parameters" in page
    assert "Score and val/accuracy" in page


def test_with_rungs_and_latency(launch: Launch, tmp_path: Path) -> None:
    """What passes the filter is judged on the way by rank of non-domination, of accuracy and measured time."""
    outcome = launch(
        *WORDS[:-1], "model=mlp", "training.max_epochs=3", "monitor=[inference]", "hydra/sweeper/pruner=halving",
        "hydra.sweeper.metrics=[val/accuracy,inference/latency_ms,inference/mflop]",
        "hydra.sweeper.direction=[maximize,minimize,minimize]", "hydra.sweeper.n_trials=12", "hydra.sweeper.proxy.keep=0.5",
        "hydra.sweeper.proxy.first=6", "hydra.sweeper.pruner.promote=true",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rows = table(tmp_path)
    steps = sorted(int(row["steps"]) for row in rows)
    assert steps[:6] == [0] * 6
    assert steps[6] == 22, "one epoch, of 64 samples a step"
    assert steps[-1] == 66, "and the best went on to the end"
    done = [row for row in rows if row["state"] == "completed"]
    assert all(float(row["inference/latency_ms"]) > 0 for row in done)
    for row in done:
        config = yaml.safe_load((tmp_path / "multirun" / "s" / row["number"] / "config.yaml").read_text())["model"]
        sizes = [64, *[config["width"]] * config["depth"], 10]
        assert float(row["inference/mflop"]) == pytest.approx(2e-6 * sum(a * b for a, b in pairwise(sizes)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hydra.sweeper.proxy.keep=0",), "hydra.sweeper.proxy.keep=0: expected a share above 0, up to 1"),
        (("hydra.sweeper.proxy.first=none",), "hydra.sweeper.proxy.first=none: expected at least 1"),
        (("+hydra.sweeper.proxy.share=1",), "hydra.sweeper.proxy has no key share; it has keep, first, num_samples"),
        (("hydra/sweeper/proxy=ntkk",), "Did you mean 'ntk'"),
        (("hydra.sweeper.proxy._target_=os.system",), "os.system, which a config may not run"),
        (
            ("hydra.sweeper.metrics=[val/accuracy,inference/latency_ms]",),
            "is measured by a monitor: monitor=[inference]",
        ),
        (("task=tabular", "model=random_forest"), "scores networks; scikit-learn's estimators are fitted at once"),
        (("num_seeds=2",), "a trial that is made of several fits is not one network to score"),
    ],
)
def test_what_can_not_be_filtered_starts_nothing(
    launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = launch("-m", "search=nas", *words)
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()


def test_the_plan_and_the_networks_that_a_task_goes_with(launch: Launch, tmp_path: Path) -> None:
    images = launch("-m", "search=nas", "action=plan", "training.max_epochs=9", "hydra/sweeper/pruner=halving").stdout
    assert "model: mlp, cnn, vit" in images
    assert "the best 16 of 64 are trained, the first after 16 scores" in images
    assert "16 to 1, 5 to 3, 1 to 9 epochs" in images
    assert "model.block: plain, residual, separable" in images
    texts = launch("-m", "search=nas", "action=plan", "task=text_classification").stdout
    assert "model: transformer" in texts
    assert "model=cnn" not in texts
    assert not (tmp_path / "multirun").exists()
