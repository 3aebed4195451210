"""A real MLflow server on SQLite: it comes up while runs already wait for it, and its own client reads back what it got."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.harness import Outcome, Warm, environment
from tests.trackers.test_services import by_hand, lines
from tests.trackers.test_sweep import ENDS, SWEEP

pytestmark = pytest.mark.slow

READ = """
import json, sys
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
found = {}
for run in client.search_runs([client.get_experiment_by_name("launcher").experiment_id]):
    identity = run.info.run_id
    if "status" not in run.data.tags:  # it stands for a sweep
        found.setdefault("wholes", {})[identity] = run.info.run_name, run.info.status
        continue
    here = Path(sys.argv[2]) / identity
    here.mkdir()
    table = [each.path for each in client.list_artifacts(identity, "tables") if "worst" in each.path]
    found["/".join(filter(None, (run.data.tags.get("group"), run.info.run_name)))] = {
        "status": run.info.status, "tags": run.data.tags, "params": run.data.params,
        "metrics": {name: [(m.step, m.value) for m in client.get_metric_history(identity, name)] for name in run.data.metrics},
        "files": {path: sorted(each.path for each in client.list_artifacts(identity, path)) for path in ("", "model", "images")},
        "facts": json.loads(Path(client.download_artifacts(identity, "run.json", str(here))).read_text()),
        "table": json.loads(Path(client.download_artifacts(identity, table[0], str(here))).read_text()) if table else None,
        "config": Path(client.download_artifacts(identity, "config.yaml", str(here))).read_text(),
    }
print(json.dumps(found))
"""


class Told(NamedTuple):
    """What the commands said, and what the server holds, by the names of a sweep and a run."""

    cwd: Path
    said: list[Outcome]
    held: dict[str, Any]


@pytest.fixture(scope="module")
def told(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    cwd = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    words = ["--backend-store-uri", f"sqlite:///{cwd / 'runs.db'}", "--artifacts-destination", str(cwd / "kept")]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (cwd / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words], cwd=cwd, env=environment(), stdout=log, stderr=log
        )
    try:
        tracker = ("tracker=[mlflow]", f"tracker.mlflow.tracking_uri={address}", "model=mlp")
        # It takes seconds to come up: the first run is over by then, and what it could not send is sent by hand.
        early = warm(
            *tracker,
            "training.max_epochs=1",
            "hydra.run.dir=early",
            "name=early",
            "tags=[mine]",
            "notes=what for",
            cwd=cwd,
        )
        _until_it_answers(f"{address}/health", server, cwd / "server.log")
        swept = warm.start(*SWEEP, *tracker[:2], cwd=cwd)  # both may find that there is no experiment yet
        replayed = warm("action=replay", "run=early", *tracker[:2], cwd=cwd)
        said = [early, replayed, swept.wait()]
        (cwd / "read").mkdir()
        yield Told(cwd, said, by_hand(READ, address, cwd / "read"))
    finally:
        server.terminate()
        server.wait(30)


def _until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import time

    while True:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)


def test_a_run_that_found_nobody_is_told_later_and_whole(told: Told) -> None:
    early, replayed = told.said[:2]
    assert early.returncode == 0, early.stderr
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    run = told.held["early"]
    folder = told.cwd / "early"
    logged = {name: [[step, value] for step, value in steps.items()] for name, steps in lines(folder).items()}
    assert {name: sorted(values) for name, values in run["metrics"].items() if "best" not in name} == logged
    assert "lr" in logged
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert yaml.safe_load(run["config"]) == config
    assert float(run["params"]["optimizer.lr"]) == config["optimizer"]["lr"]
    assert (run["status"], run["tags"]["tag.mine"], run["tags"]["mlflow.note.content"]) == (
        "FINISHED",
        "true",
        "what for",
    )
    assert {"config.yaml", "result.json", "provenance.json", "report.html", "model"} <= set(run["files"][""])
    assert "model/model.safetensors" in run["files"]["model"]
    assert {path.partition("-")[0] for path in run["files"]["images"]} == {"images/confusion", "images/worst"}
    evidence = json.loads((folder / "evidence.json").read_text())
    shown = [[entry[key] for key in run["table"]["columns"]] for entry in evidence["worst"]]
    assert run["table"]["data"] == shown
    origin = json.loads((folder / "provenance.json").read_text())
    for key in ("command", "git", "packages", "data", "environment"):
        assert run["facts"]["provenance"][key] == origin[key]


def test_trials_stand_in_their_sweep_and_are_marked_by_how_they_ended(told: Told) -> None:
    trials = {number: told.held.get(f"study/{number}") for number in range(len(ENDS))}
    assert all(trials.values()), told.said[2].stdout + told.said[2].stderr
    words = dict(zip(("completed", "pruned", "failed"), ("FINISHED", "KILLED", "FAILED"), strict=True))
    for number, (status, rate) in enumerate(zip(ENDS, (1e-3, 1e-7, 1e30), strict=True)):
        run = trials[number]
        assert (run["status"], run["tags"]["status"]) == (words[status], status)
        assert told.held["wholes"] == {run["tags"]["mlflow.parentRunId"]: ["study", "FINISHED"]}, "one for all of them"
        assert float(run["params"]["optimizer.lr"]) == rate
