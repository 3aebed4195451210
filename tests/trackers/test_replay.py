"""`action=replay`: a tracker gets a run that is over, and its own reader finds all of it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from launcher.artifacts.metrics_file import FILE
from tests.conftest import Launch
from tests.trackers.test_services import MLFLOW, by_hand, lines
from tests.trackers.test_tensorboard import events, scalars

NOWHERE = "tracker.mlflow.tracking_uri=http://127.0.0.1:9"
"""Nobody answers there."""


@pytest.mark.slow
def test_what_a_tracker_did_not_have_it_gets(launch: Launch, tmp_path: Path) -> None:
    words = ["model=mlp", "training.max_epochs=2", "tracker=[mlflow]", NOWHERE, "tags=[mine]"]
    done = launch(*words, "hydra.run.dir=run", env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    before = (folder / FILE).read_bytes()
    again = launch("action=replay", "run=run", "tracker=[mlflow]", NOWHERE)
    assert again.returncode == 1, "still nobody"
    assert "tracker mlflow does not hold the whole run" in again.stdout + again.stderr
    database = f"tracker.mlflow.tracking_uri=sqlite:///{tmp_path / 'runs.db'}"
    for _ in range(2):  # no step stands twice
        told = launch("action=replay", "run=run", "tracker=[tensorboard,mlflow]", database)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "mlflow: has the whole run now, 88 steps" in told.stdout
    assert (folder / FILE).read_bytes() == before
    logged = lines(folder)
    found = by_hand(MLFLOW, tmp_path / "runs.db")
    assert {name: sorted(map(tuple, values)) for name, values in found["metrics"].items() if "best" not in name} == {
        name: sorted(steps.items()) for name, steps in logged.items()
    }
    result = json.loads((folder / "result.json").read_text())
    assert found["metrics"]["best/val/accuracy"] == [[88, result["objective"]["value"]]]
    training = json.loads((folder / "provenance.json").read_text())["training"]
    times = {
        step: datetime.fromisoformat(training["began"]).timestamp() + time_s
        for step, time_s in logged["time_s"].items()
    }
    times_of_lr = {step: times[step] for step in logged["lr"]}
    assert {int(step): at for step, at in found["times"].items()} == pytest.approx(times_of_lr, abs=0.01), "not now"
    assert {each.step: each.wall_time for each in events(folder).Scalars("lr")} == pytest.approx(times_of_lr, abs=0.01)
    assert (found["began"], found["ended"]) == pytest.approx((min(times.values()), max(times.values())), abs=1)
    assert (found["status"], found["tags"]["status"], found["tags"]["tag.mine"]) == ("FINISHED", "completed", "true")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert float(found["params"]["optimizer.lr"]) == config["optimizer"]["lr"]
    assert {"config.yaml", "result.json", "provenance.json", "report.html", "model", "images"} <= set(found["files"])
    for name, steps in logged.items():
        assert scalars(folder, name) == [(step, pytest.approx(value, rel=1e-6)) for step, value in steps.items()]
    assert [image.step for image in events(folder).Images("confusion")] == [88]


@pytest.mark.slow
def test_refused(launch: Launch, tmp_path: Path) -> None:
    done = launch("model=mlp", "training.max_steps=2", "training.max_epochs=null", "tracker=[]", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    result = tmp_path / "run" / "result.json"
    told = launch("action=replay", "run=run", "tracker=[]")
    assert (told.returncode, told.stderr) == (2, "error: action=replay: to which trackers? tracker=[mlflow], say\n")
    result.write_text(json.dumps(json.loads(result.read_text()) | {"status": "preempted"}))
    told = launch("action=replay", "run=run", "tracker=[tensorboard]")
    assert told.returncode == 2
    assert "that run is not over; resume=run tracker=[…] goes on with it and tells all" in told.stderr
    nothing = launch("action=replay", "tracker=[tensorboard]")
    assert nothing.returncode == 2
    assert "of which run? run=<its folder> says so" in nothing.stderr
    assert not (tmp_path / "run" / "tensorboard").exists()
