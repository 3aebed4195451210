"""What a trial told on its way, before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Point = tuple[float, ...]
"""A value of each objective."""
REPORTS = "launcher:reports"
"""The trial's attribute that keeps what it reported of several objectives, for which Optuna has no place: by the step."""


def reports(trial: FrozenTrial) -> dict[int, Point]:
    """What a trial has reported, by the step in the pruner's unit: a number for each objective."""
    several = trial.user_attrs.get(REPORTS)
    if several is None:
        return {step: (value,) for step, value in trial.intermediate_values.items()}
    return {int(step): tuple(values) for step, values in several.items()}


PASSED = "launcher:passed"
"""A trial's attribute: it is to be trained. The other one, SCORE, is what was found out of it before, by name."""
