"""The page of a run that goes on: written when a checkpoint is new, and not again for the same one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from launcher.artifacts import evidence, recent_predictions
from launcher.artifacts.page import FILE as NAME
from launcher.data.batches import EvalBatches
from launcher.data.samples import TensorSamples
from launcher.report import live_page
from launcher.report.live_page import LivePage
from launcher.train.build import build_task
from launcher.train.evaluate import predict
from launcher.train.evidence import gather_seen, predicted
from tests.report.test_run_page import Page, log, run_folder
from tests.support.fits import config_of
from tests.support.runs import build, train


def until(there: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + limit_s
    while not there():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


def test_a_run_that_goes_on_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "LOOK_S", 0.02)
    monkeypatch.setattr(live_page, "SHARE", 1.0)
    folder = run_folder(tmp_path / "run")
    last = folder / "checkpoints" / "last"
    last.parent.mkdir()
    page = folder / NAME
    known = {
        "samples": 3,
        "step": 120,
        "classes": ["a", "b"],
        "confusion": [[2, 0], [1, 0]],
        "calibration": [],
        "worst": [],
    }
    written = LivePage(folder, lambda: known)
    try:
        last.symlink_to("step-1")
        until(page.is_file)
        assert "the run goes on" in Page(page).text
        assert "3 held-out samples, seen by the weights of step 120" in Page(page).text
        assert json.loads((folder / evidence.FILE).read_text()) == known
        first = page.stat().st_ino
        log(folder)
        last.unlink()
        last.symlink_to("step-2")
        until(lambda: page.stat().st_ino != first)
        assert "120 steps" in " ".join(Page(page).text.split())
    finally:
        written.close()
    last.unlink()
    before = page.stat().st_ino
    last.symlink_to("step-3")
    assert page.stat().st_ino == before, "it is over"


@pytest.mark.parametrize("words", [("model=mlp",), ("task=forecasting", "model=mlp")], ids=["classes", "quantities"])
def test_what_the_latest_evaluation_predicted_is_known_without_another(tmp_path: Path, words: tuple[str, ...]) -> None:
    task = build_task(config_of(*words))
    data = task.datasets()
    run = build(tmp_path, *words, "training.max_steps=6", "training.eval_every=4", made=(task, data))
    train(run)
    found = gather_seen(task, data, run.seen)
    assert found.pop("step") == 6
    assert run.loaders.val is not None
    again = predicted(task, data, predict(task, run.judged_model(), run.loaders.val, run.parallel))
    assert found == again
    assert "confusion" in found or "quantities" in found
    assert gather_seen(task, data, None) == {}, "nothing was evaluated yet"


def test_a_ranks_samples_are_known_by_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = TensorSamples(label=torch.arange(11) % 2)
    batches = EvalBatches(samples, batch_size=2, rank=0, world_size=2)
    assert batches.places(100).tolist() == [0, 1, 4, 5, 8, 9]
    assert EvalBatches(samples, batch_size=2, rank=1, world_size=2).places(3).tolist() == [2, 3, 6]
    monkeypatch.setattr(recent_predictions, "MOST", 12)  # of which a sample takes three
    kept = recent_predictions.Seen(7, batches.places(100))
    for batch in batches:
        kept.take(
            lambda output, batch: {"label": batch["label"], "probabilities": torch.full((2, 2), 0.5)}, None, batch
        )
    columns, places = kept.columns()
    assert places.tolist() == [0, 1, 4, 5]
    assert columns["label"].tolist() == [0, 1, 0, 1]
    assert columns["probabilities"].shape == (4, 2)
    assert np.asarray(places).dtype == np.int64
