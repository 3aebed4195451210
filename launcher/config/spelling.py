"""What a word means is up to the key that it is given to: `name=2024_06` is a text, `model.width=1_000` a number.

Hydra and YAML 1.1 guess from the word alone: 2024_06 is 202406 to both, 6e1234 infinite, and in a file `no` is false,
12:00 is 720 and 010 is 8. Here a word keeps its letters until the key's type is known.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import omegaconf.omegaconf
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.adapters.hydra import given
from launcher.adapters.omegaconf import child, is_none, is_text, raw_value
from launcher.errors import ConfigError

from .schema import Config
from .signatures import table
from .value_types import matches

_NUMBER = re.compile(
    r"^(\s*)((?:[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?\d[\d_]*)?|[-+]?inf|nan|true|false))(\s*)$",
    re.IGNORECASE,
)
"""An element of a value that Hydra's grammar takes for a number or a truth value."""
_PARTS = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[,\[\](){}])""")
"""What stands between the elements of a value, texts in quotes included."""
_ELSEWHERE = re.compile(r"\$\{|\b(?:range|interval|glob)\(")
"""In a value with one of these, numbers are not its own."""
_HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name")
_SWEEPER = "launcher.search.settings.Settings"

_INT = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]{1,3})?|[-+]?[0-9]+[eE][-+]?[0-9]{1,3}"
    r"|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_TRUTH = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def as_text(line: str) -> str:
    """An override in which the elements that are numbers or truth values are in quotes, so that Hydra reads them as texts."""
    key, equals, value = line.partition("=")
    if _ELSEWHERE.search(value):
        return line
    return key + equals + "".join(_NUMBER.sub(r"\1'\2'\3", part) for part in _PARTS.split(value))


def choices(line: str) -> str:
    """An override whose `choice(…)` has null in it, which Hydra's function does not take, as the values alone, which it does."""
    key, equals, value = line.partition("=")
    inside = re.fullmatch(r"choice\((.*)\)", value, re.DOTALL)
    if inside is None:
        return line
    depth, elements = 0, [""]
    for part in _PARTS.split(inside[1]):
        depth += (part in "([{") - (part in ")]}") if len(part) == 1 else 0
        if part == "," and depth == 0:
            elements.append("")
        else:
            elements[-1] += part
    has_null = len(elements) > 1 and any(each.strip() == "null" for each in elements)
    return f"{key}{equals}{','.join(each.strip() for each in elements)}" if has_null else line


def read(line: str, loader: ConfigLoader) -> Override:
    """An override, by Hydra's own grammar."""
    return OverridesParser.create(config_loader=loader).parse_override(line)


def spread(override: Override, repository: Any, loader: ConfigLoader) -> Override:
    """`model=glob(*)` as the options of the group that are meant. Raises ConfigError where there are none."""
    pattern = given(override)
    if not isinstance(pattern, Glob):
        return override
    key = override.key_or_group
    if not repository.group_exists(key):
        raise ConfigError(f"{override.input_line}: glob(…) is for the options of a group, and {key!r} is none")
    options = repository.get_group_options(key)
    if not (names := pattern.filter(options)):
        raise ConfigError(f"{override.input_line}: no option of {key!r} is so called; there are {', '.join(options)}")
    return OverridesParser.create(config_loader=loader).parse_override(
        f"{override.get_key_element()}={','.join(names)}"
    )


def told(lines: Iterable[str], config: DictConfig | None = None) -> list[str]:
    """Overrides, those of keys that hold texts as texts; with a config, also of the arguments of its nodes."""
    return [as_text(line) if holds_text(line.partition("=")[0].lstrip("+"), config) else line for line in lines]


def holds_text(key: str, config: DictConfig | None = None) -> bool:
    """Whether a key's value is a text or a list of texts, and nothing else but null."""
    if key in _texts():
        return True
    parent, _, last = key.rpartition(".")
    if config is None or not parent:
        return False
    try:
        node = OmegaConf.select(config, parent, throw_on_missing=False)
    except OmegaConfBaseException:
        return False
    known = table().get(str(node.get("_target_"))) if isinstance(node, DictConfig) and not is_none(node) else None
    return known is not None and _is_text(known.parameters.get(last, []))


def _is_text(alternatives: list[str]) -> bool:
    return bool(set(alternatives) & {"str", "list[str]"}) and set(alternatives) <= {"str", "list[str]", "none"}


@cache
def _texts() -> frozenset[str]:
    """The keys that hold texts whatever is chosen: those of the schema, and Hydra's own."""
    sweeper = table().get(_SWEEPER)
    own = {name for name, types in (sweeper.parameters if sweeper else {}).items() if _is_text(types)}
    return frozenset({*_HYDRA, *_of_schema(Config, ""), *(f"hydra.sweeper.{name}" for name in own)})


def _of_schema(cls: Any, path: str) -> Iterator[str]:
    node = OmegaConf.structured(cls)
    for field in dataclasses.fields(cls):
        nested: Any = field.default_factory
        if dataclasses.is_dataclass(nested):
            yield from _of_schema(nested, f"{path}{field.name}.")
            continue
        if is_text(child(node, field.name)):
            yield f"{path}{field.name}"


@contextmanager
def plain_yaml() -> Iterator[None]:
    """While it is open, files of configs are read so that only what is plainly a number or true or false is one; what
    YAML 1.1 would make of other words, `settle` may where the key wants it."""
    before: Any = omegaconf.omegaconf.get_yaml_loader  # type: ignore[attr-defined]  # it says of no name that it exports it

    def loader(**given: Any) -> Any:
        class Loader(before(**given)):  # type: ignore[misc]  # made anew by each call
            pass

        kept = {
            first: [each for each in entries if not each[0].endswith((":bool", ":int", ":float"))]
            for first, entries in Loader.yaml_implicit_resolvers.items()
        }
        Loader.yaml_implicit_resolvers = kept
        for tag, pattern, first in (
            ("bool", _BOOL, "tTfF"),
            ("int", _INT, "-+0123456789"),
            ("float", _FLOAT, "-+0123456789."),
        ):
            Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, list(first))
        return Loader

    omegaconf.omegaconf.get_yaml_loader = loader  # type: ignore[attr-defined]
    try:
        yield
    finally:
        omegaconf.omegaconf.get_yaml_loader = before  # type: ignore[attr-defined]


def settle(node: DictConfig | ListConfig) -> None:
    """Turn the arguments of every node with a `_target_` into what their types want, where a word can be that: `1_000` and
    `yes` of a file into a number and true, a plain 4 into a text. A resolved config; the schema's own keys are typed."""
    known = table().get(str(node.get("_target_"))) if isinstance(node, DictConfig) else None
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        value: Any = child(node, key)
        if isinstance(value, DictConfig | ListConfig) and is_none(value):
            continue
        types = [] if known is None else known.parameters.get(str(key), [])
        plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else raw_value(value)
        if not isinstance(value, DictConfig) and (fitting := _fitting(plain, types)) is not None:
            node[key] = fitting
        elif isinstance(value, DictConfig | ListConfig):
            settle(value)


def _fitting(value: Any, types: list[str]) -> Any:
    """What a value is, in the type that is wanted; None where it is of it already, or can not be."""
    if not types or matches(value, types):
        return None
    found = [_other(each, types) for each in value] if isinstance(value, list) else _other(value, types)
    return found if matches(found, types) else None


def _other(value: Any, types: list[str]) -> Any:
    if any("str" in each for each in types):
        return str(value) if type(value) is int else value
    if not isinstance(value, str):
        return value
    if any("bool" in each for each in types) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    for number in (int, float):
        try:
            return number(value.replace("_", "")) if re.fullmatch(r"[-+.\deE_]+", value) else value
        except ValueError:
            continue
    return value
