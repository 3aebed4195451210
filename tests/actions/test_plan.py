"""`action=plan`: what it says is what a run then does, and it leaves nothing behind."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from launcher.actions.plan import COLUMNS, LEVELS, LINES, curve, drawn, facts
from launcher.train.build import build_plan
from tests.conftest import Launch
from tests.support.fits import config_of, fit
from tests.support.fits import curve as logged


def test_the_curve_is_what_a_run_goes_through(tmp_path: Path) -> None:
    words = ["scheduler=wsd", "training.max_steps=30", "model=mlp"]
    config = config_of(*words)
    planned = curve(config, build_plan(config, 44))
    fit(tmp_path, *words)
    # A line of the log has the rate that comes next.
    assert list(logged(tmp_path, "lr").values())[:-1] == planned[1:]
    assert len(planned) == 30


def test_the_numbers_are_those_of_the_run(tmp_path: Path) -> None:
    words = ["training.max_steps=50", "training.eval_every=7", "training.checkpoint_every=20", "training.log_every=9"]
    config = config_of(*words)
    told = facts(config, build_plan(config, 44), judged=True)
    assert told["evaluations"] == "8, every 7 steps"
    assert told["log_lines"] == "6, every 9 steps"
    assert told["checkpoints"] == "3, every 20 steps"
    assert told["warm-up"] == "5 steps, 10% of the run, linear"
    assert (told["steps"], round(told["epochs"], 3)) == (50, 1.136)
    fit(tmp_path, *words, "model=mlp")
    assert len(logged(tmp_path, "val/loss")) == 8
    assert len(logged(tmp_path, "train/loss")) == 6


def test_a_run_as_long_as_the_time_allows_has_no_curve() -> None:
    config = config_of("training.max_epochs=null", "training.max_time=10m", "scheduler=constant")
    told = facts(config, build_plan(config, 44), judged=False)
    assert told["ends"] == "after 10m00s at the latest"
    assert told["evaluations"] == "none: nothing is held out"
    assert told["rate"].startswith("0.001 at first")
    assert told["steps"] is None


def test_the_picture_of_text_has_the_curves_shape() -> None:
    rates = [math.sin(math.pi * step / 255) for step in range(256)]
    *lines, below = drawn(rates, "utf-8")
    assert len(lines) == LINES
    columns = [[line[line.index("│") + 1 :].ljust(COLUMNS)[column] for line in lines] for column in range(COLUMNS)]
    filled = [sum(LEVELS.index(cell) / 8 for cell in column) for column in columns]
    assert filled == filled[::-1]
    for part, height in enumerate(filled):
        assert height == pytest.approx(LINES * math.sin(math.pi * (part + 0.5) / COLUMNS), abs=0.13)  # an eighth
    assert below.split() == ["1", "step", "256"]
    assert lines[0].startswith("1.0000 │")


def test_a_terminal_without_blocks_gets_plain_characters() -> None:
    lines = drawn([1.0, 0.5, 0.0], "ascii")
    assert "\n".join(lines).isascii()
    assert lines[0].endswith("|#")
    assert lines[-2].endswith("|##")


def test_the_action_prints_and_leaves_no_folder(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("action=plan", "scheduler=onecycle", "training.max_epochs=5", "plan.picture=curve.svg")
    assert outcome.returncode == 0, outcome.stderr
    assert "220 steps, 5 epochs" in outcome.stdout
    assert "66 steps, 30% of the run, cosine" in outcome.stdout
    assert outcome.stdout.count("│") == LINES
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["curve.svg"]
    root = ElementTree.parse(tmp_path / "curve.svg").getroot()
    line = next(each for each in root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(line.attrib["points"].split()) == 220


def test_a_rate_that_is_still_to_be_found_is_drawn_as_a_share(launch: Launch) -> None:
    outcome = launch("action=plan", "optimizer.lr=auto", "scheduler=linear")
    assert "1.000 at step 133" in outcome.stdout
    assert "times what the range test finds" in outcome.stdout


def test_what_a_run_would_refuse_is_refused(launch: Launch) -> None:
    for words, message in (
        (["training.batch_size=5000"], "training.batch_size=5000 is larger than the training data: 1438 samples"),
        (["plan.picture=nowhere/curve.svg"], "plan.picture=nowhere/curve.svg: there is no folder nowhere"),
        (["scheduler.warmup=2000"], "takes 2000 of the run's 1320 steps"),
    ):
        outcome = launch("action=plan", *words)
        assert outcome.returncode == 2
        assert message in outcome.stderr


def test_an_estimator_has_nothing_to_plan(launch: Launch) -> None:
    outcome = launch("action=plan", "task=tabular")
    assert outcome.returncode == 0
    assert "fitted in one call" in outcome.stdout


def test_several_fits_are_counted(launch: Launch) -> None:
    assert "3, each as below" in launch("action=plan", "num_seeds=3").stdout


def test_a_sweep_does_nothing_but_train(launch: Launch) -> None:
    outcome = launch("-m", "action=lr_find", "seed=1,2")
    assert outcome.returncode == 2
    assert "-m starts trainings" in outcome.stderr
