"""Signals to real runs: they save and leave with 75, wherever it finds them, and go on as if nothing had been."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Launch
from tests.support.harness import Outcome, Warm, wait_for
from tests.support.sameness import assert_same, lines, model
from tests.support.signalled import TRUST

ENV = {"OMP_NUM_THREADS": "1"} | TRUST
WORDS = [
    "model=mlp",
    "model.dropout=0.2",
    "stopping=[val_loss]",
    "stopping.val_loss.patience=3",
    "training.max_steps=60",
    "training.max_epochs=null",
    "training.log_every=7",
    "training.eval_every=20",
    "training.checkpoint_every=30",
    "tracker=[]",
]


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody interrupts."""
    cwd = tmp_path_factory.mktemp("whole")
    done = warm(*WORDS, "hydra.run.dir=run", cwd=cwd, env=ENV)
    assert done.returncode == 0, done.stderr
    return cwd / "run"


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def preempted(done: Outcome, folder: Path, name: str = "SIGTERM") -> None:
    """It left as promised."""
    assert done.returncode == 75, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.count(f"{name}: saving at the end of this step") == 1
    assert f"python -m launcher resume={folder.name}\n" in done.stdout
    found = result(folder)
    assert (found["status"], found["reason"]) == ("preempted", "preempted")
    assert (folder / "checkpoints" / "last").readlink().name == f"step-{found['steps']}"
    assert not (folder / "model").exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_each_signal_saves_and_the_run_goes_on_bit_for_bit(
    launch: Launch, tmp_path: Path, whole: Path, name: str
) -> None:
    folder = tmp_path / "run"
    task = [
        "task._target_=tests.support.signalled.Signalled",
        "+task.at=step",
        f"+task.name={name}",
        f"+task.mark={tmp_path / 'mark'}",
    ]
    done = launch(*WORDS, *task, f"hydra.run.dir={folder}", env=ENV)
    preempted(done, folder, name)
    assert result(folder)["steps"] == 25
    resumed = launch(f"resume={folder}", env=ENV)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(folder, whole)


def test_in_the_middle_of_an_evaluation(launch: Launch, tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    task = ["task._target_=tests.support.signalled.Signalled", "+task.at=evaluation", f"+task.mark={tmp_path / 'mark'}"]
    done = launch(*WORDS, *task, f"hydra.run.dir={folder}", env=ENV)
    preempted(done, folder)
    assert result(folder)["steps"] == 41
    assert launch(f"resume={folder}", env=ENV).returncode == 0
    assert_same(folder, whole)


EARLY = "a signal came before the first step"


@pytest.mark.parametrize(
    ("at", "compiled", "more"),
    [
        ("data", False, []),
        ("data", True, []),
        ("model", True, []),
        ("model", False, ["parallel=ddp", "parallel.num_processes=2"]),
        ("data", True, ["parallel=ddp", "parallel.num_processes=2"]),
    ],
)
def test_before_the_first_step_it_leaves_as_it_is(
    launch: Launch, tmp_path: Path, at: str, compiled: bool, more: list[str]
) -> None:
    folder, mark = tmp_path / "run", tmp_path / "mark"
    task = [
        "task._target_=tests.support.signalled.Stuck",
        f"+task.at={at}",
        f"+task.mark={mark}",
        f"+task.compiled={compiled}",
    ]
    running = launch.start(*WORDS, *task, *more, f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, mark)
    running.send(signal.SIGTERM)
    done = running.wait(60)  # what it is busy with takes hours
    assert (done.returncode, done.stderr) == (75, "")
    assert (result(folder)["status"], result(folder)["reason"]) == ("preempted", EARLY)
    assert f"python -m launcher resume={folder.name} " in done.stdout
    nobody_left(tmp_path)
    resumed = launch(f"resume={folder}", env=ENV)
    assert resumed.returncode == 0, resumed.stderr
    assert (result(folder)["status"], result(folder)["steps"]) == ("completed", 60)


def test_a_trial_that_is_stuck_before_its_first_step_is_left(launch: Launch, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    task = ["task._target_=tests.support.signalled.Stuck", "+task.at=model", f"+task.mark={mark}"]
    words = ["-m", "seed=1,2", "hydra.sweeper.study_name=study", "hydra.sweeper.n_jobs=1", *WORDS, *task]
    running = launch.start(*words, env=ENV)
    wait_for(running, mark)
    running.send(signal.SIGTERM)
    done = running.wait(60)
    assert done.returncode == 75, done.stdout + done.stderr
    study = tmp_path / "multirun" / "study"
    assert result(study / "0")["reason"] == EARLY
    finished = launch(*words, env=ENV)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert [result(study / str(number))["status"] for number in range(2)] == ["completed"] * 2


def test_planning_can_be_ended(launch: Launch, tmp_path: Path) -> None:
    """A model that takes an hour to build, and fits that take minutes to lay out, are left as they are too."""
    running = launch.start("num_seeds=1000000", *WORDS, "hydra.run.dir=run", env=ENV)
    wait_for(running, tmp_path / "run" / "config.yaml")
    running.send(signal.SIGTERM)
    assert running.wait(60).returncode == 75
    assert result(tmp_path / "run")["reason"] == EARLY


def test_more_folds_than_samples_are_refused_before_they_are_planned(launch: Launch, tmp_path: Path) -> None:
    done = launch("validation=kfold", "validation.n_splits=100000", *WORDS, env=ENV)
    said = "error: validation.n_splits=100000: there are 1797 samples, and a fold holds out one at the least\n"
    assert (done.returncode, done.stderr) == (2, said)
    assert done.folder is None


AGAIN_AND_AGAIN = [
    pytest.param(["training.max_steps=100000"], id="one process"),
    pytest.param(["training.max_steps=100000", "parallel=ddp", "parallel.num_processes=2"], id="two workers"),
    pytest.param(["training.max_steps=100000", "num_seeds=2"], id="two fits"),
    pytest.param(["training.max_steps=100000", "-m", "optimizer.lr=0.01,0.001", "hydra.sweeper.n_jobs=2"], id="sweep"),
]


@pytest.mark.parametrize("group", [False, True], ids=["the driver", "every process"])
@pytest.mark.parametrize("words", AGAIN_AND_AGAIN)
def test_signals_until_the_process_is_over(launch: Launch, tmp_path: Path, words: list[str], group: bool) -> None:
    """Whoever ends a job may not say it once: the exit status stays that of what was saved."""
    own = [word for word in WORDS if not word.startswith(("training.max_steps", "stopping"))]
    running = launch.start(*own, *words, env=ENV)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("**/metrics.jsonl")) and time.monotonic() < end:
        time.sleep(0.05)
    while not running.done():
        try:
            os.killpg(running.pid, signal.SIGTERM) if group else running.send(signal.SIGTERM)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    done = running.wait()
    assert done.returncode == 75, done.stdout + done.stderr
    assert done.stderr == ""
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.glob("**/result.json")]
    assert set(statuses) == {"preempted"}


def test_a_run_that_is_done_is_done(launch: Launch, tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    task = ["task._target_=tests.support.signalled.Signalled", "+task.at=export", f"+task.mark={tmp_path / 'mark'}"]
    done = launch(*WORDS, *task, f"hydra.run.dir={folder}", env=ENV)
    assert done.returncode == 0
    assert_same(folder, whole)


SLOW = [
    "model=mlp",
    "tracker=[]",
    "training.log_every=1",
    "task._target_=tests.support.signalled.Slow",
    "+task.seconds=1.5",
]


def test_a_second_ctrl_c_leaves_at_once(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = launch.start(*SLOW, f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", '"step": 1')
    running.send(signal.SIGINT)
    wait_for(running, running.stdout, "SIGINT: saving at the end of this step (Ctrl-C again leaves at once)")
    running.send(signal.SIGINT)
    assert running.wait().returncode == 130
    assert not (folder / "result.json").exists()


def test_many_signals_are_as_good_as_one(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = launch.start(*SLOW, f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", '"step": 1')
    for _ in range(10):
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2):
            running.send(number)
            time.sleep(0.01)
    done = running.wait()
    assert done.returncode == 75
    assert done.stdout.count("saving at the end of this step") == 1


def test_an_estimator_has_nothing_to_save(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [
        "task=tabular",
        "model=random_forest",
        "model.n_estimators=1000000",
        "tracker=[]",
        f"hydra.run.dir={folder}",
    ]
    running = launch.start(*words, env=ENV)
    wait_for(running, running.stdout, "RandomForest")  # the header: the fit is next
    time.sleep(0.3)
    running.send(signal.SIGTERM)
    done = running.wait(60)  # all its trees take many minutes
    assert (done.returncode, done.stderr) == (75, "")
    assert (result(folder)["status"], result(folder)["steps"]) == ("preempted", 0)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("n_estimators: 1000000", "n_estimators: 10"))
    resumed = launch(f"resume={folder}", env=ENV)
    assert resumed.returncode == 0, resumed.stderr
    assert result(folder)["status"] == "completed"


def processes_in(folder: Path) -> list[str]:
    """The command lines of living processes whose current folder is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def nobody_left(folder: Path) -> None:
    """No process outlives its driver by more than it takes to notice."""
    end = time.monotonic() + 30
    while processes_in(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_in(folder) == []


DDP = [
    "parallel=ddp",
    "parallel.num_processes=2",
    "model=mlp",
    "model.dropout=0.2",
    "training.max_steps=400",
    "training.max_epochs=null",
    "training.log_every=7",
    "training.eval_every=100",
    "training.checkpoint_every=30",
    "tracker=[]",
]


@pytest.mark.slow
def test_two_ranks(launch: Launch, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert launch(*DDP, f"hydra.run.dir={whole}", env=ENV).returncode == 0

    running = launch.start(*DDP, f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", '"step": 7,')
    os.kill(running.pid, signal.SIGUSR1)  # the driver alone
    preempted(running.wait(), folder, "SIGUSR1")
    first = result(folder)["steps"]
    assert 7 <= first < 400

    running = launch.start(f"resume={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", f'"step": {(first // 7 + 2) * 7},')
    os.killpg(running.pid, signal.SIGINT)  # every process, as Ctrl-C does
    preempted(running.wait(), folder, "SIGINT")
    second = result(folder)["steps"]
    assert first < second < 400

    running = launch.start(f"resume={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", f'"step": {(second // 7 + 2) * 7},')
    os.kill(running.pid, signal.SIGKILL)  # the driver, without a word to the workers
    running.wait()
    nobody_left(tmp_path)

    running = launch.start(f"resume={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", '"step": 399,')
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2):  # at its end, to all: whatever it does, it is whole
        os.killpg(running.pid, number)
    if running.wait().returncode == 75:
        assert launch(f"resume={folder}", env=ENV).returncode == 0
    assert_same(folder, whole)


@pytest.mark.slow
def test_several_seeds(launch: Launch, tmp_path: Path) -> None:
    words = ["num_seeds=3", *WORDS, "training.max_steps=400"]
    words.remove("training.max_steps=60")
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert launch(*words, f"hydra.run.dir={whole}", env=ENV).returncode == 0
    running = launch.start(*words, f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, folder / "seed-0" / "metrics.jsonl", '"step": 20,')
    os.killpg(running.pid, signal.SIGTERM)
    done = running.wait()
    assert done.returncode == 75, done.stdout + done.stderr
    assert result(folder)["status"] == "preempted"
    assert result(folder / "seed-0")["status"] == "preempted"
    assert launch(f"resume={folder}", env=ENV).returncode == 0
    for name in ("seed-0", "seed-1", "seed-2"):
        assert_same(folder / name, whole / name)
    assert result(folder)["metrics"] == result(whole)["metrics"]


@pytest.mark.slow
def test_a_sweep(launch: Launch, tmp_path: Path) -> None:
    words = ["-m", "optimizer.lr=0.01,0.001,0.0001", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=study", *WORDS]
    words += ["task._target_=tests.support.signalled.Slow", "+task.seconds=0.02"]
    study = tmp_path / "multirun" / "study"
    running = launch.start(*words, env=ENV)
    wait_for(running, study / "0" / "metrics.jsonl", '"step": 20,')
    running.send(signal.SIGINT)
    done = running.wait()
    assert done.returncode == 75, done.stdout + done.stderr
    assert result(study / "0")["status"] == "preempted"
    before = lines(study / "0")
    finished = launch(*words, env=ENV)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert lines(study / "0")[: len(before)] == before
    assert all(result(study / str(number))["status"] == "completed" for number in range(3))
    assert len(re.findall(r"(?m)^\d,", (study / "trials.csv").read_text())) == 3
    assert model(study / "2")
