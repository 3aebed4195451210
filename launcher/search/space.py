"""The points of a search space, from Hydra's own override grammar.

`optimizer.lr=1e-3,1e-2`, `choice(…)` and `range(…)` are discrete, `interval(…)` is continuous; `tag(log, …)`
draws an interval or a range by its logarithm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from launcher.errors import ConfigError
from launcher.seeds import derive


def grid(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Every combination of the discrete overrides, the last one varying fastest, as lists of overrides."""
    for override in overrides:
        if override.is_interval_sweep():
            raise ConfigError(
                f"{override.input_line}: an interval has no grid; search=random draws from it, range(…) or choice(…) has one"
            )
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        for override in overrides
    ]
    for point in itertools.product(*choices):
        yield list(point)


def random(overrides: Sequence[Override], seed: int, number: int) -> list[str]:
    """The point of trial `number`: a function of (seed, number) and the space, not of what was drawn before."""
    return [
        f"{override.get_key_element()}={_draw(override, np.random.default_rng(derive(seed, 'trial', number, override.key_or_group)))}"
        for override in overrides
    ]


def _draw(override: Override, rng: np.random.Generator) -> str:
    sweep = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    if isinstance(sweep, IntervalSweep):
        low, high = float(sweep.start or 0), float(sweep.end or 0)
        if "log" in tags:
            if low <= 0:
                raise ConfigError(f"{override.input_line}: a logarithmic interval starts above zero")
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            value = rng.uniform(low, high)
        return str(round(value)) if "int" in tags else repr(float(value))
    values = list(override.sweep_string_iterator())
    if isinstance(sweep, RangeSweep) and "log" in tags:
        steps = np.array([math.log(float(value)) for value in values])
        return values[int(np.abs(steps - rng.uniform(steps.min(), steps.max())).argmin())]
    return values[int(rng.integers(len(values)))]
