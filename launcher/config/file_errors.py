"""What a config file has wrong, said in our words, with the file and the line."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from launcher.adapters.hydra import given
from launcher.adapters.omegaconf import child as child_of
from launcher.adapters.omegaconf import is_open
from launcher.errors import ConfigError, did_you_mean

from . import schema
from .origins import Origins, line_of, shown
from .resolvers import refusal
from .signatures import from_annotation
from .value_types import expected


def files(error: Exception, origins: Origins) -> ConfigError:
    """A composition that fails without any key from the command line: a file is to blame."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        what = (error.problem or "").replace("found duplicate key", "the same key twice:")
        return ConfigError(f"{shown(Path(mark.name))}:{mark.line + 1}: this is no YAML: {what}")
    if isinstance(error, RecursionError):
        circle = " -> ".join(_circle(origins))
        return ConfigError(f"defaults that name each other in a circle: {circle}" if circle else "nested too deeply")
    if isinstance(error, UnicodeDecodeError) and (undecodable := origins.undecodable()) is not None:
        return ConfigError(f"{shown(undecodable)}: not a text in UTF-8")
    text = str(error)
    inside = re.match(r"In '(?P<config>[^']+)': ", text)
    path = origins.path(inside["config"]) if inside else None
    name = shown(path) if path else f"{inside['config']}" if inside else ""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        start = f"{_chooser(group, option, origins) or name or 'conf/config.yaml'}: "
        if not group:
            return ConfigError(f"{start}there is no config {option!r}")
        return ConfigError(
            f"{start}{group}: {option}: no such option of the group {group!r}.{options_of(option, group, list(error.options or []))}"
        )
    if isinstance(error, ConfigCompositionException) and path is not None:
        cause = error.__context__
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return ConfigError(in_file(path, cause))
        stray = re.search(r"No earlier Group Default for '(?P<group>[^']+)'", text)
        if stray:
            loader = origins.loader
            near = did_you_mean(stray["group"], [each for each in loader.list_groups("") if each != "hydra"])
            return ConfigError(
                f"{name}: override /{stray['group']}: nothing before it chooses from such a group.{near}"
            )
        return ConfigError(f"{name}: {short(text[inside.end() :])}" if inside else short(text))
    return ConfigError(short(error))


def _circle(origins: Origins) -> list[str]:
    """The files whose defaults lead back to the first of them; none where there is no such circle."""

    def walk(config: str, above: list[str]) -> list[str]:
        if config in above:
            return [*above[above.index(config) :], config]
        loaded = origins.loader.repository.load_config(config)
        for each in (loaded.defaults_list if loaded is not None else None) or ():
            group, value = getattr(each, "group", None), getattr(each, "value", getattr(each, "path", None))
            if not isinstance(value, str) or value == "_self_":
                continue
            here = config.rpartition("/")[0]
            name = f"{group}/{value}" if group else value
            inner = name.lstrip("/") if name.startswith("/") or not here else f"{here}/{name}"
            if found := walk(inner, [*above, config]):
                return found
        return []

    for override in origins.overrides:
        values = given(override) if isinstance(given(override), list) else [given(override)]
        for value in values:
            if found := walk(f"{override.key_or_group}/{value}", []):
                return found
    return walk(origins.config_name, [])


def _chooser(group: str, option: str, origins: Origins) -> str | None:
    """The file, among those the command line chooses, that says `override /group: option`; and its line."""
    wanted = re.compile(rf"\s*-\s*(override\s+)?/?{re.escape(group)}(@\S+)?\s*:.*\b{re.escape(option)}\b")
    for override in origins.overrides:
        values = given(override) if isinstance(given(override), list) else [given(override)]
        for value in values:
            path = origins.path(f"{override.key_or_group}/{value}")
            lines = path.read_text(encoding="utf-8").splitlines() if path else []
            for num, line in enumerate(lines, start=1):
                if path and wanted.match(line):
                    return f"{shown(path)}:{num}"
    return None


def in_file(path: Path, cause: OmegaConfBaseException) -> str:
    """A key or value of a file that the schema refuses."""
    key = str(cause.full_key)
    line = next((found for num in range(key.count(".") + 2) if (found := line_of(path, key.split(".")[num:]))), None)
    where = f"{shown(path)}:{line}" if line else shown(path)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        parent, _, last = key.rpartition(".")
        structure = OmegaConf.structured(schema.Config)
        node = OmegaConf.select(structure, parent) if parent else structure
        inside = f"{parent!r} has no key" if parent else "there is no group or key"
        names = [str(each) for each in node] if isinstance(node, DictConfig) else []
        return f"{where}: {inside} {last!r}.{did_you_mean(last, names)}"
    types = schema_type(key)
    return f"{where}: {key}: {expected(types)}" if types else f"{where}: {key}: {short(cause)}"


def resolution(error: OmegaConfBaseException, config: DictConfig, origins: Origins) -> ConfigError:
    """An interpolation that leads nowhere, or a resolver that refuses."""
    said = refusal(error)
    if said is not None:
        return ConfigError(said)
    key = str(error.full_key or "")
    start = f"{origins(key)}: " if key else ""
    if isinstance(error, InterpolationKeyError):
        named = re.search(r"Interpolation key '([^']+)'", str(error))
        wanted = named[1] if named else ""
        return ConfigError(
            f"{start}${{{wanted}}} names no key.{close(wanted, [path for path in paths_of(config) if not path.endswith('_')])}"
        )
    unknown = re.search(r"Unsupported interpolation type (\S+)", str(error))
    if unknown:
        return ConfigError(f"{start}${{{unknown[1]}:...}} is no resolver of the launcher's")
    return ConfigError(f"{start}{short(error)}")


def close(word: str, words: Iterable[str]) -> str:
    """`did_you_mean`, but nothing rather than all the words."""
    near = did_you_mean(word, words)
    return near if "Did you mean" in near else ""


def missing(key: str, origins: Origins) -> str:
    """A value that a file leaves to the person: `???`."""
    found = origins.file(key)
    return f"{key}: a value is needed{f' ({found} leaves it open)' if found else ''}: give {key}=..."


def short(error: Any) -> str:
    """The first part of a library's message, on one line."""
    text = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error))
    text = re.split(
        r"\n(?:Config search path|Search path|See https|\s*full_key|\s*object_type|\s*reference_type)", text
    )[0]
    return re.sub(r"\s*\n\s*", " ", text.strip().strip('"'))


def options_of(name: str, group: str, options: list[str]) -> str:
    near = did_you_mean(name, options) if name else ""
    listed = f" (conf/{group} has: {', '.join(options)})" if options else ""
    return (
        near + listed
        if "Did you mean" in near
        else f" conf/{group} has: {', '.join(options)}"
        if options
        else " It is empty"
    )


def paths_of(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, DictConfig) or not is_open(node):
        return [path]
    found = []
    for name in node:
        if not path and name == "hydra":
            continue
        inner = child_of(node, name)
        found += paths_of(inner, f"{path}.{name!s}" if path else str(name))
    return found


def schema_type(key: str) -> list[str]:
    """The type of a key of the schema, as alternatives; none where the schema does not say."""
    node: Any = schema.Config
    for part in key.split("."):
        hints = typing.get_type_hints(node) if hasattr(node, "__dataclass_fields__") else {}
        if part not in hints:
            return []
        node = hints[part]
    return from_annotation(node, {})
