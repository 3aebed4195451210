"""What a sweep's trials take, by their own configs: a trial may be longer than another, or a fit of scikit-learn beside training."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from launcher.config.signatures import signature
from launcher.errors import ConfigError
from launcher.launch.procedure import num_jobs
from launcher.search.space.dimensions import Dimension

_LENGTHS = ("training.max_epochs", "training.max_steps", "num_seeds")
_MOST = 64
"""So many combinations of what decides the cost are composed; of more, as many that lie evenly."""


@dataclass(frozen=True)
class Kind:
    """Trials that take the same: how many (a share of one, where they are drawn), how long each of a trial's fits is in epochs or
    steps, and how many fits it has. An estimator has no length."""

    num: float
    length: float | None
    unit: str
    fits: int
    estimator: bool

    @property
    def spent(self) -> float:
        """What they spend together, in their unit."""
        return self.num * (self.length or 0) * self.fits


def by_estimator(config: DictConfig) -> bool:
    """Whether trials are fits of scikit-learn, which have neither steps nor epochs."""
    return bool(signature(str(config.model._target_)).facts.get("estimator"))


def kinds(
    dimensions: Sequence[Dimension],
    n_trials: int | None,
    grid: bool,
    compose: Callable[[dict[str, Any]], DictConfig],
    config: DictConfig,
    unit: str | None = None,
) -> list[Kind]:
    """The kinds of trials that a sweep has, of one trial where nobody says how many; `unit` is that of a pruner's rungs.

    Of a grid the first points are counted; of draws each choice has its share.
    """
    groups = set(config.hydra.runtime.choices)
    weighty = [each for each in dimensions if not each.when and (each.key in _LENGTHS or each.key in groups)]
    total, found = n_trials or 1, []
    for point, share in _shares(dimensions, weighty, total, grid):
        try:
            own = compose(point) if weighty else config
        except ConfigError:  # a combination that does not go together, which the sweep says when it comes to it
            continue
        estimator, training = by_estimator(own), own.training
        length, its = (training.max_epochs, "epochs") if unit in (None, "epochs") else (training.max_steps, "steps")
        if unit is None and training.max_steps is not None:
            length, its = training.max_steps, "steps"
        found.append(Kind(share, None if estimator else length, its, num_jobs(own), estimator))
    return found


def _shares(
    dimensions: Sequence[Dimension], weighty: Sequence[Dimension], total: int, grid: bool
) -> Iterable[tuple[dict[str, Any], float]]:
    """Each combination of what decides the cost, with how many trials have it."""
    keys = [each.key for each in weighty]
    num = math.prod(len(_values(each)) for each in weighty)
    whole = math.prod(len(_values(each)) for each in dimensions)
    if grid and total < whole:
        places = [index for index, each in enumerate(dimensions) if each in weighty]
        points = itertools.islice(itertools.product(*(_values(each) for each in dimensions)), total)
        counted = Counter(tuple(point[place] for place in places) for point in points)
        return [(dict(zip(keys, values, strict=True)), each) for values, each in counted.items()]
    every = -(-num // _MOST)
    drawn = list(itertools.islice(itertools.product(*(_values(each) for each in weighty)), every // 2, None, every))
    return [(dict(zip(keys, values, strict=True)), total / len(drawn)) for values in drawn]


def _values(each: Dimension) -> tuple[Any, ...]:
    return each.values or each.corners()


def in_words(found: Sequence[Kind], said: Callable[[float, str], str]) -> str:
    """The cost of them all: so many fits, epochs or steps."""
    parts = []
    fits = {each.fits for each in found}
    estimators = [each for each in found if each.estimator]
    trained = [each for each in found if not each.estimator and each.length is not None]
    for unit in dict.fromkeys(each.unit for each in trained):
        parts.append(said(sum(each.spent for each in trained if each.unit == unit), unit))
    if estimators:
        whose = " of estimators" if trained else ""
        parts.append(said(sum(each.num * each.fits for each in estimators), "fits") + whose)
    several = max(fits, default=1)
    if several > 1 and len(fits) == 1:
        parts.append(f"{several} a trial" if not trained else f"in {several} fits a trial")
    return ", ".join(parts)
