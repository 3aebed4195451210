"""A limit of time."""

from __future__ import annotations

from typing import ClassVar

from launcher.config.schema import duration
from launcher.core.algorithm import Monitor
from launcher.core.run import Run
from launcher.errors import ConfigError


class TimeBudget(Monitor):
    """Ends the run so that its last evaluation, checkpoint and export are done within `limit`.

    `limit` is in seconds, or as in "30s", "10m", "1h30m". It is the loop's own limit, that of `training.max_time`, under
    another name: the shorter of the two holds. A run that it ends counts as stopped, one that comes to its
    `training.max_time` as completed.
    """

    limits_time: ClassVar[bool] = True

    def __init__(self, limit: float | str) -> None:
        try:
            seconds = duration(limit)
        except ValueError as error:
            raise ConfigError(f"stopping.time_budget.limit={limit}: {error}") from error
        assert seconds is not None
        self.limit, self.seconds = limit, seconds

    def fit_start(self, run: Run) -> None:
        if run.plan.max_time is None or self.seconds < run.plan.max_time:
            run.plan.max_time = self.seconds
            run.plan.limited_by = f"the time budget of {self.limit} is spent"
