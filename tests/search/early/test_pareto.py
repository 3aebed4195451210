"""Ranks and room against their definitions, on random points; and what halving makes of them."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from launcher.report.trial_reports import REPORTS
from launcher.search.early.pareto import best_first, crowding, ranks
from launcher.search.early.pruning import Pruning, falls_behind, promotable
from launcher.search.early.rules import Early


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_ranks_are_those_of_optuna(dims: int) -> None:
    from optuna.study._multi_objective import _fast_non_domination_rank

    rng = np.random.default_rng(dims)
    for _ in range(20):
        values = rng.integers(0, 6, (25, dims)).astype(float)  # with equals among them
        assert (ranks(values) == _fast_non_domination_rank(values)).all()


def test_room_is_the_distance_between_neighbours() -> None:
    values = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]])
    assert crowding(values).tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf]


def test_one_objective_is_an_order() -> None:
    assert best_first([(3.0,), (1.0,), (2.0,), (1.0,)], [False]) == [1, 3, 2, 0]
    assert best_first([(3.0,), (1.0,), (2.0,)], [True]) == [0, 2, 1]
    assert best_first([], [True]) == []


def test_directions_turn_the_front_around() -> None:
    points = [(0.9, 100.0), (0.8, 100.0), (0.7, 10.0), (0.95, 1000.0), (0.6, 1000.0)]
    assert set(best_first(points, [True, False])[:3]) == {0, 2, 3}
    assert best_first(points, [True, False])[3:] == [1, 4]


def study_of(points: list[tuple[float, float]]) -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for point in points:
        study.ask().set_user_attr(REPORTS, {"1": list(point)})
    return study.trials


def test_the_dominated_fall_behind_at_a_rung() -> None:
    node = {"reduction_factor": 2}
    trials = study_of([(0.9, 100.0), (0.8, 100.0), (0.7, 10.0), (0.6, 1000.0)])
    verdicts = [falls_behind(trials, number, [1], node, [True, False]) for number in range(4)]
    assert verdicts == [False, True, False, True]
    assert not falls_behind(trials[:1], 0, [1], node, [True, False]), "the first has nobody to lose against"
    assert falls_behind(study_of([(float("nan"), 1.0)]), 0, [1], node, [True, False])
    assert promotable(trials, {0, 1, 2, 3}, [1, 2], 2, [True, False]) in (0, 2)
    assert promotable(trials, {1, 3}, [1, 2], 2, [True, False]) is None


@pytest.mark.parametrize(
    ("values", "go_on"),
    [
        ([0.5, 0.9, 0.8, 0.7, 0.6], {1, 2}),
        ([0.5, 0.8, 0.9, 0.8, 0.6], {1, 2, 3}),
        ([0.5, 0.9, 0.8], {1}),
        ([0.5, 0.5], {0, 1}),
    ],
)
def test_a_third_goes_on_rounded_up_and_equals_with_it(values: list[float], go_on: set[int]) -> None:
    study = optuna.create_study(direction="maximize")
    for value in values:
        study.ask().report(value, 1)
    node = {"reduction_factor": 3}
    assert {each for each in range(len(values)) if not falls_behind(study.trials, each, [1], node, [True])} == go_on


def test_a_promoting_sweep_ends_with_a_complete_trial() -> None:
    """Of too few for a best third the best goes on once nothing else does, from rung to rung."""
    node = {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "reduction_factor": 3}
    pick = Early(Pruning(node, "steps", (1, 3)), None, ["x"], ["maximize"], None).promotion(2)
    assert pick is not None
    study = optuna.create_study(direction="maximize")
    first = study.ask()
    first.report(0.5, 1)
    assert pick(study.trials, {0}) is None, "another is still to come"
    second = study.ask()
    second.report(0.9, 1)
    assert pick(study.trials, {0}) is None, "another runs"
    assert pick(study.trials, {0, 1}) == 1
    second.report(0.4, 3)
    assert pick(study.trials, {0, 1}) == 1
    study.tell(second, state=optuna.trial.TrialState.FAIL)
    assert pick(study.trials, {0}) == 0, "who fails has not come to the end"
    third = study.ask()
    study.tell(third, 1.0)
    assert pick(study.trials, {0}) is None
