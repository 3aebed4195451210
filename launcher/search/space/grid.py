"""The product of choices, point by point: a point is known by its values, whatever the order in which the words stood.

So a grid that goes on with its words in another order, or with a range that grew, runs what is missing and nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution

from launcher.adapters.optuna import storage_of, study_id
from launcher.errors import ConfigError

from .dimensions import Dimension
from .independent import Independent

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FIXED = "fixed_params"
"""Optuna's attribute of a trial that was put there by hand: the parameters that it was given."""


class GridSampler(Independent):
    """A trial gets the first point that no other one has, the last dimension varying fastest.

    One sampler is kept for all trials of a driver: it remembers the points of those that it has seen. What it gives follows
    from the study alone, so that a trial whose draws a kill broke off gets the rest of its own point.
    """

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._values = {each.name: each.values or () for each in dimensions}
        self._places = {name: {value: at for at, value in enumerate(own)} for name, own in self._values.items()}
        self._size = math.prod(len(own) for own in self._values.values())
        self._taken: set[int] = set()
        self._seen = 0  # so many of the first trials have all their parameters, and their points are in `_taken`
        self._first = 0  # no point before it is free

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self._values:
            raise ConfigError(f"hydra.sweeper.custom_search_space: {param_name} has no place in a grid; search=random")
        points = dict(self._assigned(self._unseen(study)))
        at = points.get(trial.number)
        return self._values[param_name][0 if at is None else self._position(at, param_name)]

    def total(self, trials: Sequence[FrozenTrial], asked: int | None) -> int:
        """How many trials a study with those has in the end: one for each point, and beside them what it has of other points,
        or twice; no more than were asked for."""
        points = [at for _, at in self._assigned(trials)]
        beside = len(trials) - len({at for at in points if at is not None})
        return min(self._size + beside, asked or math.inf)  # type: ignore[return-value]  # an endless grid is none

    def _assigned(self, trials: Iterable[FrozenTrial]) -> Iterator[tuple[int, int | None]]:
        """The point of each of those trials, beside the ones seen before: its own, or, where its draws were broken off, the
        first that is free and has the values that stand; None where there is none."""
        known = [(trial.number, _known(trial)) for trial in trials]
        whole = {number: self._index(params) for number, params in known if params.keys() >= self._values.keys()}
        taken = self._taken.union(at for at in whole.values() if at is not None)
        for number, params in known:
            if number in whole:
                yield number, whole[number]
                continue
            at = self._free(taken, params)
            taken |= set() if at is None else {at}
            yield number, at

    def _free(self, taken: set[int], params: Mapping[str, Any]) -> int | None:
        while self._first in self._taken:
            self._first += 1
        stands = [(name, self._places[name].get(value)) for name, value in params.items() if name in self._values]
        for at in range(self._first, self._size):
            if at not in taken and all(self._position(at, name) == place for name, place in stands):
                return at
        return None

    def _index(self, params: Mapping[str, Any]) -> int | None:
        """A point's place in the product; None of one that is not in it."""
        at = 0
        for name, places in self._places.items():
            if (place := places.get(params[name])) is None:
                return None
            at = at * len(places) + place
        return at if params.keys() <= self._places.keys() else None

    def _position(self, at: int, wanted: str) -> int:
        for name in reversed(self._values):
            at, place = divmod(at, len(self._values[name]))
            if name == wanted:
                return place
        raise KeyError(wanted)

    def _unseen(self, study: Study) -> list[FrozenTrial]:
        """The trials from the first on that has not all its parameters; those before it are taken down."""
        storage = storage_of(study)
        left: list[FrozenTrial] = []
        if self._seen == 0:
            left = storage.get_all_trials(study_id(study), deepcopy=False)
        else:  # one by one costs the same however many there are
            try:
                while True:
                    number = self._seen + len(left)
                    found = storage.get_trial_id_from_study_id_trial_number(study_id(study), number)
                    left.append(storage.get_trial(found))
            except KeyError:
                pass
        while left and _known(left[0]).keys() >= self._values.keys():
            at = self._index(_known(left.pop(0)))
            self._taken |= set() if at is None else {at}
            self._seen += 1
        return left


def _known(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial has, or will have because somebody has put it there with them."""
    given: dict[str, Any] = trial.system_attrs.get(FIXED, {})
    return given | trial.params
