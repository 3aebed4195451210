"""Trials that are stopped or paused at the rungs of successive halving, by the real command."""

from __future__ import annotations

import contextlib
import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import Launch
from tests.support.fits import curve
from tests.support.harness import TIMEOUT, Warm

EPOCH = 44  # steps: 1437 rows, 32 a step
WORDS = (
    "-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=9", "training.log_every=10",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.n_trials=9", "hydra.sweeper.n_jobs=2",
)  # fmt: skip


def table(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def promoted(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose trials pause at the rungs."""
    cwd = tmp_path_factory.mktemp("promoted")
    outcome = warm(*WORDS, "hydra.sweeper.pruner.promote=true", "hydra.sweeper.study_name=p", cwd=cwd)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return cwd / "multirun" / "p"


def test_running_trials_are_stopped_at_the_rungs(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*WORDS, "hydra.sweeper.study_name=s")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    study = tmp_path / "multirun" / "s"
    rows = table(study)
    assert {row["state"] for row in rows} == {"completed", "pruned"}
    for row in rows:
        own = study / row["number"]
        if row["state"] == "pruned":
            assert int(row["steps"]) in (EPOCH, 3 * EPOCH)
            assert result(own)["status"] == "pruned"
            assert (own / "checkpoints" / "last").resolve().name == f"step-{row['steps']}"
        else:
            assert int(row["steps"]) == 9 * EPOCH


def test_the_same_command_goes_on_with_a_pruned_sweep(promoted: Path, warm: Warm) -> None:
    before = (promoted / "trials.csv").read_text()
    words = [*WORDS, "hydra.sweeper.pruner.promote=true", "hydra.sweeper.study_name=p"]
    again = warm(*words, cwd=promoted.parent.parent)
    assert again.returncode == 0, again.stderr
    assert "9 of them done already" in again.stdout
    assert (promoted / "trials.csv").read_text() == before


def test_by_promotion_less_than_half_is_spent(promoted: Path) -> None:
    rows = table(promoted)
    spent = [int(row["steps"]) // EPOCH for row in rows]
    assert sum(spent) < 0.45 * 9 * 9
    assert 9 in spent, "one at least came to the end"
    assert all(epochs in (1, 3, 9) for epochs in spent)
    assert {row["state"] for row in rows} == {"completed", "pruned"}
    best = max((row for row in rows if row["state"] == "completed"), key=lambda row: float(row["value"]))
    assert result(promoted / best["number"])["status"] == "completed"


def test_a_promoted_trial_is_what_it_would_have_been_alone(promoted: Path, launch: Launch, tmp_path: Path) -> None:
    """Weights, every logged loss and rate: the schedule has known the whole length from the first step on."""
    row = next(row for row in table(promoted) if row["state"] == "completed")
    alone = launch(
        "model=mlp", "tracker=[]", "training.max_epochs=9", "training.log_every=10",
        f"optimizer.lr={row['optimizer.lr']}", "hydra.run.dir=alone",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    own = promoted / row["number"]
    for name in ("train/loss", "val/accuracy", "lr"):
        assert curve(own, name) == curve(tmp_path / "alone", name)
    mine, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (own, tmp_path / "alone"))
    assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_a_killed_sweep_goes_on_where_its_trials_paused(promoted: Path, launch: Launch, tmp_path: Path) -> None:
    """SIGKILL while a trial is on its way to the second rung, and again on its way from there to the end: no trial is lost
    or has a step twice, and each is bit for bit what it is where nothing was killed, as far as both went."""
    words = [*WORDS, "hydra.sweeper.pruner.promote=true", "hydra.sweeper.study_name=k"]
    study = tmp_path / "multirun" / "k"

    def on_its_way(rung: int) -> bool:
        """Whether a trial that paused at that epoch goes on from there now."""
        open_ = [own for own in study.glob("[0-9]") if not (own / "result.json").exists()]
        return any(max(curve(own), default=0) > rung * EPOCH for own in open_)

    kills = 0
    for rung in (1, 3):
        running = launch.start(*words)
        end = time.monotonic() + TIMEOUT
        while not on_its_way(rung) and not running.done():
            assert time.monotonic() < end, running.stdout.read_text()
            time.sleep(0.005)
        kills += not running.done()
        with contextlib.suppress(
            ProcessLookupError
        ):  # a machine in a hurry has ended the sweep before it was looked at
            running.kill()
        running.wait()
    assert kills
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rows = table(study)
    assert [row["number"] for row in rows] == [str(number) for number in range(9)]
    assert [row["optimizer.lr"] for row in rows] == [row["optimizer.lr"] for row in table(promoted)]
    assert {row["state"] for row in rows} == {"completed", "pruned"}
    for row in rows:
        own, other = curve(study / row["number"]), curve(promoted / row["number"])
        last = {int(row["steps"])} if row["state"] == "completed" else set()
        assert list(own) == sorted({*range(10, int(row["steps"]) + 1, 10)} | last), "each step once"
        assert int(row["steps"]) in (EPOCH, 3 * EPOCH, 9 * EPOCH)
        both = own.keys() & other.keys()
        assert len(both) >= EPOCH // 10
        assert all(own[step] == other[step] for step in both)
    assert str(9 * EPOCH) in {row["steps"] for row in rows}, "one at least came to the end"


@pytest.mark.parametrize("promote", ["false", "true"])
def test_of_two_objectives_the_dominated_are_stopped(launch: Launch, tmp_path: Path, promote: str) -> None:
    """Small ones stay for their size, the good large one for its accuracy; a large one that learns nothing is dominated."""
    outcome = launch(
        "-m", "hydra/sweeper/pruner=halving", "model=mlp", "tracker=[]", "training.max_epochs=3",
        "model.width=8,16,32,64", "optimizer.lr=1e-2,1e-7", f"hydra.sweeper.pruner.promote={promote}",
        "hydra.sweeper.pruner.reduction_factor=2", "hydra.sweeper.metrics=[val/accuracy,parameters]",
        "hydra.sweeper.direction=[maximize,minimize]", "hydra.sweeper.study_name=two",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rows = table(tmp_path / "multirun" / "two")
    ended = {(int(row["model.width"]), row["optimizer.lr"]): row["state"] for row in rows}
    steps = {int(row["model.width"]): int(row["steps"]) for row in rows if row["optimizer.lr"] == "0.01"}
    assert {ended[width, "1e-07"] for width in (16, 32, 64)} == {"pruned"}, "dominated by the smaller one that learns"
    assert ended[8, "0.01"] == "completed", "the smallest of those that learn is on the front at every rung"
    assert max(steps[width] for width in (16, 32, 64)) > EPOCH, "and so is the most accurate at the first"
    assert "Pareto front of val/accuracy and parameters" in (tmp_path / "multirun" / "two" / "report.html").read_text()


@pytest.mark.parametrize("parallel", ["ddp", "zero3"])
def test_both_ranks_of_a_trial_hear_the_verdict(launch: Launch, tmp_path: Path, parallel: str) -> None:
    """They leave together, with a checkpoint that holds the parts of both."""
    epoch = 11  # steps: 128 rows a step
    words = [word for word in WORDS if not word.startswith(("hydra.sweeper.n_", "optimizer.lr", "training.max_epochs"))]
    outcome = launch(
        *words, "optimizer.lr=1e-2,1e-5", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1", f"parallel={parallel}",
        "parallel.num_processes=2", "training.max_epochs=2", "training.batch_size=128", "hydra.sweeper.study_name=d",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    good, bad = (result(tmp_path / "multirun" / "d" / str(number)) for number in range(2))
    assert (good["status"], good["steps"], good["world_size"]) == ("completed", 2 * epoch, 2)
    assert (bad["status"], bad["steps"], bad["world_size"]) == ("pruned", epoch, 2)
    kept = tmp_path / "multirun" / "d" / "1" / "checkpoints" / "last"
    assert kept.resolve().name == f"step-{epoch}"
    if parallel == "zero3":  # of which each rank has written its part
        on = launch(f"resume={kept.parent.parent}", "training.max_epochs=3")
        assert on.returncode == 0, on.stdout + on.stderr
        assert (result(kept.parent.parent)["status"], result(kept.parent.parent)["steps"]) == ("completed", 3 * epoch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hydra.sweeper.pruner.min_resource=1month",), "expected steps, as 300, or epochs, as 1epoch"),
        (("num_seeds=3",), "a trial that is made of several fits has no single curve to judge"),
        (
            (
                "hydra.sweeper.metrics=[val/accuracy,parameters]",
                "hydra.sweeper.direction=[maximize,minimize]",
                "hydra/sweeper/pruner=hyperband",
            ),
            "several objectives are judged by their rank at rungs",
        ),
        (
            ("hydra.sweeper.metrics=[val/accuracy,samples_per_s]", "hydra.sweeper.direction=[maximize,maximize]"),
            "a running trial does not know samples_per_s",
        ),
        (
            ("hydra.sweeper.pruner.promote=true", "hydra.sweeper.pruner.min_resource=100"),
            "training.max_steps says so in the pruner's unit",
        ),
    ],
)
def test_what_can_not_be_pruned_is_refused(
    launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = launch(*WORDS, *words)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()
