"""What a plan says of rungs, cost and time."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import Launch


def test_a_plan_foresees_cost_and_time(launch: Launch, tmp_path: Path) -> None:
    words = ("-m", "action=plan", "model=mlp", "model.width=8", "seed=range(6)")
    plain = launch(*words, "training.max_steps=500", "training.max_epochs=null").stdout
    assert re.search(r"^cost +3,000 steps$", plain, re.MULTILINE), plain
    assert re.search(r"^time +about .* of training, at [\d.]+ ms a step of the first combination$", plain, re.MULTILINE)
    raced = launch(
        *words, "hydra/sweeper/pruner=hyperband", "training.max_epochs=9", "hydra.sweeper.study_name=h"
    ).stdout
    assert re.search(r"^rungs +6 to 1, 2 to 3, 1 to 9 epochs$", raced, re.MULTILINE), raced
    assert re.search(r"^cost +about 16 of 54 epochs", raced, re.MULTILINE)
    folds = launch(*words, "training.max_epochs=9", "validation=kfold").stdout
    assert re.search(r"^cost +270 epochs, in 5 fits a trial$", folds, re.MULTILINE), folds
    fitted = launch("-m", "action=plan", "search=automl", "task=tabular", "data=wine").stdout
    assert re.search(r"^cost +240 fits, 6 a trial$", fitted, re.MULTILINE), fitted
    assert list(tmp_path.glob("multirun*")) == []
