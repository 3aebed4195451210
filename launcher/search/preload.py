"""What the server that trials are forked from imports beforehand: the modules that every one of them would import by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from launcher.config.groups import GROUPS
from launcher.config.resolvers import models
from launcher.config.signatures import signature
from launcher.config.trust import allowed, whitelist
from launcher.launch.procedure import modules

from . import devices
from .settings import Settings
from .space import presets
from .space.dimensions import Dimension

_LATER = ("hydra", *(name for name, group in GROUPS.items() if not group.preloaded))
"""Groups of which a trial's process builds nothing, or nothing before it has begun."""
_OURS = ("launcher", "torch", "sklearn")


def modules_of(
    settings: Settings,
    config: DictConfig,
    dimensions: Sequence[Dimension],
    words: Sequence[str],
    parser: OverridesParser,
) -> tuple[str, ...]:
    """Modules that trials will need beside those that every fit does: of what the sweep's config names and of the options that
    are searched, where their targets are trusted.

    On a machine with GPUs a person's own modules are left to the trials: one that looks for a GPU as it is imported would
    keep every process that is forked after that from it.
    """
    patterns, foreign = whitelist(), not devices.visible()
    own = {key: value for key, value in _plain(config).items() if key not in _LATER}
    searched = [content for _, _, content in presets.options(words, parser, config)]
    named = dict.fromkeys(target for node in (own, *map(_whole, searched)) for target in _targets(node))
    trusted = [target for target in named if allowed(target, patterns)]
    kept = [target for target in trusted if foreign or target.startswith(tuple(f"{root}." for root in _OURS))]
    return (
        *dict.fromkeys(target.rpartition(".")[0] for target in kept),
        *_families(config, dimensions),
        *([] if settings.pruner is None else ["optuna", "launcher.search.early.pruning"]),
        *([] if settings.proxy is None else ["optuna", "launcher.search.early.scoring"]),
    )


def _plain(config: DictConfig) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(config, resolve=False)
    for key in ("task", "model", "data"):  # which may follow the problem
        node = config.get(key)
        if isinstance(node, DictConfig) and "_target_" in node:
            found[key] = found[key] | {"_target_": str(node._target_)}
    return dict(found)


def _whole(content: Mapping[str, Any]) -> Any:
    """A file with those that its defaults name."""
    below = [presets.file(f"{group}/{name}") for group, name in content["defaults"] if group not in _LATER]
    return {**{key: value for key, value in content.items() if key not in _LATER}, "defaults": below}


def _targets(node: Any) -> Iterator[str]:
    """Every plain `_target_` in it."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str) and "${" not in value:
                yield value
            else:
                yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _families(config: DictConfig, dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """The modules of the estimators that trials are made of, and of what is around one; of torch modules none."""
    if not signature(str(config.model._target_)).facts.get("estimator"):
        return ()
    names = {str(name) for each in dimensions if each.key == "model" for name in each.values or ()}
    targets = [target for name, both in models().items() if name in names for target in both if target is not None]
    return tuple(sorted({*modules(config), *(target.rpartition(".")[0] for target in targets)}))
