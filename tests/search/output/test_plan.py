"""What a plan says of rungs, cost and time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Launch


@pytest.mark.parametrize(
    ("words", "cost"),
    [
        (("training.max_epochs=1,2,4",), "7 epochs"),
        (("training.max_epochs=1,2,4", "seed=range(3)"), "21 epochs"),
        (("training.max_epochs=1,2,4", "seed=range(3)", "hydra.sweeper.n_trials=4"), "5 epochs"),
        (("seed=range(3)", "training.max_epochs=1,2,4", "hydra.sweeper.n_trials=4"), "8 epochs"),
        (("training.max_steps=10,30", "training.max_epochs=null"), "40 steps"),
        (("num_seeds=1,3", "training.max_epochs=2"), "8 epochs"),
        (
            ("search=random", "training.max_epochs=1,2,4", "seed=range(9)", "hydra.sweeper.n_trials=10"),
            "about 23 epochs",
        ),
        (("search=random", "training.max_epochs=range(1,100)", "hydra.sweeper.n_trials=100"), "about 5,0.. epochs"),
        (("model=mlp,cnn", "training.max_epochs=3", "hydra.sweeper.n_trials=1"), "3 epochs"),
    ],
)
def test_a_plan_counts_each_trial_by_its_own_length(launch: Launch, words: tuple[str, ...], cost: str) -> None:
    model = [] if any(word.startswith("model=") for word in words) else ["model=mlp"]
    plan = launch("-m", "action=plan", *model, *words).stdout
    assert re.search(rf"^cost +{cost}$", plan, re.MULTILINE), plan


def test_a_plan_of_estimators_beside_networks(launch: Launch) -> None:
    plan = launch("-m", "action=plan", "task=forecasting", "model=ridge,mlp", "training.max_epochs=7")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"^cost +7 epochs, 1 fit of estimators$", plan.stdout, re.MULTILINE), plan.stdout
    assert re.search(r"^time +not known before a trial has ended$", plan.stdout, re.MULTILINE)


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
