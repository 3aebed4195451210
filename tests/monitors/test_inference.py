"""What a prediction takes: operations by hand, a time that is there, once a run and again after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.fits import curve, fit

WORDS = ("model=mlp", "model.width=32", "model.depth=2", "monitor=[inference]", "training.log_every=2")


def test_operations_are_those_of_the_products_and_stand_once(tmp_path: Path) -> None:
    fit(tmp_path, *WORDS, "training.max_steps=6", "monitor.inference.seconds=0.01", "monitor.inference.num_samples=4")
    result = json.loads((tmp_path / "result.json").read_text())["metrics"]
    assert result["inference/mflop"] == pytest.approx(2e-6 * (64 * 32 + 32 * 32 + 32 * 10)), "of one sample"
    assert result["inference/latency_ms"] > 0
    for name in ("inference/mflop", "inference/latency_ms"):
        assert curve(tmp_path, name) == {2: result[name]}
    fit(tmp_path / "plain", *[word for word in WORDS if "monitor" not in word], "training.max_steps=6")
    assert curve(tmp_path, "train/loss") == curve(tmp_path / "plain", "train/loss"), "no number of the training changes"


def test_a_resume_keeps_what_was_found_out(launch: Launch, tmp_path: Path) -> None:
    assert launch(*WORDS, "tracker=[]", "training.max_epochs=1", "hydra.run.dir=run").returncode == 0
    before = curve(tmp_path / "run", "inference/latency_ms")
    assert launch("resume=run", "training.max_epochs=2").returncode == 0
    assert curve(tmp_path / "run", "inference/latency_ms") == before
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metrics"]["inference/latency_ms"] == before[2]


def test_weights_in_parts_are_refused(launch: Launch) -> None:
    outcome = launch(*WORDS, "parallel=zero3", "parallel.num_processes=2")
    assert outcome.returncode == 2
    assert "inference needs full params" in outcome.stderr
