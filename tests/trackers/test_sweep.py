"""A real sweep of which one trial ends, one is pruned and one fails, told to three services and read back from each."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from launcher.artifacts.metrics_file import FILE, read
from tests.support.harness import Warm, environment

pytestmark = pytest.mark.slow

SWEEP = (
    "-m", "search=grid", "hydra/sweeper/pruner=halving", "hydra.sweeper.pruner.reduction_factor=2",
    "hydra.sweeper.study_name=study", "hydra.sweeper.n_jobs=1", "optimizer.lr=1e-3,1e-7,1e30", "model=mlp",
    "training.max_epochs=2",
)  # fmt: skip
ENDS = ("completed", "pruned", "failed")
"""Of its trials: at the rate of the second nothing is learned, at that of the third the loss is infinite."""


@pytest.fixture(scope="module")
def study(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("swept")
    swept = warm(
        *SWEEP, "tags=[mine]", "tracker=[wandb,clearml,neptune]", "tracker.wandb.mode=offline",
        "tracker.clearml.mode=offline", cwd=cwd,
    )  # fmt: skip
    with (cwd / "multirun" / "study" / "trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == list(ENDS), swept.stdout + swept.stderr
    assert "does not hold the whole run" not in swept.stdout + swept.stderr
    return cwd / "multirun" / "study"


def losses(folder: Path) -> dict[int, float]:
    return {line["step"]: line["train/loss"] for line in read(folder / FILE) if "train/loss" in line}


@pytest.mark.parametrize(("number", "status"), list(enumerate(ENDS)))
def test_weights_and_biases_group_the_trials_and_mark_how_they_ended(study: Path, number: int, status: str) -> None:
    folder = study / str(number)
    (session,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(session), "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    records: dict[str, list[Any]] = {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record.get(record["type"]))
    assert {run["run_group"] for run in records["run"]} == {"study"}
    assert records["run"][-1]["tags"] == (["mine"] if status == "completed" else ["mine", status])
    assert [each.get("exit_code", 0) for each in records["exit"]] == [int(status == "failed")]
    assert [each["update"]["status"] for each in records["summary"] if "status" in each.get("update", {})][-1] == status
    points = {
        int(each["step"]["num"]): each["item"]["train/loss"]
        for each in records.get("history", [])
        if "train/loss" in each["item"]
    }
    assert points == pytest.approx(losses(folder), rel=1e-12)


@pytest.mark.parametrize(("number", "status"), list(enumerate(ENDS)))
def test_clearml_groups_the_trials_and_marks_how_they_ended(study: Path, number: int, status: str) -> None:
    folder = study / str(number)
    (archive,) = folder.glob("clearml/offline/*.zip")
    with zipfile.ZipFile(archive) as opened:
        task = json.loads(opened.read("task.json"))
        lines = opened.read("metrics.jsonl").splitlines() if "metrics.jsonl" in opened.namelist() else []
    assert task["project_name"] == "launcher/study"
    assert set(task["tags"]) == {"mine", status}
    points = {
        event["iter"]: event["value"]
        for line in lines
        for event in json.loads(line)
        if event["type"] == "training_stats_scalar" and (event["metric"], event["variant"]) == ("loss", "train")
    }
    assert points == pytest.approx(losses(folder), rel=1e-6)


@pytest.mark.parametrize(("number", "status"), list(enumerate(ENDS)))
def test_neptune_groups_the_trials_and_marks_how_they_ended(study: Path, number: int, status: str) -> None:
    folder = study / str(number)
    (log,) = folder.glob("neptune/offline/*/data-1.log")
    said = [json.loads(line)["obj"] for line in log.read_text().splitlines()]
    by_path = {"/".join(each["path"]): each for each in said}
    tags = {tag for each in said if "/".join(each["path"]) == "sys/tags" for tag in each["values"]}
    assert tags == {"mine", "study", status}
    assert by_path["sys/failed"]["value"] is (status == "failed")
    points = {
        int(point["step"]): point["value"]
        for each in said
        if each["type"] == "LogFloats" and each["path"] == ["train", "loss"]
        for point in each["values"]
    }
    assert points == losses(folder)
