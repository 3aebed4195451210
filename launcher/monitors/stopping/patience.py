"""How long a value may fail to improve."""

from __future__ import annotations

from launcher.config.schema import interval
from launcher.console.numbers import things
from launcher.core.algorithm import Monitor
from launcher.core.run import Run
from launcher.errors import ConfigError


class Patience(Monitor):
    """What stopping by a value shares: `patience`, `min_delta` and `warmup`.

    `warmup` is a number of evaluations, or epochs as in "5epochs", before which none counts, neither for nor against.
    """

    def __init__(self, patience: int, min_delta: float, warmup: int | str) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.warmup = warmup
        self.num_evaluations = 0
        try:
            interval(warmup, 1)
        except ValueError as error:
            raise ConfigError(
                f"stopping: warmup={warmup}: expected a number of evaluations, or epochs as in '5epochs'"
            ) from error

    def counts(self, run: Run) -> bool:
        """Whether this evaluation, which it takes note of, is past the warm-up."""
        self.num_evaluations += 1
        if isinstance(self.warmup, str) and "epoch" in self.warmup:
            return run.progress.step > (interval(self.warmup, run.plan.steps_per_epoch) or 0)
        return self.num_evaluations > int(self.warmup)

    def give_up(self, run: Run, what: str, waited: int) -> None:
        """End the run where patience is over; the first reason that a run is given stands."""
        if waited >= self.patience and run.stop is None:
            run.stop = f"{what} has not improved for {things(self.patience, 'evaluation')}"
