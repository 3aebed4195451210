"""Hyperband's races: which trial is in which of them, and who of a race goes on from its rung.

Race k of a round begins at the rung r·η^k and has ceil(K · η^(K-1-k) / (K-k)) trials, of K races (r is min_resource, η
reduction_factor; Li et al., "Hyperband" (2018), algorithm 1). Trials are dealt to races by their number, round after
round. All of a race pause at a rung, and when the last has come, the best floor(n / η), of the n that began floor(n / η²)
at the next, go on. So what is spent follows from the number of trials alone: it is what the plan says.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from .pruning import at_rung, judged, promotable, rungs_of


@dataclass(frozen=True)
class Race:
    """Some trials by their numbers, and the rungs at which they are judged against each other."""

    numbers: range
    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Brackets:
    """The races of a round: how many trials each has, and where it judges them."""

    sizes: tuple[int, ...]
    rungs: tuple[tuple[int, ...], ...]
    reduction_factor: int

    def rungs_for(self, number: int) -> tuple[int, ...]:
        """Where the trial of that number pauses."""
        place = number % sum(self.sizes)
        for size, rungs in zip(self.sizes, self.rungs, strict=True):
            if place < size:
                return rungs
            place -= size
        raise AssertionError

    def races(self, n_trials: int) -> list[Race]:
        """The races of so many trials, the last of them perhaps with fewer than its size."""
        found: list[Race] = []
        first = 0
        for size, rungs in itertools.cycle(zip(self.sizes, self.rungs, strict=True)):
            if first >= n_trials:
                return found
            found.append(Race(range(first, min(first + size, n_trials)), rungs))
            first += size
        raise AssertionError

    def next(
        self,
        trials: Sequence[FrozenTrial],
        paused: set[int],
        n_trials: int | None,
        maximize: Sequence[bool],
        least: bool = False,
    ) -> int | None:
        """The paused trial to go on with; None where there is none (yet). With `least` there is to be one: of those that have
        come furthest the best."""
        if least:
            rungs = sorted({rung for each in self.rungs for rung in each})
            return promotable(trials, paused, rungs, self.reduction_factor, maximize, least=True)
        for race in self.races(len(trials) if n_trials is None else n_trials):
            whole = n_trials is not None or race.numbers.stop < len(trials)
            if whole and (chosen := self._of_race(race, trials, paused, maximize)) is not None:
                return chosen
        return None

    def _of_race(
        self, race: Race, trials: Sequence[FrozenTrial], paused: set[int], maximize: Sequence[bool]
    ) -> int | None:
        left: list[FrozenTrial] = [trial for trial in trials if trial.number in race.numbers]
        num = len(race.numbers)
        if len(left) < num:
            return None
        for index, rung in enumerate(race.rungs):
            if any(at_rung(trial, rung) is None and not trial.state.is_finished() for trial in left):
                return None
            num //= self.reduction_factor
            left = judged(left, rung, maximize)[:num]
            further = race.rungs[index + 1] if index + 1 < len(race.rungs) else None
            for trial in left:
                if trial.number in paused and (further is None or at_rung(trial, further) is None):
                    return trial.number
        return None


def brackets(node: dict[str, Any], length: float) -> Brackets:
    """The races that the node of a Hyperband pruner means, for trials of that length."""
    first, most, factor = node["min_resource"], node["max_resource"], node["reduction_factor"]
    num = 1
    while first * factor**num <= most:
        num += 1
    sizes = tuple(-(-num * factor ** (num - 1 - each) // (num - each)) for each in range(num))
    return Brackets(sizes, tuple(tuple(rungs_of(first * factor**each, factor, length)) for each in range(num)), factor)
