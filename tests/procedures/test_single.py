"""One fit or several that differ in their seed: as one command, as one result, and after a failure."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.procedures.single import Single
from launcher.process.seeds import derive
from tests.conftest import Launch
from tests.support.fits import TRUST, config_of, curve, fit

WORDS = ("model=mlp", "tracker=[]", "training.max_epochs=1", "training.log_every=1", "hydra.run.dir=run")


def test_one_seed_is_the_run_itself() -> None:
    (job,) = Single().next(config_of(), {})
    assert job.name == ""


def test_fits_differ_in_their_seed_alone() -> None:
    config = config_of("num_seeds=3", "seed=5")
    jobs = Single().next(config, {})
    assert [job.name for job in jobs] == ["seed-0", "seed-1", "seed-2"]
    assert [job.config.seed for job in jobs] == [derive(5, "repeat", index) for index in range(3)]
    for job in jobs:
        assert job.config.validation.seed == 5, "the same rows are held out"
        own = OmegaConf.merge(job.config, {"seed": 5, "num_seeds": 3})
        assert own == config


def test_three_seeds_are_three_fits_and_their_spread(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*WORDS, "num_seeds=3")
    assert outcome.returncode == 0, outcome.stderr
    run = tmp_path / "run"
    result = json.loads((run / "result.json").read_text())
    own = [json.loads((run / f"seed-{index}" / "result.json").read_text()) for index in range(3)]
    accuracies = [each["metrics"]["val/accuracy"] for each in own]
    assert len(set(accuracies)) > 1
    assert result["mean"]["val/accuracy"] == pytest.approx(statistics.fmean(accuracies))
    assert result["std"]["val/accuracy"] == pytest.approx(statistics.stdev(accuracies))
    assert result["objective"]["value"] == result["mean"]["val/accuracy"]
    assert [fit["objective"] for fit in result["fits"]] == accuracies
    assert [fit["seed"] for fit in result["fits"]] == [derive(0, "repeat", index) for index in range(3)]
    assert "± " in outcome.stdout
    alone = tmp_path / "alone"
    fit(alone, "training.max_epochs=1", f"seed={derive(0, 'repeat', 1)}", "validation.seed=0")
    assert curve(run / "seed-1") == curve(alone), "a fit of many is the fit alone"

    longer = launch("resume=run", "training.max_epochs=2")
    assert longer.returncode == 0, longer.stderr
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("completed", 3 * 88)
    assert list(curve(run / "seed-2")) == list(range(1, 89))
    again = launch("resume=run", "training.max_epochs=2")
    assert again.returncode == 2
    assert "the run is complete" in again.stderr


@pytest.mark.parametrize(
    ("kill", "words"), [(False, "ValueError: the third digit is one too many"), (True, "SIGKILL ended it")]
)
def test_a_fit_that_fails_ends_the_run_in_its_words(launch: Launch, tmp_path: Path, kill: bool, words: str) -> None:
    odd = [
        "task._target_=tests.support.odd.Once",
        "+task.mark=../mark",
        f"+task.kill={kill}",
        f"+task.only={derive(0, 'repeat', 1)}",
        "+task.step=30",
    ]
    odd[1] = f"+task.mark={tmp_path / 'mark'}"
    command = [*WORDS, *odd, "num_seeds=3", "training.checkpoint_every=20"]
    failed = launch(*command, env=TRUST)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: seed-1 failed: {words}")
    assert (
        f"(the whole log: {Path('run') / 'seed-1' / 'log.txt'})" in failed.stderr or "seed-1/log.txt)" in failed.stderr
    )
    run = tmp_path / "run"
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "failed"
    assert words in result["reason"]
    first = (run / "seed-0" / "metrics.jsonl").stat()
    resumed = launch("resume=run", env=TRUST)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((run / "result.json").read_text())["status"] == "completed"
    if json.loads((run / "seed-0" / "result.json").read_text())["status"] == "completed":
        assert (run / "seed-0" / "metrics.jsonl").stat().st_ino == first.st_ino
    for index in range(3):
        assert list(curve(run / f"seed-{index}")) == list(range(1, 45)), "no step twice, none left out"
