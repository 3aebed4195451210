"""The first filter: which candidates are trained, in which order, and what becomes of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from launcher.report.trial_reports import PASSED
from launcher.search.early.first_filter import PROXY, SCORE, Filter


def filter_of(keep: float = 0.25, first: int = 4, known: tuple[str, ...] = ("parameters",)) -> Filter:
    return Filter("launcher.search.early.proxies.naswot", keep, first, 8, known)


def trials(points: Sequence[tuple[float, float] | None], passed: Sequence[int] = ()) -> list[FrozenTrial]:
    """Candidates with that score and that many parameters; None has not been scored yet."""
    study = optuna.create_study()
    for number, point in enumerate(points):
        trial = study.ask()
        if point is not None:
            trial.set_user_attr(SCORE, {PROXY: point[0], "parameters": point[1]})
        if number in passed:
            trial.set_user_attr(PASSED, True)
    return study.trials


EIGHT = [(10.0, 100.0), (9.0, 90.0), (5.0, 10.0), (4.0, 80.0), (8.0, 200.0), (3.0, 20.0), (2.0, 30.0), (1.0, 40.0)]


def test_nothing_is_trained_before_so_many_are_scored() -> None:
    assert filter_of(first=8).next(trials(EIGHT[:7]), set(range(7)), None) is None
    assert filter_of(first=8).next(trials(EIGHT), set(range(8)), None) in (0, 2)
    assert filter_of(first=8).next(trials(EIGHT[:4]), set(range(4)), 4) in (0, 2), "of four there are no eight"
    assert filter_of(first=8).next(trials([*EIGHT[:7], None]), set(range(7)), 8) is None, "the last is under way"


def test_of_so_many_of_about_one_size_the_best_is_trained() -> None:
    found: list[int] = []
    while (number := filter_of().next(trials(EIGHT, found), set(range(8)) - set(found), None)) is not None:
        found.append(number)
    assert set(found) == {0, 2}, "of the four smallest one, and of the four largest one"


def test_a_size_that_has_none_yet_comes_first() -> None:
    assert filter_of(keep=0.5).next(trials(EIGHT, [2, 0]), set(range(8)) - {0, 2}, None) in (6, 3)


def test_of_one_objective_the_best_scores_are_trained() -> None:
    own = filter_of(keep=0.5, known=())
    found: list[int] = []
    while (number := own.next(trials(EIGHT, found), set(range(8)) - set(found), None)) is not None:
        found.append(number)
    assert found == [0, 1, 4, 2]


def test_who_is_no_longer_paused_is_passed_over() -> None:
    assert filter_of(keep=0.5, known=()).next(trials(EIGHT, [1]), {2, 3, 4}, None) == 4


def test_one_that_was_chosen_and_never_began_is_chosen_again() -> None:
    known = trials(EIGHT, [6, 0])
    assert filter_of().next(known, set(range(8)) - {0}, None) == 6
    known[6].intermediate_values = {1: 0.5}
    assert filter_of().next(known, set(range(8)) - {0}, None) is None, "that one waits at a rung"


def test_a_score_that_is_no_number_is_never_trained() -> None:
    points = [(math.nan, 1.0), (math.nan, 2.0), (-math.inf, 3.0), (1.0, 4.0), (0.5, 5.0), (0.2, 6.0)]
    own = filter_of(keep=1.0, known=())
    found: list[int] = []
    while (number := own.next(trials(points, found), set(range(6)) - set(found), None)) is not None:
        found.append(number)
    assert found == [3, 4, 5, 2]


def test_one_that_fails_holds_nobody_up() -> None:
    study = optuna.create_study()
    for number in range(4):
        trial = study.ask()
        if number < 3:
            trial.set_user_attr(SCORE, {PROXY: float(number), "parameters": 1.0})
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert filter_of(keep=0.5, known=()).next(study.trials, {0, 1, 2}, 4) == 2


def test_a_trial_s_process_is_told_to_score_until_it_has_passed() -> None:
    before, after = trials([(1.0, 1.0), (1.0, 1.0)], [1])
    assert filter_of().task(before) == {
        "target": "launcher.search.early.proxies.naswot", "num_samples": 8, "known": ("parameters",)
    }  # fmt: skip
    assert filter_of().task(after) is None


def test_of_any_at_least_one_is_trained() -> None:
    own = filter_of(keep=0.1, known=())
    assert [own.trained(scored) for scored in (0, 1, 9, 10, 25)] == [0, 1, 1, 1, 2]
    assert own.next(trials([(1.0, 1.0), (2.0, 1.0)]), {0, 1}, 2) == 1
