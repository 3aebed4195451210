"""trials.csv and optimization_results.yaml, from folders as a sweep leaves them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from launcher.search.runner import Job
from launcher.search.table import write_tables

POINTS = [[f"optimizer.lr={rate}", f"model={model}"] for rate in ("0.001", "0.1") for model in ("mlp", "cnn")]
JOBS = [Job(str(number), OmegaConf.create({})) for number in range(4)]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def leave(folder: Path, number: int, status: str | None, value: Any) -> None:
    own = folder / str(number)
    own.mkdir()
    (own / "config.yaml").write_text("a: 1\n")
    if status is not None:
        result = {"status": status, "objective": {"name": "val/x", "value": value}, "steps": 7, "wall_s": 1.23456}
        (own / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0), ("maximize", 2)])
def test_the_best_finished_trial_and_every_state(tmp_path: Path, direction: str, best: int) -> None:
    for number, (status, value) in enumerate([("completed", 0.5), ("failed", 0.1), ("pruned", 0.9)]):
        leave(tmp_path, number, status, value)
    found = write_tables(tmp_path, JOBS, POINTS, direction)
    assert found is not None
    assert found["number"] == best
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["completed", "failed", "pruned", "waiting"]
    assert rows[2] == {
        "number": "2", "state": "pruned", "value": "0.9", "optimizer.lr": "0.1", "model": "mlp", "steps": "7", "wall_s": "1.235"
    }  # fmt: skip
    results = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    rate, model = (0.001, "mlp") if best == 0 else (0.1, "mlp")
    assert results == {
        "name": "launcher",
        "best_params": {"optimizer.lr": rate, "model": model},
        "best_value": [0.5, 0.1, 0.9][best],
    }


def test_nothing_finished_is_no_best(tmp_path: Path) -> None:
    leave(tmp_path, 0, None, None)
    leave(tmp_path, 1, "completed", "NaN")
    assert write_tables(tmp_path, JOBS, POINTS, "minimize") is None
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["running", "completed", "waiting", "waiting"]
    assert not (tmp_path / "optimization_results.yaml").exists()
