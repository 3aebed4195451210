"""What a service's own users set in the environment: obeyed where the config says nothing, over the launcher's defaults."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import ConfigError
from launcher.trackers.clearml import ClearML
from launcher.trackers.mlflow import MLflow
from launcher.trackers.neptune import Neptune
from launcher.trackers.reachable import reach
from launcher.trackers.settings import run_id
from launcher.trackers.wandb import Wandb
from tests.conftest import Launch
from tests.support.harness import environment


class Listener:
    """A server on this machine that counts who comes, and hangs up."""

    def __init__(self) -> None:
        self.heard = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.heard += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.close()


def hosts(url: str) -> dict[str, str]:
    """Every service at one address, with keys that would do."""
    return {
        "WANDB_BASE_URL": url, "WANDB_API_KEY": "a" * 40,
        "CLEARML_API_HOST": url, "CLEARML_WEB_HOST": url, "CLEARML_FILES_HOST": url,
        "CLEARML_API_ACCESS_KEY": "a" * 20, "CLEARML_API_SECRET_KEY": "b" * 40,
        "WANDB_ERROR_REPORTING": "false",
    }  # fmt: skip


SHORT = ("model=mlp", "training.max_steps=2", "training.log_every=1")
MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient("sqlite:///" + sys.argv[1])
(experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
print(json.dumps([experiment.name, [run.info.run_id for run in client.search_runs([experiment.experiment_id])]]))
"""


def runs_of_mlflow(database: Path) -> tuple[str, list[str]]:
    command = [sys.executable, "-W", "ignore", "-c", MLFLOW, str(database)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    name, runs = json.loads(done.stdout.splitlines()[-1])
    return name, runs


def test_the_services_variables_decide_and_offline_is_offline(
    launch: Launch, tmp_path: Path, listener: Listener
) -> None:
    variables = {
        "WANDB_MODE": "offline", "WANDB_PROJECT": "theirs", "WANDB_NAME": "named", "WANDB_RUN_ID": "abc123",
        "WANDB_RUN_GROUP": "grouped", "WANDB_TAGS": "one,two", "WANDB_DIR": str(tmp_path / "there"), "WANDB_NOTES": "noted",
        "CLEARML_OFFLINE_MODE": "1", "CLEARML_PROJECT": "theirs", "NEPTUNE_PROJECT": "them/theirs", "NEPTUNE_CUSTOM_RUN_ID": "abc",
    }  # fmt: skip
    (tmp_path / "there").mkdir()
    done = launch(*SHORT, "tracker=[wandb,clearml,neptune]", "hydra.run.dir=run", env=hosts(listener.url) | variables)
    assert done.returncode == 0, done.stderr
    assert "does not hold the whole run" not in done.stdout + done.stderr
    assert listener.heard == 0
    (session,) = tmp_path.glob("there/wandb/offline-run-*/run-abc123.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(session), "--json"]
    shown = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout
    (run,) = [record["run"] for record in map(json.loads, shown.splitlines()) if record["type"] == "run"]
    assert (run["project"], run["display_name"], run["run_group"]) == ("theirs", "named", "grouped")
    assert (run["run_id"], run["tags"], run["notes"]) == ("abc123", ["one", "two"], "noted")
    (archive,) = tmp_path.glob("run/clearml/offline/*.zip")
    with zipfile.ZipFile(archive) as opened:
        assert "theirs" in opened.read("task.json").decode()
    assert json.loads((tmp_path / "run" / "trackers" / "neptune.json").read_text())["id"] == "abc"


def test_switched_off_is_nothing_and_mlflow_goes_on_in_the_run_that_is_named(
    launch: Launch, tmp_path: Path, listener: Listener
) -> None:
    variables = hosts(listener.url) | {
        "WANDB_MODE": "disabled", "NEPTUNE_MODE": "debug", "MLFLOW_EXPERIMENT_NAME": "theirs",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/runs.db",
    }  # fmt: skip
    done = launch(*SHORT, "tracker=[wandb,mlflow,neptune]", "hydra.run.dir=first", env=variables)
    assert done.returncode == 0, done.stderr
    identity = json.loads((tmp_path / "first" / "trackers" / "mlflow.json").read_text())["id"]
    done = launch(*SHORT, "tracker=[mlflow]", "hydra.run.dir=second", env=variables | {"MLFLOW_RUN_ID": identity})
    assert done.returncode == 0, done.stderr
    assert "does not hold the whole run" not in done.stdout + done.stderr
    assert runs_of_mlflow(tmp_path / "runs.db") == ("theirs", [identity])
    assert listener.heard == 0
    for name in ("wandb", "neptune"):
        assert not (tmp_path / "first" / name).exists()
        assert not (tmp_path / "first" / "trackers" / f"{name}.json").exists()


def test_the_listener_hears_who_comes(listener: Listener) -> None:
    """Else what it did not hear would prove nothing."""
    reach(listener.url)
    while not listener.heard:
        time.sleep(0.01)


def test_the_config_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("WANDB_MODE", "disabled"),
        ("CLEARML_OFFLINE_MODE", "true"),
        ("CLEARML_PROJECT", "theirs"),
        ("NEPTUNE_PROJECT", "them/theirs"),
    ):
        monkeypatch.setenv(name, value)
    assert (Wandb().mode, Wandb().off, Wandb(mode="offline").mode, Wandb(mode="online").off) == (
        "disabled",
        True,
        "offline",
        False,
    )
    assert (ClearML().mode, ClearML(mode="online").mode) == ("offline", "online")
    assert (ClearML().project, ClearML(project="mine").project) == ("theirs", "mine")
    assert (Neptune().project, Neptune(project="me/mine").project) == ("them/theirs", "me/mine")
    monkeypatch.undo()
    assert (Wandb().mode, ClearML().mode, ClearML().project) == ("online", "online", "launcher")


def test_a_mode_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(
        ConfigError, match=r"WANDB_MODE=ofline: expected online, offline, disabled\. Did you mean 'offline'"
    ):
        Wandb()
    monkeypatch.setenv("NEPTUNE_MODE", "async")
    with pytest.raises(ConfigError, match=r"NEPTUNE_MODE=async: expected offline, debug"):
        Neptune()


def test_one_id_is_not_given_to_several_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert run_id(tmp_path, "wandb", "WANDB_RUN_ID", None) == "abc"
    with pytest.raises(ConfigError, match="WANDB_RUN_ID=abc names one run, and this is one of several, of study"):
        run_id(tmp_path, "wandb", "WANDB_RUN_ID", "study")


def test_a_login_goes_to_its_own_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mine.example")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t" * 20)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_TOKEN belongs to the server of MLFLOW_TRACKING_URI"):
        MLflow(tracking_uri="https://theirs.example/mlflow")
    assert MLflow(tracking_uri="https://mine.example/other").tracking_uri == "https://mine.example/other"
