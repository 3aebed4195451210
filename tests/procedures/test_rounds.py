"""A procedure that looks at the results of its first round and lays out a second one, by the real command: killed inside
the rounds and between them it comes to the same result."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from launcher.artifacts.result import write_result
from launcher.core.procedure import Input, Job
from launcher.errors import ConfigError, TrainingError
from launcher.launch.job_queue import run_jobs
from launcher.process.forkserver import cores
from launcher.process.seeds import derive
from launcher.process.signals import Interrupt
from tests.conftest import Launch
from tests.procedures.folds import HerePool
from tests.support.fits import fit
from tests.support.harness import wait_for
from tests.support.rounds import TRUST
from tests.support.sameness import assert_same, lines

ENV = {"OMP_NUM_THREADS": "1"} | TRUST
NAMES = ("first-0", "first-1", "second-0", "second-1")
FIT = [
    "model=mlp", "model.dropout=0.2", "training.max_steps=40", "training.max_epochs=null", "training.log_every=5",
    "training.eval_every=20", "training.checkpoint_every=5", "task._target_=tests.support.rounds.Started",
    "+task.seconds=0.03", "tracker=[]",
]  # fmt: skip
ROUNDS = [
    *FIT,
    "+task.start=null",
    "procedure._target_=tests.support.rounds.Rounds",
    "+procedure.num=2",
    "+procedure.mark=null",
]


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def best_of_the_first(run: Path) -> str:
    return max(NAMES[:2], key=lambda name: float(result_of(run / name)["objective"]["value"]))


@pytest.mark.slow
def test_rounds_killed_inside_and_between_are_the_same_rounds(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_TRUST", TRUST["LAUNCHER_TRUST"])
    whole, run = tmp_path / "whole", tmp_path / "run"
    done = launch(*ROUNDS, "hydra.run.dir=whole", env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"4 fits in whole, {min(4, cores())} at a time" in done.stdout
    best = best_of_the_first(whole)
    for name in NAMES[2:]:
        start = OmegaConf.load(whole / name / "config.yaml").task.start
        assert start == str(whole / best / "model" / "model.safetensors")
    result = result_of(whole)
    assert [each["name"] for each in result["fits"]] == list(NAMES[2:])
    values = [result_of(whole / name)["objective"]["value"] for name in NAMES]
    assert result["objective"]["value"] == pytest.approx(sum(values[2:]) / 2)
    assert min(values[2:]) > max(values[:2]), "they went on from what the first round had come to"
    alone = tmp_path / "alone"
    fit(alone, *FIT, f"seed={derive(0, 'second-1')}", f"+task.start={start}", "validation.seed=0")
    assert lines(alone) == lines(whole / "second-1"), "a fit of a round is the fit alone"

    killed = launch.start(*ROUNDS[:-1], f"+procedure.mark={tmp_path / 'mark'}", "hydra.run.dir=run", env=ENV)
    wait_for(killed, run / "first-0" / "checkpoints" / "step-10" / "manifest.json")
    killed.kill()
    assert killed.wait().returncode == -signal.SIGKILL
    between = launch("resume=run", env=ENV)
    assert between.returncode == -signal.SIGKILL, between.stdout + between.stderr
    assert (tmp_path / "mark").exists()
    assert [name for name in NAMES if (run / name).exists()] == list(NAMES[:2])
    stamps = [(run / name / "result.json").stat().st_mtime_ns for name in NAMES[:2]]
    inside = launch.start("resume=run", env=ENV)
    wait_for(inside, run / "second-0" / "checkpoints" / "step-10" / "manifest.json")
    inside.kill()
    assert not (run / "second-0" / "result.json").exists()
    resumed = launch("resume=run", env=ENV)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resumed" in (run / "second-0" / "log.txt").read_text()
    assert [(run / name / "result.json").stat().st_mtime_ns for name in NAMES[:2]] == stamps, "done once"
    for name in NAMES:
        assert_same(run / name, whole / name)
    for key in ("metrics", "mean", "std", "fits", "objective", "steps", "epochs", "status"):
        assert result_of(run)[key] == result_of(whole)[key]
    assert launch("resume=run", env=ENV).returncode == 2, "there is nothing left to do"


@pytest.mark.slow
def test_a_signal_in_a_round_leaves_the_run_to_be_resumed(launch: Launch, tmp_path: Path) -> None:
    """SIGTERM to the driver: what runs saves, the second round is not begun, and the status says so."""
    run = tmp_path / "run"
    running = launch.start(*ROUNDS, "hydra.run.dir=run", env=ENV)
    wait_for(running, run / "first-1" / "checkpoints" / "step-5" / "manifest.json")
    running.send(signal.SIGTERM)
    left = running.wait()
    assert left.returncode == 75, left.stdout + left.stderr
    assert result_of(run)["status"] == "preempted"
    assert not (run / "second-0").exists()
    resumed = launch("resume=run", env=ENV)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert result_of(run)["status"] == "completed"


@pytest.mark.slow
def test_a_longer_first_round_has_a_second_one_of_its_own(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first fits go on where they ended; what started from their files starts anew, from what is there now."""
    monkeypatch.setenv("LAUNCHER_TRUST", TRUST["LAUNCHER_TRUST"])
    run = tmp_path / "run"
    assert launch(*ROUNDS, "hydra.run.dir=run", env=ENV).returncode == 0
    before = (run / "second-0" / "inputs.json").read_text()
    longer = launch("resume=run", "training.max_steps=60", env=ENV)
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert "resumed" in (run / "first-0" / "log.txt").read_text()
    assert (run / "second-0" / "inputs.json").read_text() != before
    start = run / best_of_the_first(run) / "model" / "model.safetensors"
    alone = tmp_path / "alone"
    same = [word for word in FIT if not word.startswith("training.max_steps=")]
    fit(
        alone,
        *same,
        f"seed={derive(0, 'second-0')}",
        f"+task.start={start}",
        "validation.seed=0",
        "training.max_steps=60",
    )
    assert lines(alone) == lines(run / "second-0")


def first_and_second(**changes: Any) -> Any:
    """Jobs of which the first stands done in the folder and the second takes a file of it."""
    config = OmegaConf.create({"task": {"start": None}})
    second = Job("second", config, **{"inputs": {"task.start": Input("first", "model/weights")}} | changes)
    return lambda done: [job for job in (Job("first", config), second) if job.name not in done]


def stands_done(folder: Path) -> None:
    folder.mkdir()
    objective = {"name": "val/loss", "value": 1.0, "direction": "minimize"}
    known = {"status": "completed", "reason": "", "objective": objective, "metrics": {}, "steps": 1, "epochs": 1}
    write_result(folder, known | {"wall_s": 1.0})


def test_what_an_earlier_job_has_not_left_is_named(tmp_path: Path) -> None:
    stands_done(tmp_path / "first")
    with pytest.raises(TrainingError, match=r"^second: task.start: first has left no model/weights \("):
        run_jobs(first_and_second(), tmp_path, HerePool(), Interrupt())
    assert not (tmp_path / "second").exists()


def test_a_job_that_would_wait_for_ever_is_named(tmp_path: Path) -> None:
    stands_done(tmp_path / "first")
    wrong = first_and_second(inputs={}, after=("frist",))
    with pytest.raises(TrainingError, match=r"^the procedure has no job frist, for which second would wait$"):
        run_jobs(wrong, tmp_path, HerePool(), Interrupt())


def test_a_damaged_record_of_the_inputs_is_named(tmp_path: Path) -> None:
    stands_done(tmp_path / "first")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "second" / "inputs.json").write_text("[1]")
    there = first_and_second(inputs={"task.start": Input("first", "result.json")})
    with pytest.raises(
        ConfigError, match=r"second/inputs.json: a list, where an object is expected; take it away, and"
    ):
        run_jobs(there, tmp_path, HerePool(), Interrupt())
    assert (tmp_path / "second" / "config.yaml").exists()


def test_a_key_that_the_config_has_not_is_named(tmp_path: Path) -> None:
    stands_done(tmp_path / "first")
    wrong = first_and_second(inputs={"task.begin": Input("first", "result.json")})
    with pytest.raises(TrainingError, match=r"^second: there is no key 'task.begin' for what first has left$"):
        run_jobs(wrong, tmp_path, HerePool(), Interrupt())
