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
    assert re.search(r"^rungs +.*to 1, .* to 9 epochs$", raced, re.MULTILINE), raced
    assert re.search(r"^cost +about \d+ of 54 epochs", raced, re.MULTILINE)
    folds = launch(*words, "training.max_epochs=9", "validation=kfold").stdout
    assert re.search(r"^cost +270 epochs, in 5 fits a trial$", folds, re.MULTILINE), folds
    fitted = launch("-m", "action=plan", "search=automl", "task=tabular", "data=wine").stdout
    assert re.search(r"^cost +240 fits, 6 a trial$", fitted, re.MULTILINE), fitted
    assert list(tmp_path.glob("multirun*")) == []
