"""A study that several drivers work on: who gets which trial, and what becomes of it.

    ask    ─► a new trial (number, parameters), leased to this driver
    claim  ─► a trial whose driver has died, leased to this one with the next fencing number
    renew  ─► still mine?                    tell ─► finished, if still mine

Each of these is done while the study's lock is held, so that two drivers never ask for the same trial. The
storage knows numbers, parameters, states and values; the folders `<number>/` know what was run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from launcher.adapters.optuna import Draws, fix, storage_of, suggest
from launcher.adapters.optuna import study_id as study_id_of
from launcher.adapters.optuna import trial_id as id_of
from launcher.artifacts.folder import CONFIG
from launcher.artifacts.result import read_result
from launcher.errors import ConfigError
from launcher.process import lease
from launcher.process.holder import myself
from launcher.report.timeline import STINTS
from launcher.report.trial_reports import PASSED
from launcher.search.early.first_filter import SCORE
from launcher.search.space import dimensions as space
from launcher.search.space.dimensions import Dimension, Directions

from .away import Waiting
from .lock import HostLock
from .storage import tie, trials_of

LOCK, CLOCK = ".turn", ".clock"
PAUSED = "paused"
OPEN = (TrialState.RUNNING, TrialState.WAITING)

Found = TypeVar("Found")


@dataclass(frozen=True)
class Claim:
    """A trial that this driver may run."""

    number: int
    id: int
    params: dict[str, Any]
    lease: lease.Lease


class Lost(Exception):
    """The trial is another driver's by now: what this one wanted to write of it is void."""


class Study:
    """Optuna's study, shared safely. `n_trials` is the total over all drivers and sessions; None has no end."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        directions: Directions,
        folder: Path,
        dimensions: Sequence[Dimension],
        sampler_of: Callable[[int], BaseSampler],
        pruner: BasePruner | None = None,
        extend: Callable[[optuna.trial.Trial], None] | None = None,
        n_trials: int | None = None,
        patience_s: float = 60.0,
        metrics: Sequence[str] = (),
        points: Sequence[dict[str, Any]] = (),
        waiting: Waiting | None = None,
        ready: Callable[[Sequence[FrozenTrial]], bool] | None = None,
    ) -> None:
        """`ready` says of the trials that there are whether the next one may begin yet."""
        self.folder, self.dimensions, self.n_trials, self.patience_s = folder, dimensions, n_trials, patience_s
        self._sampler_of, self._extend, self._points, self._ready = sampler_of, extend, points, ready
        self._turn, self._waiting = HostLock(folder / LOCK), waiting or Waiting.never()
        self._waiting.meanwhile = self._keep
        self._mine: dict[int, lease.Lease] = {}
        self.withdrawn = False
        with self.turn():
            self.is_new = name not in optuna.get_all_study_names(storage)
            self.optuna = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=directions,
                sampler=sampler_of(0),
                pruner=pruner or NopPruner(),
                load_if_exists=True,
            )
            self.storage = storage_of(self.optuna)
            self._id = study_id_of(self.optuna)
            tie(self.optuna, folder)
            space.refuse_other_choices(self.trials(), dimensions, folder)
            if metrics and self.optuna.metric_names != list(metrics):
                self.optuna.set_metric_names(list(metrics))
        self._renewed_at = time.monotonic()
        self._stints: dict[int, list[list[Any]]] = {}

    def ask(self) -> Claim | None:
        """The next trial; None where all have been given out, or the next one has to wait for others."""
        with self.turn():
            if self.all_given() or (self._ready is not None and not self._ready(self.trials())):
                return None
            return self._taken(self.storage.create_new_trial(self._id))

    def claim_dead(self, mine: set[int]) -> list[Claim]:
        """Every trial that nobody runs any more, taken over by this driver; the numbers in `mine` are its own already."""
        with self.turn():
            left = [
                id_of(each)
                for each in self.trials(*OPEN)
                if each.number not in mine and not paused(self._own(each.number)) and self._free(each.number)
            ]
            return [self._taken(trial_id) for trial_id in left]

    def claim_paused(
        self, pick: Callable[[Sequence[FrozenTrial], set[int]], int | None], goes_on: bool = True
    ) -> Claim | None:
        """The paused trial that `pick` chooses of (all trials, the numbers of those that are paused), taken over. A candidate
        that goes on is taken down as one that is trained."""
        with self.turn():
            still = {
                each.number: each
                for each in self.trials(*OPEN)
                if paused(self._own(each.number)) and self._free(each.number)
            }
            number = pick(self.trials(), set(still)) if still else None
            if number is None:
                return None
            if goes_on and SCORE in still[number].user_attrs:
                self.storage.set_trial_user_attr(id_of(still[number]), PASSED, True)
            return self._taken(id_of(still[number]))

    def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Renew the leases where a third of their time is over; returns the trials that somebody else has taken over."""
        if not claims or time.monotonic() - self._renewed_at < self.patience_s / 3:
            return []
        self._renewed_at = time.monotonic()
        with self.turn():
            lost = [claim for claim in claims if not lease.renew(self._own(claim.number), claim.lease)]
            for claim in lost:
                self._mine.pop(claim.number, None)
            return lost

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The study's lock is held meanwhile."""
        self.patiently(self._turn.acquire)
        try:
            yield
        finally:
            self._turn.release()

    def patiently(self, write: Callable[[], Found]) -> Found:
        """What is written into the sweep's folder, as soon as there is room for it. Raises TrainingError after a while."""
        return self._waiting(str(self.folder), write)

    def _keep(self) -> None:
        """Keep the leases of this driver's trials while it waits; the lock, which it may hold just then, is not asked for."""
        if time.monotonic() - self._renewed_at > self.patience_s / 3:
            self._renewed_at = time.monotonic()
            for number, own in self._mine.items():
                lease.renew(self._own(number), own)

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """What is written of a trial meanwhile, is written by its holder: nobody takes it over before the end. Raises Lost."""
        with self.turn():
            if lease.read(self._own(claim.number)) != claim.lease:
                raise Lost
            yield

    def begins(self, claim: Claim, slot: int) -> None:
        """Take down that a trial now runs on this driver's slot, if it is still its own."""
        with suppress(Lost), self.holding(claim):
            known = self.storage.get_trial(claim.id).user_attrs.get(STINTS, [])
            self._stints[claim.number] = [*known, [claim.lease.holder.host, slot, time.time(), None]]
            self.storage.set_trial_user_attr(claim.id, STINTS, self._stints[claim.number])

    def _ends(self, claim: Claim) -> None:
        """Take down that it runs no more, if it did. The study's lock and the trial's lease are held."""
        stints = self._stints.pop(claim.number, None)
        if stints is not None:
            stints[-1][-1] = time.time()
            self.storage.set_trial_user_attr(claim.id, STINTS, stints)

    def tell(self, claim: Claim, state: TrialState, values: list[float] | None = None) -> bool:
        """How a trial ended; False where it is no longer this driver's to say."""
        try:
            with self.holding(claim):
                self._ends(claim)
                self.optuna.tell(claim.number, values, state, skip_if_finished=True)
                self._give_back(claim)
        except Lost:
            return False
        return True

    def let_go(self, claim: Claim) -> None:
        """Leave a trial unfinished, for whoever comes next."""
        with suppress(Lost), self.holding(claim):
            self._ends(claim)
            self._give_back(claim)

    def _give_back(self, claim: Claim) -> None:
        self._mine.pop(claim.number, None)
        self.patiently(partial(lease.let_go, self._own(claim.number), claim.lease))

    def withdraw(self) -> None:
        """Take back a study that this driver began, if nothing of it has run and no other driver has a trial of it."""
        with self.turn():
            if self.is_new and all(self._is_unused(trial) for trial in self.trials()):
                optuna.delete_study(study_name=self.optuna.study_name, storage=self.storage)
                self.withdrawn = True

    def _is_unused(self, trial: FrozenTrial) -> bool:
        known = lease.read(self._own(trial.number))
        others = known is not None and known.holder.pid != 0 and known.holder != myself()
        return trial.state in OPEN and STINTS not in trial.user_attrs and not others

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The study's trials in those states (all without any), by number, not to be changed."""
        return trials_of(self.storage, self._id, *states)

    def trial(self, claim: Claim) -> FrozenTrial:
        """What the study knows of a trial."""
        return self.storage.get_trial(claim.id)

    def unfinished(self) -> int:
        """How many trials are still to end, on whatever machine; those that are paused wait for nobody."""
        return sum(not paused(self._own(trial.number)) for trial in self.trials(*OPEN))

    def all_given(self) -> bool:
        """Whether the last number has been given out; asked so that it costs the same however many trials there are."""
        if self.n_trials is None:
            return False
        try:
            self.storage.get_trial_id_from_study_id_trial_number(self._id, self.n_trials - 1)
        except KeyError:
            return False
        return True

    def _free(self, number: int) -> bool:
        return lease.dead(self._own(number), self.folder / CLOCK, self.patience_s)

    def _own(self, number: int) -> Path:
        return self.folder / str(number)

    def _taken(self, trial_id: int) -> Claim:
        """The trial, leased, with every parameter it has or is now given. The study's lock is held."""
        number = self.storage.get_trial_number_from_id(trial_id)
        taken = self._mine[number] = self.patiently(partial(lease.take, self._own(number)))
        if (
            self.storage.get_trial(trial_id).state == TrialState.WAITING
        ):  # put there by hand, with parameters or without
            self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        self.optuna.sampler = self._sampler_of(number)
        begun = (self._own(number) / CONFIG).exists()
        trial = (optuna.trial.Trial if begun else Draws)(self.optuna, trial_id)
        if number < len(self._points):
            fix(trial, self._points[number])
        try:
            point: dict[str, Any] = {}
            for each in self.dimensions:
                if each.active(point):
                    point[each.key] = suggest(trial, each.name, each.distribution)
        except ValueError as error:
            raise ConfigError(
                f"{self.folder}: trial {number} does not fit into the study: {error}. "
                "Another hydra.sweeper.study_name begins a new one"
            ) from error
        if self._extend is not None:
            try:
                self._extend(trial)
            except ConfigError:
                raise
            except Exception as error:  # it is the caller's own code
                said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                raise ConfigError(f"hydra.sweeper.custom_search_space: {said}") from error
        return Claim(number, trial_id, space.point(trial.params), taken)


def paused(folder: Path) -> bool:
    """Whether a trial waits at a rung: its process has saved it and left."""
    result = read_result(folder)
    return result is not None and result.get("reason") == PAUSED
