"""One trial's beginning and end: what is written into its folder, and what the study is told.

Whatever is written, is written by the one who holds the trial's lease: a driver that was stopped for longer than its lease,
and goes on, may find its trial with another one, and then leaves it, and its folder, as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.trial import TrialState

from launcher.artifacts.folder import read_config, write_config
from launcher.artifacts.result import RESULT, read_result, unfinished, write_result
from launcher.errors import PREEMPTED, ConfigError
from launcher.launch.outcome import ENDED, settle
from launcher.launch.retry import NO_STEP, Standstill

from .early.consecutive_failures import Alike
from .early.first_filter import FILTERED, scored
from .events import Ended, Listener
from .study.study import PAUSED, Claim, Lost, Study

TAKEN = "taken over by another driver"


class Trials:
    """What a driver does with the folders of its trials. `compose` makes a finished config, `values` the objectives of a result."""

    def __init__(
        self,
        study: Study,
        compose: Callable[..., DictConfig],
        values: Callable[[dict[str, Any]], list[float | None]],
        listener: Listener,
        alike: Alike,
        prepare: Callable[[Claim, DictConfig], None],
    ) -> None:
        """`prepare` gives a trial that begins what it goes on from, and may change its config."""
        self._prepare = prepare
        self._study, self._compose, self._values, self._listener, self._alike = study, compose, values, listener, alike
        self._news: list[Callable[[], None]] = []
        self._standstill = Standstill()

    def own(self, claim: Claim) -> Path:
        return self._study.folder / str(claim.number)

    def tell_news(self) -> None:
        """What is to be said of trials that ended is said when their slots have been given to others."""
        while self._news:
            self._news.pop(0)()

    def begun(self, claim: Claim) -> DictConfig | None:
        """The config of a trial that has begun; None where it has ended too, and nobody was told."""
        result = read_result(self.own(claim))
        if result is not None and result["status"] in (*ENDED, "failed"):
            self._tell(claim, result)
            return None
        return read_config(self.own(claim))

    def new(self, claim: Claim) -> DictConfig | None:
        """The config of a trial that begins now; None where its parameters do not go together, or it is another's by now."""
        try:
            config = self._compose(claim.params, claim.number)
            begun = self._write(claim, partial(self._begin, claim, config))
        except ConfigError as error:
            failed = unfinished(self._compose({})) | {"status": "failed", "reason": str(error).partition("\n")[0]}
            if self._write(claim, partial(write_result, self.own(claim), failed)):
                self._tell(claim, failed)
            return None
        return config if begun else None

    def _begin(self, claim: Claim, config: DictConfig) -> None:
        self._prepare(claim, config)
        write_config(config, self.own(claim))

    def promoted(self, claim: Claim) -> bool:
        """A paused trial goes on; whether it has taken steps before."""
        steps = (read_result(self.own(claim)) or {}).get("steps")
        self._write(claim, partial((self.own(claim) / RESULT).unlink, missing_ok=True))
        return bool(steps)

    def over(self, claim: Claim, status: int, config: DictConfig, why: str, leaving: bool) -> bool:
        """A trial's process has ended; whether it is to be started again at once, because a signal was meant for it alone."""
        try:
            result = self._settled(claim, status, config, why, leaving)
        except Lost:
            self._listener.left(claim, TAKEN)
            return False
        if result is None:
            if leaving:
                self._study.let_go(claim)
            self._listener.left(claim, "saved, to be resumed")
            return not leaving
        if result["reason"] == PAUSED:
            self._study.let_go(claim)
            self._listener.left(claim, f"paused at step {result['steps']}" if result["steps"] else scored(result))
        else:
            self._tell(claim, result)
        return False

    def conclude(self) -> None:
        """No trial runs and none is promoted any more: those that are paused have ended where they are."""
        while (claim := self._study.claim_paused(lambda trials, paused: min(paused), goes_on=False)) is not None:
            result = read_result(self.own(claim)) or {}
            result |= {"reason": "pruned" if result.get("steps") else FILTERED}
            if self._write(claim, partial(write_result, self.own(claim), result)):
                self._tell(claim, result)

    def _settled(self, claim: Claim, status: int, config: DictConfig, why: str, leaving: bool) -> dict[str, Any] | None:
        """The result of a trial that is over; None of one that left, to be resumed. Raises Lost."""
        own = self.own(claim)
        with self._study.holding(claim):
            left = status == PREEMPTED and not why
            end = partial(settle, own, status, config)
            result = None if left else self._study.patiently(partial(end, why))
            if not left and result is not None and result["status"] != "preempted":
                return result
            still = not leaving and self._standstill.met(claim.number, read_result(own))
            return self._study.patiently(partial(end, NO_STEP)) if still else None

    def _write(self, claim: Claim, write: Callable[[], object]) -> bool:
        """Write into a trial's folder; whether it was this driver's to do."""
        try:
            with self._study.holding(claim):
                self._study.patiently(write)
        except Lost:
            self._listener.left(claim, TAKEN)
            return False
        return True

    def _tell(self, claim: Claim, result: dict[str, Any]) -> None:
        state, values = TrialState.FAIL, self._values(result)
        if result["status"] == "pruned":
            state = TrialState.PRUNED
        elif result["status"] in ENDED and None not in values:
            state = TrialState.COMPLETE
        told = [value for value in values if value is not None] if state == TrialState.COMPLETE else None
        if self._study.tell(claim, state, told):
            self._alike.ended(claim.number, result)
            self._news.append(partial(self._listener.ended, Ended(claim, result, values)))
        else:
            self._listener.left(claim, TAKEN)
