"""Four services at once over a run that is preempted and resumed, each read back with what it brings for that."""

from __future__ import annotations

import csv
import getpass
import json
import shlex
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from launcher.artifacts.metrics_file import FILE, read
from tests.support.harness import Outcome, Warm, environment

SERVICES = (
    "tracker=[wandb,mlflow,clearml,neptune]",
    "tracker.wandb.mode=offline",
    "tracker.clearml.mode=offline",
    "model=mlp",
    "tags=[first,second]",
    "notes=what it is for",
)


class Kept(NamedTuple):
    """A run of two sessions in a sweep's folder, and what its commands said."""

    folder: Path
    said: list[Outcome]

    @property
    def lines(self) -> dict[str, dict[int, float]]:
        """metrics.jsonl: by name and step."""
        return lines(self.folder)

    def times(self, last: bool = True) -> dict[int, float]:
        """By step, when its last or its first line was logged, from what provenance.json says of the two sessions."""
        later = self.origin["training"]
        (earlier,) = (session["training"] for session in self.origin["before"])
        found: dict[int, float] = {}
        for record in read(self.folder / FILE):
            session = later if record["time_s"] > later["time_s"] else earlier
            at = datetime.fromisoformat(session["began"]).timestamp() + record["time_s"] - session["time_s"]
            if last or record["step"] not in found:
                found[record["step"]] = at
        return found

    @property
    def config(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text()))

    @property
    def origin(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "provenance.json").read_text()))

    @property
    def best(self) -> tuple[float, int]:
        result = json.loads((self.folder / "result.json").read_text())
        return result["objective"]["value"], result["best_step"]

    @property
    def worst(self) -> list[list[Any]]:
        """The rows of the table of samples that the best weights are most wrong about."""
        found = json.loads((self.folder / "evidence.json").read_text())["worst"]
        return [[entry[key] for key in ("sample", "label", "prediction", "p_label", "p_prediction")] for entry in found]


def lines(folder: Path) -> dict[str, dict[int, float]]:
    """metrics.jsonl: by name and step; of a step of two lines the `epoch` and the `time_s` of the first."""
    found: dict[str, dict[int, float]] = {}
    for record in read(folder / FILE):
        for name, value in record.items():
            if name != "step":
                found.setdefault(name, {}).setdefault(record["step"], value)
    return found


CLOSE = 0.5
"""Seconds by which the time of day and the seconds of training may differ, which are looked up one after the other on a
machine that may be busy. What is sent is later by the second that a tracker waits, and by the import of its package."""


@pytest.fixture(scope="module")
def kept(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    cwd = tmp_path_factory.mktemp("services")
    study = cwd / "study"
    study.mkdir()
    (study / "trials.csv").touch()
    address = f"sqlite:///{cwd / 'runs.db'}"
    # Its tables take a while, which the end of a short run should not have to wait for.
    by_hand(f"import mlflow; mlflow.MlflowClient({address!r}).search_experiments(); print(0)")
    database = f"tracker.mlflow.tracking_uri={address}"
    first = warm(*SERVICES, database, "training.max_epochs=1", "hydra.run.dir=study/3", cwd=cwd)
    second = warm("resume=study/3", "training.max_epochs=2", cwd=cwd)
    return Kept(study / "3", [first, second])


def by_hand(script: str, *words: str | Path) -> Any:
    """What a reader prints as JSON, in a process of its own: libraries warn, and change what is global."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_all_go_with_the_run_to_its_end(kept: Kept) -> None:
    for outcome in kept.said:
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert "does not hold the whole run" not in outcome.stderr + outcome.stdout
    assert sorted(path.stem for path in (kept.folder / "trackers").glob("*.json")) == [
        "clearml",
        "mlflow",
        "neptune",
        "wandb",
    ]


def test_weights_and_biases_hold_config_values_picture_and_files_under_one_id(kept: Kept) -> None:
    """Read with `wandb leet inspect`."""
    identity = json.loads((kept.folder / "trackers" / "wandb.json").read_text())["id"]
    sessions = sorted(kept.folder.glob(f"wandb/offline-run-*/run-{identity}.wandb"))
    assert len(sessions) == 2
    values: dict[str, dict[int, float]] = {}
    artifacts: set[str] = set()
    stamps: dict[int, float] = {}
    summary: dict[str, Any] = {}
    for session in sessions:
        command = [sys.executable, "-m", "wandb", "leet", "inspect", str(session), "--json"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        assert run["run_id"] == identity
        assert (run["run_group"], run["notes"]) == ("study", "what it is for")
        assert run["tags"] == ["first", "second"]
        assert run["resume"]
        config = next(record["config"]["update"] for record in records if record["type"] == "config")
        assert config == kept.config if session == sessions[-1] else config["optimizer"] == kept.config["optimizer"]
        for record in records:
            if record["type"] == "history":
                item = record["history"]["item"]
                stamps[int(record["history"]["step"]["num"])] = item["_timestamp"]
                for name in kept.lines:
                    if name in item:
                        values.setdefault(name, {})[int(record["history"]["step"]["num"])] = item[name]
            elif record["type"] == "artifact":
                artifacts.add(record["artifact"]["type"])
            elif record["type"] == "summary":
                summary |= record["summary"].get("update", {})
            elif record["type"] == "exit":
                assert record["exit"].get("exit_code", 0) == 0
    assert values == {name: pytest.approx(steps, rel=1e-12) for name, steps in kept.lines.items()}
    assert {"config", "result", "provenance", "report", "model"} <= artifacts
    assert stamps == pytest.approx(kept.times(), abs=CLOSE)
    assert summary["status"] == "completed"
    assert (summary["best/val/accuracy"], summary["best/step"]) == kept.best
    assert summary["run"]["command"] == kept.origin["command"]
    assert summary["run"]["data"] == kept.origin["data"]
    assert summary["run"]["parameters"] == 26122
    command = f"wandb sync {' '.join(str(session.parent) for session in sessions)}\n"
    assert command.replace(str(kept.folder), "study/3") in kept.said[1].stdout, "of both sessions"
    for picture in ("confusion", "worst"):
        assert list(sessions[-1].parent.glob(f"files/media/images/{picture}*.png"))
    (table,) = sessions[-1].parent.glob("files/media/table/worst*.table.json")
    assert json.loads(table.read_text())["data"] == kept.worst


MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient("sqlite:///" + sys.argv[1])
runs = client.search_runs([client.get_experiment_by_name("launcher").experiment_id])
(run,) = [run for run in runs if "status" in run.data.tags]
names = lambda path: sorted(file.path for file in client.list_artifacts(run.info.run_id, path))
print(json.dumps({
    "id": run.info.run_id, "status": run.info.status, "tags": run.data.tags, "params": run.data.params,
    "metrics": {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics},
    "times": {m.step: m.timestamp / 1000 for m in client.get_metric_history(run.info.run_id, "lr")},
    "began": run.info.start_time / 1000, "ended": run.info.end_time / 1000,
    "parents": {each.info.run_id: each.info.run_name for each in runs if each is not run},
    "files": names(None), "model": names("model"), "images": names("images"),
}))
"""


def test_mlflow_holds_each_step_once_in_one_run(kept: Kept) -> None:
    """Read with MlflowClient."""
    found = by_hand(MLFLOW, kept.folder.parent.parent / "runs.db")
    assert found["id"] == json.loads((kept.folder / "trackers" / "mlflow.json").read_text())["id"]
    best = {name: found["metrics"].pop(name)[-1] for name in ("best/val/accuracy", "best/step")}
    assert best == {name: [88, value] for name, value in zip(best, kept.best, strict=True)}
    assert {name: sorted(map(tuple, values)) for name, values in found["metrics"].items()} == {
        name: sorted(steps.items()) for name, steps in kept.lines.items()
    }
    times = {step: at for step, at in kept.times(last=False).items() if step in kept.lines["lr"]}
    assert {int(step): at for step, at in found["times"].items()} == pytest.approx(times, abs=CLOSE)
    assert (found["began"], found["ended"]) == pytest.approx(
        (min(kept.times().values()), max(kept.times().values())), abs=1
    )
    assert found["tags"]["mlflow.user"] == getpass.getuser()
    assert found["tags"]["mlflow.source.name"] == "launcher"
    assert found["tags"]["command"] == kept.origin["command"]
    assert found["parents"] == {found["tags"]["mlflow.parentRunId"]: "study"}
    assert found["status"] == "FINISHED"
    assert found["tags"]["status"] == "completed"
    assert found["tags"]["group"] == "study"
    assert found["tags"]["tag.first"] == "true"
    assert found["tags"]["mlflow.note.content"] == "what it is for"
    assert float(found["params"]["optimizer.lr"]) == kept.config["optimizer"]["lr"]
    assert found["params"]["model._target_"] == kept.config["model"]["_target_"]
    assert {"config.yaml", "result.json", "provenance.json", "report.html", "model", "images"} <= set(found["files"])
    assert "model/model.safetensors" in found["model"]
    assert found["images"] == [f"images/{name}-{step}.png" for name in ("confusion", "worst") for step in (44, 88)]


CLEARML = """
import json, sys, zipfile
from clearml.utilities.config import text_to_config_dict
task = json.loads(zipfile.ZipFile(sys.argv[1]).read("task.json"))
print(json.dumps([text_to_config_dict(task["configuration"][name]["value"]) for name in ("config", "run")]))
"""


def test_clearml_keeps_an_archive_for_each_session(kept: Kept) -> None:
    """Read as `Task.import_offline_session` does: the archive's JSON lines."""
    archives = sorted(kept.folder.glob("clearml/offline/*.zip"), key=lambda path: path.stat().st_mtime_ns)
    assert len(archives) == 2
    values: dict[str, dict[int, float]] = {}
    stamps: dict[int, float] = {}
    single: dict[str, float] = {}
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            events = [event for line in opened.read("metrics.jsonl").splitlines() for event in json.loads(line)]
            task = json.loads(opened.read("task.json"))
            assert any(name.endswith("model.safetensors") or "model" in name for name in opened.namelist())
        for event in events:
            if event["type"] == "training_stats_scalar" and event["metric"] == "Summary":
                single[event["variant"]] = event["value"]
            elif event["type"] == "training_stats_scalar":
                stamps[event["iter"]] = max(event["timestamp"] / 1000, stamps.get(event["iter"], 0))
                one = event["metric"] == event["variant"]
                name = event["metric"] if one else f"{event['variant']}/{event['metric']}"
                values.setdefault(name, {})[event["iter"]] = event["value"]
        assert {"training_debug_image", "plot"} <= {event["type"] for event in events}
    assert values == {name: pytest.approx(steps, rel=1e-6) for name, steps in kept.lines.items()}
    assert stamps == pytest.approx(kept.times(), abs=CLOSE)
    assert single == pytest.approx({"best/val/accuracy": kept.best[0], "best/step": kept.best[1]}, rel=1e-6)
    (told,) = [line for line in kept.said[1].stdout.splitlines() if "tracker clearml: the run lies on the disk" in line]
    assert shlex.split(told)[-2:] == [str(archive) for archive in archives], "both sessions, into one task"
    assert task["comment"] == "what it is for"
    assert {"first", "second", "completed"} <= set(task["tags"])
    assert task["hyperparams"]["config"]["optimizer.lr"]["value"] == str(kept.config["optimizer"]["lr"])
    config, facts = by_hand(CLEARML, archives[-1])
    assert config == kept.config
    assert facts["provenance"]["packages"] == kept.origin["packages"]
    assert facts["group"] == "study"
    pictures = {event["metric"] for event in events if event["type"] == "training_debug_image"}
    assert {"confusion", "worst"} <= pictures
    tables = {event["metric"] for event in events if event["type"] == "plot"}
    assert {"confusion", "worst"} <= tables
    assert {each["key"] for each in task["execution"]["artifacts"]} >= {"config", "result", "report", "model"}


def test_neptunes_client_keeps_a_log_for_each_session(kept: Kept) -> None:
    """Read from the client's own files: its service is gone."""
    logs = sorted(kept.folder.glob("neptune/offline/*/data-1.log"), key=lambda path: path.stat().st_mtime_ns)
    assert len(logs) == 2
    identity = json.loads((kept.folder / "trackers" / "neptune.json").read_text())["id"]
    values: dict[str, dict[int, float]] = {}
    stamps: dict[int, float] = {}
    for log in logs:
        said = [json.loads(line)["obj"] for line in log.read_text().splitlines()]
        by_path = {"/".join(each["path"]): each for each in said if each["type"] != "LogFloats"}
        for each in said:
            if each["type"] == "LogFloats":
                steps = values.setdefault("/".join(each["path"]), {})
                steps.update({int(point["step"]): point["value"] for point in each["values"]})
                for point in each["values"]:
                    stamps[int(point["step"])] = max(point["ts"], stamps.get(int(point["step"]), 0))
        assert by_path["sys/custom_run_id"]["value"] == identity
        assert by_path["config/optimizer/lr"]["value"] == kept.config["optimizer"]["lr"]
        assert by_path["sys/failed"]["value"] is False
        assert {"artifacts/model", "artifacts/report", "images/confusion", "images/worst", "tables/worst"} <= set(
            by_path
        )
        assert by_path["run/provenance/packages/torch"]["value"] == kept.origin["packages"]["torch"]
        tags = [tag for each in said if "/".join(each["path"]) == "sys/tags" for tag in each["values"]]
        assert set(tags) == {"first", "second", "study", "completed"}
        (file,) = log.parent.rglob(by_path["tables/worst"]["tmp_file_name"])
        rows = list(csv.reader(file.read_text().splitlines()))
        assert rows[0] == ["sample", "label", "prediction", "p_label", "p_prediction"]
        assert len(rows) == 1 + len(kept.worst)
    assert values == kept.lines
    assert stamps == pytest.approx(kept.times(), abs=CLOSE)
    assert (by_path["best/val/accuracy"]["value"], by_path["best/step"]["value"]) == kept.best
    for outcome in kept.said:
        said = outcome.stdout + outcome.stderr
        begun = said.index("tracker neptune: its hosted service closed on 5 March 2026")
        assert begun < said.index("\nstep ") < said.index("there is no service to send it to"), "said at the start"


NOBODY = "http://127.0.0.1:9"
ALONE = {
    "WANDB_BASE_URL": NOBODY,
    "WANDB_API_KEY": "a" * 40,
    "CLEARML_API_HOST": NOBODY,
    "CLEARML_WEB_HOST": NOBODY,
    "CLEARML_FILES_HOST": NOBODY,
    "CLEARML_API_ACCESS_KEY": "a" * 20,
    "CLEARML_API_SECRET_KEY": "b" * 40,
}


def test_servers_that_nobody_runs_stop_nothing_and_are_told(warm: Warm, tmp_path: Path) -> None:
    words = ("tracker=[mlflow,clearml,wandb]", f"tracker.mlflow.tracking_uri={NOBODY}", "model=mlp")
    done = warm(*words, "training.max_epochs=1", cwd=tmp_path, env=ALONE)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for name in ("mlflow", "clearml"):
        assert f"tracker {name} can not be reached; what is logged waits, and is tried again" in said
    assert "tracker mlflow does not hold the whole run (MlflowException in start: " in said
    folder = done.folder.relative_to(tmp_path) if done.folder is not None else None
    assert f"action=replay run={folder} 'tracker=[mlflow]' tracker.mlflow.tracking_uri={NOBODY} tells it all" in said
    assert (
        "tracker clearml does not hold the whole run (ConnectionError in start: nobody answers at 127.0.0.1:9" in said
    )
    assert "tracker wandb: could not be reached (nobody answers at 127.0.0.1:9" in said
    assert "The run lies on the disk: wandb sync" in said
    assert done.folder is not None
    assert len(read(done.folder / FILE)) > 0
    assert json.loads((done.folder / "result.json").read_text())["status"] == "completed"
