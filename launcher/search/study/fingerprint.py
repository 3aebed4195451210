"""What makes a sweep the same sweep: its space, its sampler and pruner, and the config that its trials share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.distributions import distribution_to_json

from launcher.artifacts.sweep import FACTS
from launcher.errors import ConfigError
from launcher.report.sweep_page import facts_of
from launcher.search.space.dimensions import Dimension, words_of

from .lock import HostLock
from .storage import without_login
from .study import LOCK

ACCEPT = "hydra.sweeper.accept_changes=true"
_FREE = ("worker", "action", "name", "tags", "debug")
"""Keys of a config that say nothing about what a trial computes."""


def identity(
    config: DictConfig,
    dimensions: Sequence[Dimension],
    sampler: Any,
    stops: dict[str, Any],
    metrics: Sequence[str],
    storage: Any,
) -> dict[str, Any]:
    """The sweep as sweep.json keeps it; `config` is the job's, without the keys that are searched, and `stops` the nodes of
    what ends trials early."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", *_FREE)])
    base: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    plain = dict(_flat(base))
    spans = {each.name: json.loads(distribution_to_json(each.distribution)) for each in dimensions}
    found = {"space": spans, "sampler": _plain(sampler), "config": plain}
    found |= {name: _plain(node) for name, node in stops.items()}
    found |= {"metrics": list(metrics), "storage": None if storage is None else without_login(storage)}
    read: dict[str, Any] = json.loads(json.dumps(found))  # as it will be read, to be compared: tuples are lists
    return read


def name_of(config: DictConfig, sampler: DictConfig, params: Mapping[str, Any], words: Sequence[str]) -> str:
    """The study's name where nobody gives it one: after the task and what is searched, so that the same command goes on."""
    task = str(config.task._target_).rpartition(".")[2]
    told = [" ".join([*when, word]) for when, word in words_of(params)]
    own = sorted(word for word in (*told, *words) if word.partition("=")[0].lstrip("+") not in ("worker", "action"))
    named = json.dumps([str(sampler._target_), own])
    return f"{task}-{hashlib.blake2b(named.encode(), digest_size=3).hexdigest()}"


def compare(folder: Path, now: dict[str, Any], changes_wanted: bool, joins: bool = False) -> bool:
    """Whether the sweep is to be taken down: the folder holds none, or another one, and changes are wanted; who joins a sweep
    changes nothing of it. Raises ConfigError with what differs."""
    known = facts_of(folder)
    if known is None:
        return True
    differing = [] if known == now else list(_differences(known, now))
    if differing and (joins or not changes_wanted):
        shown = "\n  ".join(differing[:8]) + (f"\n  and {len(differing) - 8} more" if len(differing) > 8 else "")
        accepted = f"{ACCEPT} goes on with this one"
        if joins or _other_choices(known, now):
            accepted = "worker=true joins this one as it is" if joins else "this one keeps its choices"
        raise ConfigError(
            f"{folder} holds another sweep; different are\n  {shown}\n"
            f"another hydra.sweeper.study_name begins a new one, {accepted}"
        )
    return bool(differing)


def accept(folder: Path, now: dict[str, Any], changes_wanted: bool, joins: bool = False) -> None:
    """Take down the sweep, or see that it is the one that the folder holds. Raises ConfigError with what differs."""
    with HostLock(folder / LOCK).held():
        if compare(folder, now, changes_wanted, joins):
            beside = folder / f".{FACTS}"
            beside.write_text(json.dumps(now, indent=1, sort_keys=True), encoding="utf-8")
            beside.replace(folder / FACTS)


def _other_choices(known: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a key has other choices than before, which Optuna does not change."""
    before, after = known.get("space", {}), now["space"]
    both = [(before[key], after[key]) for key in before.keys() & after.keys()]
    return any(one != other and "choices" in one["attributes"] | other["attributes"] for one, other in both)


def _differences(known: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for part in ("space", "config"):
        before, after = known.get(part, {}), now[part]
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key) or (key in before) != (key in after):
                yield f"{key}: {_shown(before, key)} -> {_shown(after, key)}"
    for part in ("sampler", "pruner", "proxy", "points", "metrics", "storage"):
        if known.get(part) != now.get(part):
            yield f"hydra.sweeper.{part}: {_shown(known, part)} -> {_shown(now, part)}"


def _shown(values: dict[str, Any], key: str) -> str:
    """A value in few words; of a distribution its ends or choices."""
    if key not in values:
        return "(absent)"
    value = values[key]
    if isinstance(value, dict) and "attributes" in value:
        told = value["attributes"]
        if "choices" in told:
            return ",".join(map(str, told["choices"]))
        name = "log " * bool(told.get("log")) + ("range" if "Int" in value["name"] or told.get("step") else "interval")
        return f"{name}({told['low']:g},{told['high']:g})"
    return json.dumps(value)


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        full = f"{path}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{full}.")
        else:
            yield full, value


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
