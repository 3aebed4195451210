"""Combinations that a search begins with, before its sampler has a say: what is known to be good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution

from launcher.adapters.optuna import contains
from launcher.errors import ConfigError, did_you_mean

from .dimensions import Dimension

KEY = "hydra.sweeper.points"
_MISSING = object()


def read(
    points: Sequence[Mapping[Any, Any]] | None,
    fixed: Sequence[str],
    dimensions: Sequence[Dimension],
    config: DictConfig,
    default_first: bool = False,
) -> list[dict[str, Any]]:
    """Each point as Optuna's names and values, the config's own first where that is asked for; what a point does not name is
    drawn. One with a choice that the command has left out is left out too. Raises ConfigError for a key that there is not, and
    a number outside of its span."""
    words = {word.partition("=")[0]: word.partition("=")[2] for word in fixed}
    chosen = config.hydra.runtime.choices
    searched = {each.key for each in dimensions}
    found = []
    for point in points or ():
        if not isinstance(point, Mapping):
            raise ConfigError(f"{KEY}: expected a list of points such as {{optimizer.lr: 0.001}}, and not {point}")
        own = {str(key): value for key, value in point.items()}
        known: dict[str, Any] = {}
        fits = True
        for key in own:
            if key in searched:
                continue
            told = words.get(key, chosen.get(key, OmegaConf.select(config, key, default=_MISSING)))
            if told is _MISSING and not any(each in ("model", "task") for each in own):
                raise ConfigError(f"{KEY}: {key} is not searched.{did_you_mean(key, searched)}")
            fits = fits and told is not _MISSING and str(told) == str(own[key])
        for each in dimensions:
            if fits and each.active(own) and each.key in own:
                fits = _in(each, own[each.key])
                known[each.name] = own[each.key]
        if fits:
            found.append(known)
    own_values = default(dimensions, config) if default_first else {}
    return [own_values, *(point for point in found if point != own_values)] if own_values else found


def default(dimensions: Sequence[Dimension], config: DictConfig) -> dict[str, Any]:
    """The config's own point as Optuna's names and values; empty where a part of it lies outside of the space, as a null
    where an interval is searched: of what goes together a half says nothing."""
    chosen = config.hydra.runtime.choices
    found: dict[str, Any] = {}
    point: dict[str, Any] = {}
    for each in dimensions:
        if not each.active(point):
            continue
        own = chosen[each.key] if each.key in chosen else OmegaConf.select(config, each.key, default=_MISSING)
        if isinstance(each.distribution, CategoricalDistribution):
            inside = [value for value in each.distribution.choices if str(value) == str(own)]
        else:
            number = isinstance(own, int | float) and not isinstance(own, bool)
            inside = [own] if number and _contains(each, own) else []
        if not inside:
            return {}
        found[each.name] = point[each.key] = inside[0]
    return found


def _in(each: Dimension, value: Any) -> bool:
    """Whether a choice is one of those that are searched. Raises ConfigError for a number that can not be drawn."""
    if isinstance(each.distribution, CategoricalDistribution):
        return value in each.distribution.choices
    if not _contains(each, value):
        raise ConfigError(f"{KEY}: {each.key}={value} is not in {each.line}")
    return True


def _contains(each: Dimension, value: Any) -> bool:
    """Whether a number lies in a span, and on its lattice."""
    try:
        return contains(each.distribution, value)
    except (ValueError, TypeError):
        return False
