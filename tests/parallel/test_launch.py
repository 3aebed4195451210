"""Workers: how many, what ends them all, what starts them again, and that runs started together do not meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from launcher.config.resolvers import num_devices
from launcher.launch.elastic import LOOK_S
from launcher.launch.rank import LEAVE_S
from tests.support.fits import TRUST, config_of
from tests.support.harness import Outcome, Warm
from tests.support.sameness import lines, state

RUN = ("model=mlp", "parallel=ddp", "tracker=[]", "training.log_every=1", "training.max_steps=30", "hydra.run.dir=run")
KEPT = ("training.checkpoint_every=10", "training.eval_every=10", "model.dropout=0.2")
ODD = "task._target_=tests.support.odd."
ONCE = (f"{ODD}Once", "+task.mark=mark", "+task.step=25", "+task.rank=1", *KEPT)
RUNS = {
    "undisturbed": KEPT,
    "killed": (*ONCE, "+task.kill=true", "parallel.max_restarts=2"),
    "raised": (*ONCE, "parallel.max_restarts=1"),
    "always": (f"{ODD}Raises", "+task.rank=1", "parallel.max_restarts=1"),
    "diverges": (f"{ODD}Diverges", "+task.step=5", "parallel.max_restarts=3"),
    "sleeps": (f"{ODD}Stuck", "+task.rank=1", "+task.others=true"),
    "hangs": (f"{ODD}Stuck", "+task.rank=1", "+task.step=5", "parallel.timeout_s=4"),
}


class Ran(NamedTuple):
    outcomes: dict[str, Outcome]
    folder: Path


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All of them, started at once."""
    folder = tmp_path_factory.mktemp("launch")
    started = {}
    for name, words in RUNS.items():
        (folder / name).mkdir()
        started[name] = warm.start(*RUN, *words, cwd=folder / name, env=TRUST)
    return Ran({name: running.wait() for name, running in started.items()}, folder)


def test_as_many_processes_as_there_are_devices() -> None:
    assert num_devices() == (torch.cuda.device_count() or 2)
    assert num_devices("cpu") == 2
    assert config_of("parallel=ddp").parallel.num_processes == num_devices()
    assert config_of("parallel=ddp", "parallel.device=cpu").parallel.num_processes == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("killed", ("rank 1 was ended by SIGKILL", "lost another one")),
        ("raised", ("rank 1: ValueError: the third digit is one too many",)),
    ],
)
def test_a_run_that_lost_a_worker_starts_again_and_is_the_undisturbed_one(
    ran: Ran, name: str, said: tuple[str, ...]
) -> None:
    outcome = ran.outcomes[name]
    assert outcome.returncode == 0, outcome.stderr
    assert any(words in outcome.stdout for words in said)
    assert f": start 1 of {1 + (name == 'killed')} from the last checkpoint" in outcome.stdout
    whole, again = ran.folder / "undisturbed" / "run", ran.folder / name / "run"
    assert lines(again) == lines(whole)
    assert {**state(again), "recorder": None} == {**state(whole), "recorder": None}
    assert json.loads((again / "result.json").read_text())["restarts"] == 1


def test_restarts_have_an_end(ran: Ran) -> None:
    outcome = ran.outcomes["always"]
    assert outcome.returncode == 1
    assert outcome.stdout.count("start 1 of 1") == 1
    assert "error: rank 1: ValueError: the third digit is one too many\nTraceback" in outcome.stderr
    assert json.loads((ran.folder / "always" / "run" / "result.json").read_text())["status"] == "failed"


def test_what_another_start_would_not_change_ends_at_once(ran: Ran) -> None:
    outcome = ran.outcomes["diverges"]
    assert outcome.returncode == 1
    assert "start 1 of" not in outcome.stdout
    assert "the loss is inf at step 5" in outcome.stderr


def test_the_others_end_when_one_has_failed(ran: Ran) -> None:
    """They sleep for a quarter of an hour, and the test does not wait that long: what they are given is below 5 s."""
    outcome = ran.outcomes["sleeps"]
    assert outcome.returncode == 1
    assert LOOK_S + LEAVE_S < 5
    assert outcome.stderr.startswith("error: rank 1: ValueError: the third digit is one too many\nTraceback")


def test_a_collective_that_a_rank_never_joins_names_rank_and_step(ran: Ran) -> None:
    outcome = ran.outcomes["hangs"]
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "error: rank 0: a collective of step 5 had no answer within 4 s (parallel.timeout_s); rank 1 did not come to it\n"
    )
