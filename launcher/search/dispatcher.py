"""Keeps every slot of a sweep busy: ask ─► submit ─► (ended, in any order) ─► tell, and the next one at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.trial import FrozenTrial

from launcher.artifacts.checkpoint.inherited import step_of
from launcher.artifacts.folder import CONFIG, in_use
from launcher.core.pool import Pool, Together
from launcher.launch.retry import Patience
from launcher.process.forkserver import FENCE
from launcher.process.signals import Interrupt

from .early.consecutive_failures import Alike
from .events import Listener
from .lookahead import Ahead
from .study.study import Claim, Study
from .trials import TAKEN, Trials

LOOK_S = 0.25
"""How often running trials are looked at when none of them ends."""
GRACE_S = 20.0
"""A trial that was asked to leave and has not left after so long is ended."""


@dataclass
class _Running:
    claim: Claim
    slot: int
    config: DictConfig
    since: float = field(default_factory=time.monotonic)
    asked: float | None = None  # when it was asked to leave
    why: str = ""  # it is ended, because


class Scheduler:
    """Runs a study's trials. `compose` makes a trial's finished config; `environment` what its process needs to know,
    `prepare` makes a new one's config and folder ready, in a population's search.

    With `ahead` the next trial is asked for and composed while the slots are busy, without it where that is worth it (`Ahead`).
    """

    def __init__(
        self,
        study: Study,
        pool: Pool,
        compose: Callable[..., DictConfig],
        values: Callable[[dict[str, Any]], list[float | None]],
        listener: Listener,
        interrupt: Interrupt,
        environment: Callable[[Claim, int], dict[str, str]] = lambda claim, slot: {},
        promote: Callable[[Sequence[FrozenTrial], set[int]], int | None] | None = None,
        timeout: float | None = None,
        trial_timeout: float | None = None,
        together: Together | None = None,
        ahead: bool = False,
        alike: Alike | None = None,
        prepare: Callable[[Claim, DictConfig], None] = lambda claim, config: None,
    ) -> None:
        self.study, self.pool, self.listener, self.interrupt = study, pool, listener, interrupt
        self._environment, self._alike = environment, alike or Alike(None)
        self._trials = Trials(study, compose, values, listener, self._alike, prepare)
        self._promote, self._trial_timeout = promote, trial_timeout
        self._end = math.inf if timeout is None else time.monotonic() + timeout
        self._together = together
        self._running: dict[Any, _Running] = {}
        self._waiting: list[Claim] = []
        self._untouched: set[int] = set()  # candidates that are trained next, and have taken no step
        self._ahead = Ahead(ahead, 0 if promote or pool.outlives else pool.slots)
        self._composed: dict[int, DictConfig] = {}
        self._looked_for_dead = -math.inf
        self._all_given = False
        self._patience = Patience(listener.told)

    def run(self) -> None:
        """Until every trial of the study has ended, a signal or the time limit: then what runs is asked to save and leave."""
        try:
            while not self._leaving() or self._running:
                if not self._leaving():
                    self._fill()
                    if self._all_given and not self._running and not self._waiting and not self.study.unfinished():
                        self._trials.conclude()
                        return
                self._trials.tell_news()
                self._prepare()
                self.pool.wait(LOOK_S)
                for handle in list(self._running):
                    status = self.pool.poll(handle)
                    if status is not None:
                        self._over(self._running.pop(handle), status)
                self._watch()
                self.listener.looked()
        finally:
            self._trials.tell_news()
            if self._running:
                self.pool.cancel(list(self._running))
            for claim in self._waiting:
                self.study.let_go(claim)

    def _prepare(self) -> None:
        """Have the next trial ready. The last ones are left to whoever has a slot for them first."""
        total = self.study.n_trials
        free = len(self._running) < self.pool.slots
        if free or not self._ahead or self._waiting or self._all_given or self._leaving():
            return
        furthest = max((each.claim.number for each in self._running.values()), default=0)
        if total is not None and furthest + 1 + self.pool.slots >= total:
            return
        claim = self.study.ask()
        if claim is not None and (config := self._trials.new(claim)) is not None:
            self._composed[claim.number] = config
            self._waiting.append(claim)

    def _leaving(self) -> bool:
        return self.interrupt.signal is not None or time.monotonic() > self._end or self._alike.said is not None

    def _fill(self) -> None:
        """Give every free slot a trial: first those that were left unfinished, then new ones."""
        free = sorted(set(range(self.pool.slots)) - {each.slot for each in self._running.values()})
        patience = min(2.0, self.study.patience_s / 3)
        if free and time.monotonic() - self._looked_for_dead > patience:
            self._looked_for_dead = time.monotonic()
            mine = {each.claim.number for each in self._running.values()} | {each.number for each in self._waiting}
            self._waiting += self.study.claim_dead(mine)
        if self._together is not None:
            if len(self._running) < self.pool.slots:
                self._fill_together(self._together)
            return
        while free and not self._leaving():
            if (start := self._start()) is None:
                return
            claim, config, began = start
            if config is not None:
                slot = free.pop(0)
                if not self._give([(claim, config, began)], partial(self._submit, claim, began, slot), slot):
                    return

    def _submit(self, claim: Claim, began: bool, slot: int) -> list[Any]:
        fence = (
            {} if self.pool.outlives else {FENCE: str(claim.lease.fence)}
        )  # a job goes on when its trial changes hands
        own = self._own(claim)
        began = began or step_of(own) is not None
        return [self.pool.submit(own, began, self._environment(claim, slot) | fence)]

    def _fill_together(self, pool: Together) -> None:
        """Give the pool every trial that is left."""
        starts: list[tuple[Claim, DictConfig, bool]] = []
        while len(starts) < self._patience.at_once and not self._leaving():
            if (start := self._start()) is None:
                break
            claim, config, began = start
            if config is not None:
                starts.append((claim, config, began))
        if starts:
            self._give(starts, lambda: pool.submit_all([self._own(claim) for claim, _, _ in starts]), 0)

    def _give(
        self, starts: list[tuple[Claim, DictConfig, bool]], submit: Callable[[], Sequence[Any]], slot: int
    ) -> bool:
        """Whether the pool took those trials; else they are kept for the next time that it is asked."""
        handles = self._patience.ask(submit, bool(self._running), len(starts))
        if handles is None:
            self._waiting[:0] = [claim for claim, _, _ in starts]
            self._composed |= {claim.number: config for claim, config, began in starts if not began}
            return False
        for handle, (claim, config, began) in zip(handles, starts, strict=True):
            self._running[handle] = _Running(claim, slot, config)
            self.study.begins(claim, slot)
            self.listener.started(claim, slot, began)
        return True

    def _start(self) -> tuple[Claim, DictConfig | None, bool] | None:
        """The next trial with its config, and whether it has begun; no config where it has ended already."""
        started = time.monotonic()
        if (claim := self._next()) is None:
            return None
        if (config := self._composed.pop(claim.number, None)) is not None:
            return claim, config, False
        known = (self._own(claim) / CONFIG).exists()
        config = self._trials.begun(claim) if known else self._trials.new(claim)
        self._ahead.prepared(started)
        began = known and claim.number not in self._untouched
        self._untouched.discard(claim.number)
        return claim, config, began

    def _next(self) -> Claim | None:
        for claim in self._waiting:
            # A dead driver's process may take a moment to follow it; its jobs on a cluster do not, and are found again.
            if self.pool.outlives or not in_use(self._own(claim)):
                self._waiting.remove(claim)
                return claim
        if self._promote is not None:
            promoted = self.study.claim_paused(self._promote)
            if promoted is not None:
                if not self._trials.promoted(promoted):
                    self._untouched.add(promoted.number)
                return promoted
        new = None if self._all_given else self.study.ask()
        self._all_given = new is None and self.study.all_given()
        return new

    def _over(self, run: _Running, status: int) -> None:
        """A trial's process has ended."""
        self._ahead.ended(run.since)
        if self._trials.over(run.claim, status, run.config, run.why, self._leaving()):
            self._waiting.append(run.claim)

    def _watch(self) -> None:
        """Leases, limits of time, and those that do not leave when asked to."""
        now = time.monotonic()
        lost = {
            claim.number
            for claim in self.study.renew([*(each.claim for each in self._running.values()), *self._waiting])
        }
        self._waiting = [claim for claim in self._waiting if claim.number not in lost]
        for handle, run in list(self._running.items()):
            late = self._trial_timeout is not None and now - run.since > self._trial_timeout
            if run.claim.number in lost:
                if self.pool.outlives:  # the job is the other driver's now, too
                    del self._running[handle]
                    self.listener.left(run.claim, TAKEN)
                else:
                    self.pool.kill(handle)
            elif run.asked is not None:
                if time.monotonic() - run.asked > GRACE_S:
                    self.pool.kill(handle)
                    run.asked = time.monotonic()
            elif late:
                run.asked, run.why = now, f"it took longer than hydra.sweeper.trial_timeout={self._trial_timeout:g} s"
                self.pool.abort(handle)
        if self._leaving() and (stay := {each: run for each, run in self._running.items() if run.asked is None}):
            self.pool.cancel(list(stay))
            for run in stay.values():
                run.asked = time.monotonic()  # to be asked may take a cluster a while

    def _own(self, claim: Claim) -> Path:
        return self._trials.own(claim)
