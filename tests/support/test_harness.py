"""The harness shows the command's own output, status, folder and signals, in both its ways."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Command, Launch
from tests.support.harness import wait_for


def test_both_ways_say_the_same(run_launcher: Command, launch: Launch) -> None:
    for words in (["--version"], ["--cfg", "job", "--package", "training"], ["optimiser=adamw"]):
        cold, warm = run_launcher(*words), launch(*words)
        assert cold == warm
        assert cold.stdout or cold.stderr


def test_statuses_are_the_commands_own(launch: Launch) -> None:
    assert launch("--cfg", "job").returncode == 0
    refused = launch("optimizer=no_such")
    assert refused.returncode == 2
    assert "no_such" in refused.stderr
    assert refused.folder is None


def test_a_command_has_its_own_folder_and_environment(launch: Launch, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "mine" / "optimizer").mkdir(parents=True)
    there.mkdir()
    (here / "mine" / "optimizer" / "own.yaml").write_text(
        "_target_: torch.optim.SGD\n_partial_: true\nlr: ${oc.env:RATE}\n"
    )
    words = ["--config-dir", "mine", "optimizer=own", "--cfg", "job", "--resolve", "--package", "optimizer"]
    assert "lr: '0.25'" in launch(*words, cwd=here, env={"RATE": "0.25"}).stdout
    assert "RATE" not in os.environ
    assert "no such folder" in launch(*words, cwd=there).stderr


def test_a_signal_ends_only_the_command_that_it_is_for(launch: Launch) -> None:
    first = launch.start("training.max_epochs=100000", "tracker=[]")
    second = launch.start("--version")
    assert second.wait().returncode == 0
    first.kill()
    assert first.wait().returncode == -signal.SIGKILL
    assert launch("--version").returncode == 0


def test_a_command_that_hangs_is_ended_and_tells_where_it_was(launch: Launch) -> None:
    running = launch.start("training.max_epochs=100000", "tracker=[]", "hydra.run.dir=run")
    wait_for(running, launch._folder / "run" / "metrics.jsonl", "step")
    with pytest.raises(TimeoutError, match=r"(?s)still running after 0.*step.*most recent call first.*in _become"):
        running.wait(timeout=0.2)
    assert running.wait().returncode in (-signal.SIGABRT, -signal.SIGKILL)
