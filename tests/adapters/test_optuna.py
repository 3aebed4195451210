"""What the launcher asks of Optuna by private names."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from launcher.adapters import optuna as adapter

SPAN = FloatDistribution(0, 1)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(sampler=RandomSampler(seed=0))


def test_a_study_and_its_trials_in_the_storage(study: optuna.Study) -> None:
    trial = study.ask()
    storage = adapter.storage_of(study)
    (stored,) = storage.get_all_trials(adapter.study_id(study))
    assert storage.get_trial(adapter.trial_id(stored)).number == trial.number


def test_a_parameter_that_is_fixed_is_suggested(study: optuna.Study) -> None:
    study.enqueue_trial({"first": 0.25})
    trial = study.ask()
    adapter.fix(trial, {"first": 0.5, "second": 0.75})
    assert adapter.suggest(trial, "first", SPAN) == 0.25
    assert adapter.suggest(trial, "second", SPAN) == 0.75


def test_what_a_distribution_holds() -> None:
    assert adapter.contains(SPAN, 0.5)
    assert not adapter.contains(SPAN, 2.0)
    assert not adapter.contains(IntDistribution(0, 10, step=5), 7)


def test_a_lock_of_a_journal_has_two_verbs() -> None:
    assert adapter.BaseJournalFileLock.__abstractmethods__ == {"acquire", "release"}


def test_what_is_known_takes_its_draw_with_it(study: optuna.Study) -> None:
    """The second parameter is the one that a trial without the first would get second, too."""
    whole = study.ask()
    expected = [adapter.suggest(whole, name, SPAN) for name in ("first", "second")]
    again = optuna.create_study(sampler=RandomSampler(seed=0))
    number = adapter.storage_of(again).create_new_trial(adapter.study_id(again))
    adapter.storage_of(again).set_trial_param(number, "first", 0.125, SPAN)
    trial = adapter.Draws(again, number)
    assert [adapter.suggest(trial, name, SPAN) for name in ("first", "second")] == [0.125, expected[1]]
