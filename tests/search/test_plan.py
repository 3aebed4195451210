"""What a plan says of rungs and time, beside what Optuna will do."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
from optuna.pruners import HyperbandPruner

from launcher.search.pruning import races
from tests.conftest import Launch

HYPERBAND = {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "max_resource": 27, "reduction_factor": 3}
HALVING = {
    "_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 2, "reduction_factor": 3,
    "min_early_stopping_rate": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", ["a", "rates", "ImageClassification-1ace0e"])
def test_the_races_of_hyperband_are_those_that_optuna_draws(name: str) -> None:
    pruner = HyperbandPruner(min_resource=1, max_resource=27, reduction_factor=3)
    study = optuna.create_study(study_name=name, pruner=pruner)
    drawn = []
    for _ in range(60):
        trial = study.ask()
        trial.report(0.0, 1)
        trial.should_prune()  # the first one makes the races
        drawn.append(pruner._get_bracket_id(study, study.trials[-1]))
    found = races(HYPERBAND, name, 60, 27)
    assert [num for num, _ in found] == [drawn.count(each) for each in range(4)]
    assert [rungs for _, rungs in found] == [[1, 3, 9], [3, 9], [9], []]


def test_halving_is_one_race() -> None:
    assert races(HALVING, "s", 9, 20) == [(9, [2, 6, 18])]
    assert races({"_target_": "optuna.pruners.MedianPruner"}, "s", 9, 20) == []


def test_a_plan_foresees_cost_and_time(launch: Launch, tmp_path: Path) -> None:
    words = ("-m", "action=plan", "model=mlp", "model.width=8", "seed=range(6)")
    plain = launch(*words, "training.max_steps=500", "training.max_epochs=null").stdout
    assert re.search(r"^cost +3,000 steps$", plain, re.MULTILINE), plain
    assert re.search(r"^time +about .* of training, at [\d.]+ ms a step of the first combination$", plain, re.MULTILINE)
    raced = launch(
        *words, "hydra/sweeper/pruner=hyperband", "training.max_epochs=9", "hydra.sweeper.study_name=h"
    ).stdout
    assert re.search(r"^rungs +.*to 1, .* to 9 epochs$", raced, re.MULTILINE), raced
    assert re.search(r"^cost +about \d+ of 54 epochs", raced, re.MULTILINE)
    folds = launch(*words, "training.max_epochs=9", "validation=kfold").stdout
    assert re.search(r"^cost +270 epochs, in 5 fits a trial$", folds, re.MULTILINE), folds
    fitted = launch("-m", "action=plan", "search=automl", "task=tabular", "data=wine").stdout
    assert re.search(r"^cost +240 fits, 6 a trial$", fitted, re.MULTILINE), fitted
    assert list(tmp_path.glob("multirun*")) == []
