from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from launcher.artifacts.metrics_file import FILE, read
from launcher.trackers.recorder import Recorder
from launcher.trackers.tensorboard import TensorBoard

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {"name": "digits", "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999]}, "tags": [], "model": None}


def events(folder: Path) -> Any:
    """TensorBoard's own reader over a run's event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    reader.Reload()
    return reader


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def text(folder: Path, name: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in events(folder).Tensors(f"{name}/text_summary")]


def hyperparameters(folder: Path) -> tuple[dict[str, Any], list[str], str]:
    """The run's row of the table, the columns of results, and how the session ended, as the table's own plugin has them."""
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    reader = events(folder)

    def data(name: str) -> Any:
        return HParamsPluginData.FromString(reader.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)

    row = data("session_start_info").session_start_info.hparams
    columns = [each.name.tag for each in data("experiment").experiment.metric_infos]
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in row.items()}
    return values, columns, Status.Name(data("session_end_info").session_end_info.status)


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    before = time.time()
    recorder = Recorder(tmp_path, [TensorBoard()])
    recorder.start(CONFIG, lambda: {"device": "cpu", "parameters": 1234})
    for step in (50, 100):
        recorder.log(step, {"train/loss": 1 / step, "lr": 1e-3}, epoch=step / 45, time_s=0.1)
    recorder.log(100, {"val/accuracy": 0.975, "val/loss": float("nan")}, epoch=100 / 45, time_s=0.2)
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    recorder.image("attention", pixels, 100)
    recorder.table("worst", ["sample", "label"], [[3, "a"], [9, "b"]], 100)
    after = time.time()
    time.sleep(0.1)
    recorder.close({"status": "completed", "objective": {"name": "val/accuracy", "value": 0.975}, "best_step": 50})

    assert recorder.failures == {}
    assert scalars(tmp_path, "train/loss") == [(50, float(np.float32(1 / 50))), (100, float(np.float32(1 / 100)))]
    assert scalars(tmp_path, "val/accuracy") == [(100, float(np.float32(0.975)))]
    assert np.isnan(scalars(tmp_path, "val/loss")[0][1])
    (config,) = text(tmp_path, "config")
    assert json.loads(config) == CONFIG  # indented by four spaces: a block of code in Markdown
    assert all(line.startswith("    ") for line in config.splitlines())
    assert json.loads(text(tmp_path, "run")[0]) == {"name": "digits", "device": "cpu", "parameters": 1234}
    assert json.loads(text(tmp_path, "result")[0])["objective"] == {"name": "val/accuracy", "value": 0.975}
    assert scalars(tmp_path, "epoch") == [(step, float(np.float32(round(step / 45, 6)))) for step in (50, 100)]
    assert [step for step, _ in scalars(tmp_path, "time_s")] == [50, 100]
    assert scalars(tmp_path, "best/val/accuracy") == [(100, float(np.float32(0.975)))]
    assert scalars(tmp_path, "best/step") == [(100, 50.0)]
    for name in ("train/loss", "epoch", "val/accuracy", "best/val/accuracy"):
        assert all(before <= event.wall_time <= after for event in events(tmp_path).Scalars(name)), name
    (image,) = events(tmp_path).Images("attention")
    assert before <= image.wall_time <= after
    assert (image.step, image.height, image.width) == (100, 4, 5)
    assert text(tmp_path, "worst") == ["| sample | label |\n| --- | --- |\n| 3 | a |\n| 9 | b |"]
    row, columns, over = hyperparameters(tmp_path)
    assert row == {
        "name": "digits",
        "optimizer.lr": 1e-3,
        "optimizer.betas": "[0.9, 0.999]",
        "tags": "[]",
        "model": "null",
    }
    assert (columns, over) == (["best/val/loss", "val/loss"], "STATUS_SUCCESS")


def test_a_killed_and_resumed_run_shows_each_step_once_with_its_last_value(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, time; from pathlib import Path\n"
        "from launcher.trackers.recorder import Recorder; from launcher.trackers.tensorboard import TensorBoard\n"
        "folder = Path(sys.argv[1]); recorder = Recorder(folder, [TensorBoard()]); recorder.start({'a': 1}, dict)\n"
        "for step in range(1, 21): recorder.log(step, {'loss': 1.0 * step}, 0.0, 0.0)\n"
        "while recorder.state_dict()['taken']['tensorboard'] != 20: time.sleep(0.01)\n"
        "state = recorder.state_dict()\n"
        "for step in range(21, 31): recorder.log(step, {'loss': -1.0}, 0.0, 0.0)\n"
        "while recorder.state_dict()['taken']['tensorboard'] != 30: time.sleep(0.01)\n"
        "print(state['offset'], flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    state = {"offset": int(done.stdout), "taken": {"tensorboard": 20}}
    assert scalars(tmp_path, "loss")[-1] == (30, -1.0)

    recorder = Recorder(tmp_path, [TensorBoard()])
    recorder.start({"a": 1}, dict)
    recorder.load_state_dict(state)
    for step in range(21, 26):
        recorder.log(step, {"loss": 1.0 * step}, epoch=0.0, time_s=0.0)
    recorder.close({"status": "completed"})
    expected = [(step, float(step)) for step in range(1, 26)]
    assert scalars(tmp_path, "loss") == expected
    assert [(record["step"], record["loss"]) for record in read(tmp_path / FILE)] == expected
    assert len(text(tmp_path, "config")) == 1


def test_a_run_begun_anew_in_its_folder_hides_what_was_there(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        recorder = Recorder(tmp_path, [TensorBoard()])
        recorder.log(5, {"loss": value}, epoch=0.0, time_s=0.0)
        recorder.close({"status": "completed"})
    assert scalars(tmp_path, "loss") == [(5, 2.0)]
