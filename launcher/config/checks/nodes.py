"""Everything about a composed config that can be refused before a device is touched.

Four layers: ranges and units of the schema; every `_target_` against the whitelist; its arguments against its
signature; and whether the parts go together. Shipped targets are looked up in the table of `signatures.py`, so that
no refusal of what the catalogue knows imports torch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.files import refuse_special
from launcher.config import schema
from launcher.config.consent import unasked
from launcher.config.counts import LENGTHS, length
from launcher.config.groups import GROUPS
from launcher.config.instantiate import refused, unwanted
from launcher.config.signatures import Signature, signature, table
from launcher.config.value_types import expected, matches
from launcher.errors import ConfigError, did_you_mean

from .compatibility import fits

CONTROLS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
"""Words of Hydra's inside a node with a `_target_`."""

_OF_HYDRA = {
    "_partial_": ["bool"],
    "_recursive_": ["bool"],
    "_args_": ["list"],
    "_convert_": ["'none'", "'partial'", "'object'", "'all'"],
}

Where = Callable[[str], str]
"""Says where a key stands, for the beginning of a message."""


def check(config: DictConfig, where: Where = str) -> None:
    """Refuse what can be known to be wrong. Raises ConfigError with one line a problem."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    problems = list(_ranges(schema.Config, plain, "", where))
    problems += _special(plain, "", where)
    problems += _nodes(plain, where)
    problems += unasked(plain, where)
    if not problems:
        problems = list(fits(plain, where))
    if problems:
        raise ConfigError("\nerror: ".join(dict.fromkeys(problems)))


def _ranges(cls: Any, values: dict[str, Any], path: str, where: Where) -> Iterator[str]:
    """The schema's own limits."""
    for field in dataclasses.fields(cls):
        key, value, limits = f"{path}{field.name}", values[field.name], field.metadata
        nested: Any = field.default_factory
        if dataclasses.is_dataclass(nested):
            yield from _ranges(nested, value, f"{key}.", where)
        elif value is None:
            continue
        elif "choices" in limits and value not in limits["choices"]:
            names = [str(choice) for choice in limits["choices"]]
            yield f"{where(key)}: expected {' or '.join(names)}{_suggest(str(value), names)}"
        elif value in limits.get("words", ()):
            continue
        elif "unit" in limits:
            try:
                schema.duration(value) if limits["unit"] == "duration" else schema.interval(value, 1000)
            except ValueError as error:
                yield f"{where(key)}: {error}"
        elif isinstance(value, float) and not isfinite(value):
            yield f"{where(key)}: expected a finite number"
        elif any(not _BOUNDS[name][0](value, limits[name]) for name in _BOUNDS if name in limits):
            yield f"{where(key)}: expected {' and '.join(f'{_BOUNDS[name][1]} {limits[name]}' for name in _BOUNDS if name in limits)}"


_PLACES = re.compile(r"(.*_)?(path|file|folder|dir|directory|forecast)s?")


def _special(node: Any, path: str, where: Where) -> Iterator[str]:
    """Paths that lead to what has no end to read to: a pipe, a socket, a device."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        key = f"{path}.{name}" if path else str(name)
        if isinstance(value, str) and _PLACES.fullmatch(key.rpartition(".")[2]):
            try:
                refuse_special(Path(value).expanduser())
            except (ConfigError, RuntimeError) as error:
                yield f"{where(key)}: {str(error).removeprefix(f'{value}: ')}"
            if "\0" in value or any(len(part.encode()) > 255 for part in value.split("/")):
                yield f"{where(key)}: no file has such a name: {'a sign of it is NUL' if chr(0) in value else 'it is longer than 255 letters'}"
        else:
            yield from _special(value, key, where)


_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "gt": (lambda value, bound: value > bound, "more than"),
    "ge": (lambda value, bound: value >= bound, "at least"),
    "lt": (lambda value, bound: value < bound, "less than"),
    "le": (lambda value, bound: value <= bound, "at most"),
}


def _suggest(word: str, words: Any) -> str:
    near = did_you_mean(word, words)
    return f".{near}" if "Did you mean" in near else ""


def _nodes(config: dict[str, Any], where: Where) -> Iterator[str]:
    """Every node with a `_target_`, and every place where there should be one."""
    provides = _provides(config["task"])
    for group, kind in GROUPS.items():
        provided = provides if group == "model" else kind.provided
        if kind.holds == "many":
            for name, node in (config[group] or {}).items():
                if not isinstance(node, dict) or "_target_" not in node:
                    yield f"{where(f'{group}.{name}')}: there is no _target_ that says what it is (an entry of {group} is one key that names it, with a node below)"
                else:
                    yield from _node(node, f"{group}.{name}", group, provided, where)
        elif config[group]:
            if "_target_" not in config[group]:
                yield f"{where(group)}: there is no _target_ that says what it is"
            else:
                yield from _node(config[group], group, group, provided, where)
        elif kind.holds == "one":
            yield f"{group}: nothing is chosen; {group}=<option> does ({_listed(group)})"


def _provides(task: dict[str, Any]) -> frozenset[str]:
    known = table().get(str((task or {}).get("_target_")))
    return frozenset(known.facts.get("provides", ())) if known else frozenset()


def _listed(group: str) -> str:
    from launcher import CONF

    return f"conf/{group} has: {', '.join(sorted(path.stem for path in (CONF / group).glob('*.yaml')))}"


def _node(node: dict[str, Any], path: str, group: str, provided: frozenset[str], where: Where) -> Iterator[str]:
    """One node and those inside it."""
    target = node["_target_"]
    top = _at_top(path, group)
    found = _known(target, group, not top)
    if isinstance(found, str):
        yield f"{where(f'{path}._target_')}: {found}"
        return
    for name in node:
        if re.fullmatch(r"_.*_", name) and name not in CONTROLS:
            yield f"{where(f'{path}.{name}')}: no word of Hydra's.{did_you_mean(name, CONTROLS)}"
    strange = [name for name in _OF_HYDRA if name in node and not matches(node[name], _OF_HYDRA[name])]
    if strange:
        yield from (f"{where(f'{path}.{name}')}: {expected(_OF_HYDRA[name], node[name])}" for name in strange)
        return
    if said := refused(node):
        yield f"{where(path)}: {said}"
    partial = GROUPS[group].partial
    if top and partial and node.get("_partial_") is not True:
        yield f"{where(path)}: '_partial_: true' is missing; the launcher calls {target} later, with what only a run knows"
    if top and not partial and node.get("_partial_"):
        yield f"{where(f'{path}._partial_')}: an entry of {group} is built at once; leave _partial_ out"
    yield from _arguments(node, path, group, found, provided if top else frozenset(), where)
    for name, value in node.items():
        yield from _inside(value, f"{path}.{name}", group, where)


def _at_top(path: str, group: str) -> bool:
    """Whether a path leads to an entry of the group, and not to a node inside one."""
    return path.count(".") == (GROUPS[group].holds == "many")


def _inside(value: Any, path: str, group: str, where: Where) -> Iterator[str]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict) and "_target_" in value:
        yield from _node(value, path, group, frozenset(), where)
    else:
        for name, child in children:
            yield from _inside(child, f"{path}.{name}", group, where)


def _known(target: Any, group: str, inside: bool) -> Signature | str:
    """The signature of a target that may stand there, or why it may not."""
    return unwanted(target, group, inside) or signature(target)


def _arguments(
    node: dict[str, Any], path: str, group: str, found: Signature, provided: frozenset[str], where: Where
) -> Iterator[str]:
    """The arguments of a node against a signature."""
    target = str(node["_target_"])
    consumed = GROUPS[group].consumed
    given = {name: value for name, value in node.items() if not re.fullmatch(r"_.*_", name) and name not in consumed}
    ours = provided if group != "model" else frozenset()
    for name, value in given.items():
        key = f"{path}.{name}"
        if name in ours:
            yield f"{where(key)}: the launcher itself gives {name!r} to {target}; leave it out"
        elif name not in found.parameters:
            if not found.open:
                names = (set(found.parameters) | consumed) - ours - {"self"}
                yield f"{where(key)}: {target} has no argument {name!r}.{did_you_mean(name, names)}"
        elif not matches(value, found.parameters[name]) and not _stands_for(group, name, value):
            lengths = f", or one of {', '.join(LENGTHS)}" if group == "scheduler" and isinstance(value, str) else ""
            yield f"{where(key)}: {expected(found.parameters[name], value)}{lengths}"
        else:
            bounds = [GROUPS[group].ranges.get(name, "float(-inf,inf)")]
            numbers = [each for each in (value if isinstance(value, list) else [value]) if type(each) in (int, float)]
            if not all(matches(number, bounds) for number in numbers):
                yield f"{where(key)}: {expected(bounds)}"
    positional = node.get("_args_") or []
    missing = [name for name in found.required[len(positional) :] if name not in given and name not in provided]
    if group == "model" and path == "model" and missing:
        return  # said by `fits`, which knows the task
    if missing and (_at_top(path, group) or not node.get("_partial_")):
        yield f"{where(path)}: {target} needs {', '.join(missing)}: give {path}.{missing[0]}=..."


def _stands_for(group: str, name: str, value: Any) -> bool:
    """Whether a word stands for a number that only the run knows."""
    word = GROUPS[group].words.get(name)
    return (group == "scheduler" and length(value) is not None) or (word is not None and value == word)
