"""trials.csv and optimization_results.yaml, from a study and folders as a sweep leaves them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from launcher.console.console import Console
from launcher.launch.outcome import values_of
from launcher.search.events import Ended
from launcher.search.output.progress import Progress
from launcher.search.output.retention import Keeper
from launcher.search.output.tables import Tables, best_of
from launcher.search.space.dimensions import Directions
from launcher.search.space.samplers import GridSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.search.space.test_dimensions import parsed

WORDS = ("optimizer.lr=1e-3,1e-1", "model=mlp,cnn")


RESULT = {
    "reason": "",
    "objective": {"name": "val/x", "value": None},
    "metrics": {},
    "steps": 7,
    "epochs": 1.0,
    "wall_s": 1.23456,
}


def study(folder: Path, directions: Directions) -> Study:
    space = parsed(*WORDS)
    return Study(open_storage(None, folder), "s", directions, folder, space, lambda _: GridSampler(space))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def leave(found: Study, status: str | None, *values: float) -> None:
    """A trial as it is after its process, and after the study was told."""
    claim = found.ask()
    assert claim is not None
    own = found.folder / str(claim.number)
    if status is not None:
        (own / "result.json").write_text(json.dumps(RESULT | {"status": status}))
        state = {"failed": TrialState.FAIL, "pruned": TrialState.PRUNED}.get(status, TrialState.COMPLETE)
        assert found.tell(claim, state, list(values) if state == TrialState.COMPLETE else None)


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 0)])
def test_the_best_finished_trial_and_every_state(tmp_path: Path, direction: Any, best: int) -> None:
    found = study(tmp_path, [direction])
    for status, value in (("completed", 0.5), ("stopped", 0.3), ("failed", 0.1), (None, 0.0)):
        leave(found, status, value)
    Tables(found, ["val/x"]).write()
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["completed", "stopped", "failed", "running"]
    assert rows[0] == {
        "number": "0", "state": "completed", "value": "0.5", "optimizer.lr": "0.001", "model": "mlp", "steps": "7", "wall_s": "1.235"
    }  # fmt: skip
    assert [row["value"] for row in rows] == ["0.5", "0.3", "", ""]
    results = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert results == {
        "name": "optuna",
        "best_params": {"optimizer.lr": 0.001, "model": ["mlp", "cnn"][best]},
        "best_value": [0.5, 0.3][best],
    }


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    found = study(tmp_path, ["maximize", "minimize"])
    for values in ((0.9, 50.0), (0.8, 10.0), (0.7, 20.0)):
        leave(found, "completed", *values)
    Tables(found, ["val/x", "parameters"]).write()
    results = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert results["name"] == "optuna"
    assert [solution["values"] for solution in results["solutions"]] == [[0.9, 50.0], [0.8, 10.0]]
    assert [row["parameters"] for row in table(tmp_path)] == ["50.0", "10.0", "20.0"]


def test_the_best_of_several_objectives_is_on_the_front(tmp_path: Path) -> None:
    found = study(tmp_path, ["maximize", "minimize"])
    assert best_of(found, found.trials()) is None
    for values in ((0.9, 50.0), (0.9, 10.0), (0.7, 5.0)):
        leave(found, "completed", *values)
    best = best_of(found, found.trials())
    assert best is not None
    assert best.number == 1, "the first has as good a first objective and is dominated"


def test_of_a_failure_the_first_line_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = study(tmp_path, ["minimize"])
    claim = found.ask()
    assert claim is not None
    progress = Progress(found, Console(), ["val/x"], 1, Keeper(found, None))
    progress.ended(Ended(claim, {"status": "failed", "reason": "ValueError: what\nand where"}, [None]))
    told = capsys.readouterr().out
    assert "failed: ValueError: what  (" in told
    assert "and where" not in told


def test_nothing_finished_is_no_best(tmp_path: Path) -> None:
    found = study(tmp_path, ["minimize"])
    leave(found, None)
    Tables(found, ["val/x"]).write()
    assert [row["state"] for row in table(tmp_path)] == ["running"]
    assert not (tmp_path / "optimization_results.yaml").exists()


def test_a_pruned_trial_has_one_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its best, as result.json says it: the same on the terminal and in the table. Optuna knows its last."""
    found = study(tmp_path, ["maximize"])
    claim = found.ask()
    assert claim is not None
    for step, value in ((1, 0.75), (2, 0.5)):
        found.storage.set_trial_intermediate_value(claim.id, step, value)
    result = {
        "status": "pruned", "reason": "pruned", "objective": {"name": "val/x", "value": 0.75, "direction": "maximize"},
        "metrics": {"val/x": 0.5}, "steps": 2, "epochs": 1.0, "wall_s": 1.0,
    }  # fmt: skip
    (tmp_path / "0" / "result.json").write_text(json.dumps(result))
    assert found.tell(claim, TrialState.PRUNED)
    (tmp_path / "sweep.json").write_text('{"space": {}, "config": {}, "metrics": [], "storage": null}')
    progress = Progress(found, Console(), ["val/x"], 1, Keeper(found, None))
    progress.ended(Ended(claim, result, values_of(result, ["val/x"])))
    progress.close()
    assert "trial 0: pruned, val/x 0.75 " in capsys.readouterr().out
    assert [row["value"] for row in table(tmp_path)] == ["0.75"]


def test_a_value_is_never_another_metric_s() -> None:
    result = {
        "objective": {"name": "val/rmse", "value": 62.3},
        "metrics": {"val/rmse": 62.3, "val/r2": 0.4},
        "parameters": 9,
    }
    assert values_of(result, ["val/accuracy", "val/r2", "parameters", "val/rmse"]) == [None, 0.4, 9.0, 62.3]
    assert values_of({"objective": {"name": "val/x", "value": float("nan")}, "metrics": {}}, ["val/x"]) == [None]
