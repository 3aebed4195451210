"""The search space, in the grammar of hydra-optuna-sweeper.

`a,b` and `choice(a,b)` are choices, `range(1,9,2)` whole numbers (or `range(0,1,0.1)` a lattice), `interval(0,1)` any
number in between, `int(interval(1,9))` any whole one; `tag(log, …)` draws by the logarithm. What that sweeper's grammar
has no word for: `tag(int, interval(…))` is whole numbers too, and `tag(log, range(…))` is drawn by its logarithm.

In a file a parameter may depend on one before it. `hydra.sweeper.params` then holds a block under the condition, and
blocks may stand in blocks; the same key may stand in several, with another span in each:

    model: choice(svm,knn)
    model=svm:
      model.C: tag(log,interval(0.01,100))
      model.kernel: choice(rbf,linear)
      model.kernel=rbf:
        model.gamma: tag(log,interval(1e-4,1))
    model=knn:
      model.n_neighbors: range(1,30)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.trial import FrozenTrial

from launcher.adapters.hydra_optuna_sweeper import distribution_of
from launcher.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

WHEN = " when "
"""Between a parameter's key and its conditions, in the name by which Optuna knows it."""


@dataclass(frozen=True)
class Condition:
    """A parameter that comes before, and the values of it under which another one is asked for."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"

    def holds(self, point: Mapping[str, Any]) -> bool:
        return self.key in point and str(point[self.key]) in self.values


@dataclass(frozen=True)
class Dimension:
    """One parameter of the search: its key, Optuna's distribution of it, every value where they can be counted, and under
    which conditions it is asked for."""

    key: str
    distribution: BaseDistribution
    values: tuple[Any, ...] | None
    line: str
    when: tuple[Condition, ...] = ()

    @property
    def name(self) -> str:
        """What Optuna calls it: a key that stands under several conditions is as many parameters."""
        return f"{self.key}{WHEN}{' '.join(map(str, self.when))}" if self.when else self.key

    def active(self, point: Mapping[str, Any]) -> bool:
        """Whether it is asked for, where the parameters before it have these values."""
        return all(each.holds(point) for each in self.when)

    def corners(self) -> tuple[Any, ...]:
        """Values that show whether the key takes such values at all: each choice, or the ends of a range of numbers."""
        if isinstance(self.distribution, FloatDistribution | IntDistribution):
            return self.distribution.low, self.distribution.high
        return self.values or ()


def words_of(params: Mapping[Any, Any], when: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """What `hydra.sweeper.params` holds as (the conditions, the words of an override), blocks after what stands beside them."""
    for key, value in params.items():
        if not isinstance(value, Mapping):
            yield when, f"{key}={value}"
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from words_of(value, (*when, str(key)))


def condition(override: Override) -> Condition:
    """A block's own key, read as an override: `model=svm`, or `model=svm,knn`. Raises ConfigError."""
    if override.is_interval_sweep() or override.is_range_sweep():
        raise ConfigError(f"{override.input_line}: a condition names values, as model=svm or model=svm,knn")
    found = override.sweep_iterator(Transformer.encode) if override.is_sweep_override() else [override.value()]
    return Condition(override.get_key_element(), tuple(map(str, found)))


def dimension(override: Override, when: tuple[Condition, ...] = ()) -> Dimension:
    """What a sweep override spans. Raises ConfigError."""
    line = str(override.input_line)
    try:
        distribution = _distribution(override)
    except (AssertionError, ValueError, TypeError) as error:
        low_log = "log" in getattr(override.value(), "tags", ()) and "low" in str(error)
        what = "a logarithmic interval starts above zero" if low_log else str(error).partition("\n")[0]
        raise ConfigError(f"{line}: {what}") from error
    if isinstance(distribution, CategoricalDistribution):
        distribution = _told_apart(distribution)
        return Dimension(override.get_key_element(), distribution, distribution.choices, line, when)
    discrete = not override.is_interval_sweep()
    values = tuple(override.sweep_iterator()) if discrete else None
    return Dimension(override.get_key_element(), distribution, values, line, when)


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    found = distribution_of(override)
    assert isinstance(found, BaseDistribution)
    if isinstance(sweep, IntervalSweep) and "int" in tags and isinstance(found, FloatDistribution):
        return IntDistribution(math.ceil(found.low), math.floor(found.high), log="log" in tags)
    if isinstance(found, IntDistribution) and "log" in tags and found.step == 1:
        return IntDistribution(found.low, found.high, log=True)
    return found


def _told_apart(choices: CategoricalDistribution) -> CategoricalDistribution:
    """Choices that Python takes for equal and a config does not, as 1, 1.0 and true, by the words that they are written with:
    Optuna gives a trial the first of equals."""
    own = choices.choices
    if not any(one == other and type(one) is not type(other) for one in own for other in own):
        return choices
    return CategoricalDistribution(["null" if value is None else str(value) for value in own])


def grid_size(dimensions: Sequence[Dimension]) -> int:
    """The number of points of the product. Raises ConfigError where a dimension has no end of them."""
    for each in dimensions:
        if each.when:
            raise ConfigError(
                f"{each.line}: what is asked for under a condition ({each.when[-1]}) has no place in a grid; search=random draws it"
            )
        if each.values is None:
            raise ConfigError(
                f"{each.line}: an interval has no grid; search=random draws from it, range(…) or choice(…) has one"
            )
        twice = [value for at, value in enumerate(each.values) if value in each.values[:at]]
        if twice:
            raise ConfigError(f"{each.line}: {twice[0]} stands twice, and a grid has each point once")
    return math.prod(len(each.values or ()) for each in dimensions)


def size(dimensions: Sequence[Dimension]) -> int | None:
    """The number of points; None where there is no end of them."""
    total = 0
    for branch in _branches(dimensions, lambda each: each.values or (None,)):
        asked = [each for each in dimensions if each.active(branch)]
        if any(each.values is None for each in asked):
            return None
        total += math.prod(len(each.values or ()) for each in asked if each.key not in branch)
    return total


def corners(dimensions: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
    """So many points that each choice and each end of an interval stands in one, under each condition."""
    for branch in _branches(dimensions, Dimension.corners):
        ends = {each.key: each.corners() for each in dimensions if each.key not in branch and each.active(branch)}
        for index in range(max(map(len, ends.values()), default=1)):
            yield branch | {key: values[min(index, len(values) - 1)] for key, values in ends.items() if values}


def _branches(
    dimensions: Sequence[Dimension], values: Callable[[Dimension], Sequence[Any]], point: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Every combination of the values of those parameters that conditions ask for."""
    point = point or {}
    asked = {each.key for dependent in dimensions for each in dependent.when}
    pivot = next(
        (each for each in dimensions if each.key in asked and each.key not in point and each.active(point)), None
    )
    if pivot is None:
        yield point
        return
    for value in values(pivot):
        yield from _branches(dimensions, values, point | {pivot.key: value})


def point(params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters by their keys; Optuna knows them by their names."""
    return {name.partition(WHEN)[0]: value for name, value in params.items()}


def overrides(params: dict[str, Any]) -> list[str]:
    """A trial's parameters as words of a command."""
    return [f"{key}={value}" for key, value in params.items()]


def refuse_other_choices(trials: Sequence[FrozenTrial], dimensions: Sequence[Dimension], folder: Path) -> None:
    """Raises ConfigError where a study's trials have drawn from choices that are others now, or from other kinds of span."""
    before: dict[str, BaseDistribution] = {}
    for trial in trials:
        before = trial.distributions | before
    for each in dimensions:
        try:
            if each.name in before:
                check_distribution_compatibility(before[each.name], each.distribution)
        except ValueError as error:
            raise ConfigError(
                f"{folder}: {each.line}: the study has trials of other choices, and Optuna can not change them. "
                "Another hydra.sweeper.study_name begins a new study"
            ) from error


Directions = list[Literal["minimize", "maximize"]]
