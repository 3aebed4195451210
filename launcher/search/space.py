"""The search space, in the grammar of hydra-optuna-sweeper.

`a,b` and `choice(a,b)` are choices, `range(1,9,2)` whole numbers (or `range(0,1,0.1)` a lattice), `interval(0,1)` any
number in between, `int(interval(1,9))` any whole one; `tag(log, …)` draws by the logarithm. What that sweeper's grammar
has no word for: `tag(int, interval(…))` is whole numbers too, and `tag(log, range(…))` is drawn by its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from launcher.errors import ConfigError


@dataclass(frozen=True)
class Dimension:
    """One parameter of the search: its key, Optuna's distribution of it, and every value where they can be counted."""

    key: str
    distribution: BaseDistribution
    values: tuple[Any, ...] | None
    line: str

    def corners(self) -> tuple[Any, ...]:
        """Values that show whether the key takes such values at all: each choice, or the ends of a range of numbers."""
        if isinstance(self.distribution, FloatDistribution | IntDistribution):
            return self.distribution.low, self.distribution.high
        return self.values or ()


def dimension(override: Override) -> Dimension:
    """What a sweep override spans. Raises ConfigError."""
    line = str(override.input_line)
    try:
        distribution = _distribution(override)
    except (AssertionError, ValueError, TypeError) as error:
        low_log = "log" in getattr(override.value(), "tags", ()) and "low" in str(error)
        what = "a logarithmic interval starts above zero" if low_log else str(error).partition("\n")[0]
        raise ConfigError(f"{line}: {what}") from error
    if isinstance(distribution, CategoricalDistribution):
        return Dimension(override.get_key_element(), distribution, distribution.choices, line)
    discrete = not override.is_interval_sweep()
    values = tuple(override.sweep_iterator()) if discrete else None
    return Dimension(override.get_key_element(), distribution, values, line)


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    found = create_optuna_distribution_from_override(override)
    assert isinstance(found, BaseDistribution)
    if isinstance(sweep, IntervalSweep) and "int" in tags and isinstance(found, FloatDistribution):
        return IntDistribution(math.ceil(found.low), math.floor(found.high), log="log" in tags)
    if isinstance(found, IntDistribution) and "log" in tags and found.step == 1:
        return IntDistribution(found.low, found.high, log=True)
    return found


def grid_size(dimensions: Sequence[Dimension]) -> int:
    """The number of points of the product. Raises ConfigError where a dimension has no end of them."""
    for each in dimensions:
        if each.values is None:
            raise ConfigError(
                f"{each.line}: an interval has no grid; search=random draws from it, range(…) or choice(…) has one"
            )
    return math.prod(len(each.values or ()) for each in dimensions)


def overrides(params: dict[str, Any]) -> list[str]:
    """A trial's parameters as words of a command."""
    return [f"{key}={value}" for key, value in params.items()]
