from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from launcher.artifacts.metrics_file import FILE, Lines, encode, read
from launcher.errors import ConfigError, TrainingError
from launcher.trackers.base import Tracker, best_of
from launcher.trackers.later import later
from launcher.trackers.mlflow import MLflow
from launcher.trackers.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
RESULT = {"status": "completed"}


class Memory(Tracker):
    """Keeps what it is told, and forgets as it is told."""

    name = "memory"

    def __init__(self, held: dict[int, dict[str, float]] | None = None) -> None:
        super().__init__()
        self.held = {} if held is None else held
        self.resume_step: int | None = -1
        self.closed: dict[str, Any] | None = None
        self.times_logged: list[int] = []
        self.stamps: dict[int, list[tuple[float | None, float | None, float]]] = {}

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        self.described = (config, facts, name, folder)
        self.resume_step = resume_step
        for step in [step for step in self.held if resume_step is not None and step >= resume_step]:
            del self.held[step]

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        self.times_logged.append(step)
        self.stamps.setdefault(step, []).append((values.get("epoch"), values.get("time_s"), at))
        self.held.setdefault(step, {}).update(
            {name: value for name, value in values.items() if name not in ("epoch", "time_s")}
        )

    def close(self, result: dict[str, Any], step: int) -> None:
        self.closed = result


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE).read_bytes().splitlines(keepends=True)


def test_one_object_a_line_with_step_epoch_and_time_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, [])
    recorder.log(50, {"train/loss": 0.25, "lr": 1e-3}, epoch=1.5, time_s=2.25)
    recorder.log(90, {"val/accuracy": 1}, epoch=2.0, time_s=3.0)
    assert lines(tmp_path) == [
        b'{"step": 50, "epoch": 1.5, "time_s": 2.25, "train/loss": 0.25, "lr": 0.001}\n',
        b'{"step": 90, "epoch": 2.0, "time_s": 3.0, "val/accuracy": 1.0}\n',
    ]


@pytest.mark.parametrize(
    "value", [0.1, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308, 2.0**-30, math.inf, -math.inf, math.nan]
)
def test_a_float_comes_back_with_the_same_bits_and_the_line_is_strict_json(tmp_path: Path, value: float) -> None:
    recorder = Recorder(tmp_path, [])
    recorder.log(1, {"x": value, "y": 2.0}, epoch=0.0, time_s=0.0)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(lines(tmp_path)[0], parse_constant=refuse)
    (record,) = read(tmp_path / FILE)
    assert struct.pack("<d", record["x"]) == struct.pack("<d", value)
    assert record["y"] == 2.0


def test_numbers_of_numpy_and_torch_become_plain_floats(tmp_path: Path) -> None:
    import numpy as np
    import torch

    memory = Memory()
    recorder = Recorder(tmp_path, [memory])
    recorder.log(1, {"a": np.float32(0.1), "b": torch.tensor(0.5, dtype=torch.float64), "c": 3}, epoch=0.0, time_s=0.0)  # type: ignore[dict-item]  # what a task may hand over
    recorder.close(RESULT)
    assert memory.held == {1: {"a": float(np.float32(0.1)), "b": 0.5, "c": 3.0}}
    assert all(type(value) is float for value in memory.held[1].values())


def test_every_line_survives_sigkill(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from launcher.trackers.recorder import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1]), [])\n"
        "for step in range(10**9):\n"
        "    recorder.log(step, {'loss': 1 / (step + 1)}, 0.0, 0.0); print(step, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    records = read(tmp_path / FILE)
    assert [record["step"] for record in records[: len(said)]] == said
    assert all(record["loss"] == 1 / (record["step"] + 1) for record in records)


def test_a_resume_cuts_the_file_at_the_checkpoint_and_no_step_stands_twice(tmp_path: Path) -> None:
    first = Recorder(tmp_path, [])
    for step in (1, 2, 3):
        first.log(step, {"loss": 1 / step}, epoch=float(step), time_s=0.0)
    state = first.state_dict()
    uninterrupted = lines(tmp_path)
    first.log(4, {"loss": 9.0}, epoch=4.0, time_s=0.0)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"step": 5, "lo')  # killed in the middle of a line

    second = Recorder(tmp_path, [])
    second.start({}, dict)
    second.load_state_dict(json.loads(json.dumps(state)))
    assert lines(tmp_path) == uninterrupted
    second.log(4, {"loss": 0.25}, epoch=4.0, time_s=0.0)
    assert [(record["step"], record["loss"]) for record in read(tmp_path / FILE)] == [
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
        (4, 0.25),
    ]
    assert second.state_dict()["offset"] == (tmp_path / FILE).stat().st_size


def test_a_run_that_begins_anew_in_its_folder_replaces_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(encode({"step": 7}) + b'{"step"')
    memory = Memory(held={7: {"loss": 0.0}})
    recorder = Recorder(tmp_path, [memory])
    recorder.log(1, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    recorder.close(RESULT)
    assert [record["step"] for record in read(tmp_path / FILE)] == [1]
    assert memory.resume_step == 0
    assert memory.held == {1: {"loss": 0.5}}


def test_a_recorder_that_logs_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(encode({"step": 7}))
    recorder = Recorder(tmp_path, [Memory()])
    recorder.start({"name": "a"}, dict)
    recorder.close(RESULT)
    assert [record["step"] for record in read(tmp_path / FILE)] == [7]


def test_lines_that_are_lost_are_said_and_the_last_torn_one_is_cut(tmp_path: Path) -> None:
    whole = encode({"step": 1})
    (tmp_path / FILE).write_bytes(whole + b'{"step": 2')
    said: list[str] = []
    recorder = Recorder(tmp_path, [], warn=said.append)
    recorder.load_state_dict({"offset": 500, "taken": {}})
    assert (tmp_path / FILE).read_bytes() == whole
    assert len(said) == 1
    assert f"{len(whole)} bytes" in said[0]
    assert "500" in said[0]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    memory = Memory()
    recorder = Recorder(tmp_path, [memory], is_main=False)
    recorder.start({}, dict)
    recorder.log(1, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    assert recorder.state_dict() == {}
    recorder.load_state_dict({})
    recorder.sync()
    recorder.close(RESULT)
    assert list(tmp_path.iterdir()) == []
    assert memory.held == {}


def test_a_full_disk_is_a_training_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the kernel then cuts a write short in the same way."""
    line = encode({"step": 1, "epoch": 0.0, "time_s": 0.0, "loss": 0.5})
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from launcher.trackers.recorder import Recorder; from launcher.errors import TrainingError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(line) * 3 + 10}, {len(line) * 3 + 10}))\n"
        "recorder = Recorder(Path(sys.argv[1]), [])\n"
        "try:\n"
        "    for step in range(1, 9): recorder.log(step, {'loss': 0.5}, 0.0, 0.0)\n"
        "except TrainingError as error: print(step, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith(f"4 {tmp_path / FILE}: File too large")
    assert [record["step"] for record in read(tmp_path / FILE)] == [1, 2, 3]
    assert (tmp_path / FILE).stat().st_size == 3 * len(line)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No such file or directory"):
        Lines(tmp_path / "gone" / FILE)


def test_reading_names_the_line_that_is_no_record(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"step": 1}\n[2]\n')
    with pytest.raises(ValueError, match=rf"{FILE}:2: expected a JSON object"):
        read(tmp_path / FILE)


# -- trackers


def test_a_tracker_gets_description_lines_and_result(tmp_path: Path) -> None:
    memory = Memory()
    recorder = Recorder(tmp_path, [memory])
    recorder.start({"name": "digits", "seed": 1}, lambda: {"device": "cpu"})
    for step in (1, 2):
        recorder.log(step, {"loss": 1 / step}, epoch=0.0, time_s=0.0)
    recorder.close(RESULT)
    assert memory.described == ({"name": "digits", "seed": 1}, {"device": "cpu"}, "digits", tmp_path)
    assert memory.resume_step is None
    assert memory.held == {1: {"loss": 1.0}, 2: {"loss": 0.5}}
    assert memory.closed == RESULT
    assert recorder.failures == {}


@pytest.mark.parametrize("restore_first", [True, False])
def test_a_resumed_tracker_holds_each_step_once_also_those_it_had_lost(tmp_path: Path, restore_first: bool) -> None:
    first = Recorder(tmp_path, [])
    for step in (1, 2, 3):
        first.log(step, {"train/loss": 1 / step}, epoch=0.0, time_s=0.0)
    state = {"offset": first.state_dict()["offset"], "taken": {"memory": 2}}
    first.log(3, {"val/loss": 9.0}, epoch=0.0, time_s=0.0)  # after the checkpoint: comes again, with another value
    # When the run was killed the tracker held steps 1 to 3, the line of the first half of step 3 was still on its way.
    memory = Memory(held={1: {"train/loss": 1.0}, 2: {"train/loss": 0.5}, 3: {"val/loss": 9.0}})

    second = Recorder(tmp_path, [memory])
    described = {"name": "again"}
    if restore_first:
        second.load_state_dict(state)
        second.start(described, dict)
    else:
        second.start(described, dict)
        second.load_state_dict(state)
    second.log(3, {"val/loss": 0.1}, epoch=0.0, time_s=0.0)
    second.log(4, {"train/loss": 0.25}, epoch=0.0, time_s=0.0)
    second.close(RESULT)
    assert memory.described[0] == described
    assert memory.resume_step == 2
    assert memory.held == {
        1: {"train/loss": 1.0},
        2: {"train/loss": 0.5},
        3: {"train/loss": 1 / 3, "val/loss": 0.1},
        4: {"train/loss": 0.25},
    }
    assert memory.times_logged == [2, 3, 3, 4]


def test_a_tracker_added_at_a_resume_gets_the_whole_run(tmp_path: Path) -> None:
    first = Recorder(tmp_path, [])
    for step in (1, 2):
        first.log(step, {"loss": 1 / step}, epoch=0.0, time_s=0.0)
    state = first.state_dict()
    memory = Memory()
    second = Recorder(tmp_path, [memory])
    second.load_state_dict(state)
    second.log(3, {"loss": 0.0}, epoch=0.0, time_s=0.0)
    second.close(RESULT)
    assert memory.held == {1: {"loss": 1.0}, 2: {"loss": 0.5}, 3: {"loss": 0.0}}


class Broken(Memory):
    """Fails where it is told to."""

    name = "broken"

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where, self.error = where, error

    def start(self, *arguments: Any) -> None:
        super().start(*arguments)
        self._fail("start")

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        super().log(values, step, at)
        if step == 2:
            self._fail("log")

    def flush(self) -> None:
        self._fail("flush")

    def close(self, result: dict[str, Any], step: int) -> None:
        self._fail("close")

    def _fail(self, where: str) -> None:
        if self.where == where:
            raise self.error


@pytest.mark.parametrize("where", ["start", "log", "flush", "close"])
@pytest.mark.parametrize("error", [ConnectionError("no route to host"), SystemExit(3)], ids=["exception", "exit"])
def test_a_tracker_that_fails_is_switched_off_and_reported(tmp_path: Path, where: str, error: BaseException) -> None:
    said: list[str] = []
    broken, memory = Broken(where, error), Memory()
    recorder = Recorder(tmp_path, [broken, memory], warn=said.append)
    for step in (1, 2, 3):
        recorder.log(step, {"loss": 1 / step}, epoch=0.0, time_s=0.0)
    recorder.close(RESULT)
    assert len(read(tmp_path / FILE)) == 3
    assert list(memory.held) == [1, 2, 3]
    assert memory.closed == RESULT
    during = "close" if where == "flush" else where  # all of it was worked off at the end, where flushing comes first
    assert recorder.failures == {"broken": f"{type(error).__name__} in {during}: {error}"}
    assert len(said) == 2
    assert said[0].startswith("tracker broken is switched off: ")
    assert said[1].startswith("tracker broken does not hold the whole run")


class Hanging(Memory):
    """Does not come back from `log` until it is let go."""

    name = "hanging"
    close_timeout_s = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        self.released.wait()


def test_a_tracker_that_hangs_holds_up_neither_the_run_nor_its_end(tmp_path: Path) -> None:
    said: list[str] = []
    hanging = Hanging()
    recorder = Recorder(tmp_path, [hanging], warn=said.append)
    for step in range(100):
        recorder.log(step, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    assert recorder.state_dict()["taken"] == {"hanging": None}
    recorder.close(RESULT)
    hanging.released.set()
    assert len(read(tmp_path / FILE)) == 100
    assert recorder.failures == {"hanging": "not done 0.05 s after the end of the run"}
    assert len(said) == 2


def test_a_tracker_far_behind_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.trackers.thread.CAPACITY", 20)
    said: list[str] = []
    hanging = Hanging()
    recorder = Recorder(tmp_path, [hanging], warn=said.append)
    for step in range(60):
        recorder.log(step, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    assert "calls behind" in recorder.failures["hanging"]
    assert len(said) == 1
    hanging.released.set()
    recorder.close(RESULT)


class Absent(Memory):
    name = "absent"
    packages: ClassVar[dict[str, str]] = {"no_such_module_here": "no-such-package", "json": "json"}


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ConfigError) as caught:
        Absent()
    assert str(caught.value) == (
        "tracker=absent needs no-such-package, which this Python does not have: pip install no-such-package, or leave it out with tracker=[]"
    )


# -- when, and what is said at the end


def test_a_tracker_is_told_when_a_line_was_logged_and_its_epoch_and_time_once_a_step(tmp_path: Path) -> None:
    memory = Memory()
    recorder = Recorder(tmp_path, [memory])
    bounds = []
    for step in (1, 2):
        before = time.time()
        recorder.log(step, {"loss": 0.5}, epoch=step / 2, time_s=step / 4)
        bounds.append((before, time.time()))
    recorder.log(2, {"val/loss": 0.5}, epoch=1.0, time_s=0.75)
    time.sleep(0.2)  # what is sent now stands at its own time all the same
    recorder.close(RESULT)
    assert [[stamp[:2] for stamp in stamps] for stamps in memory.stamps.values()] == [
        [(0.5, 0.25)],
        [(1.0, 0.5), (None, None)],
    ]
    for (before, after), stamps in zip(bounds, memory.stamps.values(), strict=True):
        assert before <= stamps[0][2] <= after


def test_lines_that_are_told_again_stand_at_the_times_of_their_own_sessions(tmp_path: Path) -> None:
    """The second session began anew from a checkpoint at 2 s, two hours later, and repeated the line of 3 s."""
    training = [("2026-01-01T10:00:00+00:00", 0.0), ("2026-01-01T12:00:00+00:00", 2.0)]
    first, second = ({"training": {"began": began, "time_s": time_s}} for began, time_s in training)
    (tmp_path / "provenance.json").write_text(json.dumps(second | {"before": [first]}))
    recorder = Recorder(tmp_path, [])
    for step in (1, 2, 3, 4):
        recorder.log(step, {"loss": 0.5}, epoch=0.0, time_s=step - 0.5)
    recorder.close(RESULT)
    memory = Memory()
    again = Recorder(tmp_path, [memory])
    again.retell()
    again.close(RESULT)
    ten, twelve = (datetime.fromisoformat(began).timestamp() for began, _ in training)
    assert {step: stamps[0][2] for step, stamps in memory.stamps.items()} == {
        1: ten + 0.5,
        2: ten + 1.5,
        3: twelve + 0.5,
        4: twelve + 1.5,
    }


def test_lines_of_a_folder_that_knows_no_times_end_when_the_file_does(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, [])
    for step in (1, 2):
        recorder.log(step, {"loss": 0.5}, epoch=0.0, time_s=10.0 * step)
    recorder.close(RESULT)
    os.utime(tmp_path / FILE, (1e9, 1e9))
    memory = Memory()
    again = Recorder(tmp_path, [memory])
    again.retell()
    again.close(RESULT)
    assert {step: stamps[0][2] for step, stamps in memory.stamps.items()} == {1: 1e9 - 10, 2: 1e9}


def test_a_slow_tracker_is_waited_for_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.trackers.thread.SILENT_S", 0.05)
    slow = Hanging()
    slow.close_timeout_s = 60  # type: ignore[misc]  # of this one
    said: list[str] = []

    def warn(text: str) -> None:
        said.append(text)
        slow.released.set()  # and now it is done

    recorder = Recorder(tmp_path, [slow], warn=warn)
    for step in (1, 2, 3):
        recorder.log(step, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    recorder.close(RESULT)
    assert said == ["tracker hanging still sends, 4 calls to go: waiting 60 s at most; Ctrl-C leaves it"]
    assert recorder.failures == {}
    assert slow.closed == RESULT


def test_a_signal_ends_the_wait_and_what_is_missing_is_said_with_the_command_that_tells_it(tmp_path: Path) -> None:
    slow = Hanging()
    slow.close_timeout_s = 60  # type: ignore[misc]  # of this one
    said: list[str] = []
    recorder = Recorder(tmp_path, [slow], warn=said.append)
    recorder.start({"tracker": {"hanging": {"_target_": "x", "unknown": 1}}}, dict)
    recorder.log(1, {"loss": 0.5}, epoch=0.0, time_s=0.0)
    looks = iter([False, False, True])
    recorder.close(RESULT, hurried=lambda: next(looks))
    slow.released.set()
    assert recorder.failures == {"hanging": "left by a signal before it was done"}
    assert said[-1].endswith(
        f"{FILE} does. python -m launcher action=replay run={tmp_path} 'tracker=[hanging]' tells it all"
    )


def test_the_command_that_tells_a_tracker_later_has_its_settings_and_no_password() -> None:
    tracker = MLflow(tracking_uri="http://me:secret@server:5000")
    node = {"_target_": "x", "tracking_uri": tracker.tracking_uri, "experiment": None, "artifacts": ["config"]}
    said = later(tracker, Path("a b"), {"tracker": {"mlflow": node}}, RESULT)
    assert said == (
        """python -m launcher action=replay 'run='"'"'a b'"'"'' 'tracker=[mlflow]' """
        "'tracker.mlflow.tracking_uri=http://me:***@server:5000' tells it all"
    )
    gone_on = later(tracker, Path("run"), {}, {"status": "preempted"})
    assert gone_on == "python -m launcher resume=run tells it all"


@pytest.mark.parametrize(
    ("result", "best"),
    [
        ({"objective": {"name": "val/loss", "value": 0.25}, "best_step": 7}, {"best/val/loss": 0.25, "best/step": 7}),
        ({"objective": {"name": "val/loss", "value": 0.25}}, {"best/val/loss": 0.25}),
        ({"objective": {"name": "val/loss", "value": None}}, {}),
        ({"objective": {"name": "val/loss", "value": math.nan}, "best_step": 7}, {}),
        ({}, {}),
    ],
)
def test_what_runs_are_sorted_by(result: dict[str, Any], best: dict[str, float]) -> None:
    assert best_of(result) == best


def test_recorder_imports_neither_torch_nor_a_tracker() -> None:
    script = (
        "import sys; import launcher.trackers.base, launcher.trackers.tensorboard as t; t.TensorBoard.check()\n"
        "print([name for name in ('torch', 'accelerate', 'tensorboard', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"
