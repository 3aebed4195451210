"""Samplers that look at no other trial's result: what all of them draw is known before the first has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class Independent(BaseSampler):
    """A sampler that has nothing to say of parameters together, only of each by itself."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


def draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """An even draw; by the logarithm where the distribution says so."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(rng.integers(len(distribution.choices)))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        first, last = distribution.low, distribution.high
        if distribution.log:
            value = float(np.exp(rng.uniform(np.log(first - 0.5), np.log(last + 0.5))))
            return min(last, max(first, round(value)))
        return first + distribution.step * int(rng.integers((last - first) // distribution.step + 1))
    low, high = distribution.low, distribution.high
    if distribution.step is not None:
        value = low + distribution.step * int(rng.integers(round((high - low) / distribution.step) + 1))
        return float(min(high, value))
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if distribution.log else float(rng.uniform(low, high))
