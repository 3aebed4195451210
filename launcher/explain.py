"""What Hydra and OmegaConf refuse, said in our words: what is wrong, where it stands, and what comes nearest."""

from __future__ import annotations

import re
import typing
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, OmegaConfBaseException, ValidationError
from yaml import MarkedYAMLError

from . import schema
from .errors import ConfigError, did_you_mean
from .origins import Origins, shown
from .resolvers import refusal
from .signatures import expected, from_annotation, table

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra

TRUE = QuotedString("true", quote=Quote.double)


def syntax(line: str) -> str:
    """An override that Hydra's grammar does not read."""
    key, equals, value = line.partition("=")
    if line.startswith("="):
        return f"{line}: expected key=value; the key is missing"
    if not equals:
        return f"{line}: expected key=value, such as optimizer.lr=0.01, or group=option, such as optimizer=adamw"
    if not re.fullmatch(r"[+~]*[\w./@:$-]+", key):
        return f"{line}: {key!r} can not be a key: keys are words with dots between them, and there is no space around '='"
    return f"{line}: the value can not be read{_unbalanced(value)}; a text with special characters needs quotes: '{key}=\"{value}\"'"


def _unbalanced(value: str) -> str:
    for pair in ("[]", "{}", "()"):
        if value.count(pair[0]) != value.count(pair[1]):
            return f": {pair[0]!r} and {pair[1]!r} do not match"
    for quote in ("'", '"'):
        if value.count(quote) % 2:
            return f": the quote {quote} is not closed"
    return ""


def sweep(override: Override) -> str:
    """Several values where there is one run."""
    line = str(override.input_line)
    key, _, value = line.partition("=")
    return f"{line}: several values are a sweep: add -m. A list is written {key}=[{value}]" if override.value_type.name == "SIMPLE_CHOICE_SWEEP" else f"{line}: a range of values is a sweep: add -m"  # type: ignore[union-attr]


def refuse_option(line: str, group: str, value: Any, options: list[str], several: bool) -> None:
    """Refuse what is no option of a group. Raises ConfigError."""
    names = [entry.text if isinstance(entry, QuotedString) else entry for entry in (value if isinstance(value, list) else [value])]
    if len(names) > 1 and not several:
        raise ConfigError(f"{line}: the group {group!r} takes one option, not a list")
    for name in names:
        if name is None:
            continue
        if not isinstance(name, str) or (name not in options and "${" not in name and name != "???"):
            shown_as = name if isinstance(name, str) else "true" if name is True else str(name)
            raise ConfigError(f"{line}: no such option of the group {group!r}{_which(shown_as, names)}.{_options(shown_as, group, options)}")


def _which(name: str, names: list[Any]) -> str:
    return f": {name!r}" if len(names) > 1 else ""


def _options(name: str, group: str, options: list[str]) -> str:
    near = did_you_mean(name, options) if name else ""
    listed = f" (conf/{group} has: {', '.join(options)})" if options else ""
    return near + listed if "Did you mean" in near else f" conf/{group} has: {', '.join(options)}" if options else " It is empty"


def composition(error: Exception, hydra: Hydra, origins: Origins) -> ConfigError:
    """A composition that failed: the override that is to blame, or else the file."""
    loader: Any = hydra.config_loader
    repository = loader._parse_overrides_and_create_caching_repo(origins.config_name, [], origins.overrides)[1]

    def is_group(override: Override) -> bool:
        return not override.is_value_path and repository.group_exists(override.key_or_group) and not isinstance(override._value, dict)

    groups = [override for override in origins.overrides if is_group(override)]
    keys = [override for override in origins.overrides if not is_group(override)]
    try:
        config = hydra.compose_config(origins.config_name, [], RunMode.RUN, parsed_overrides=groups)
    except Exception as without:  # the keys are not to blame
        return files(without, origins)
    for override in keys:
        try:
            loader._apply_overrides_to_config([override], config)
        except Exception as found:
            return ConfigError(_override(override, found, config, origins, sorted(repository.get_group_options("", None))))
    return ConfigError(_short(error))


def key(override: Override, error: Exception, config: DictConfig, origins: Origins) -> ConfigError:
    """An override of a key that could not be applied to a config."""
    roots = [name for name in origins.loader.list_groups("") if name != "hydra"]
    return ConfigError(_override(override, error, config, origins, roots))


def _override(override: Override, error: Exception, config: DictConfig, origins: Origins, roots: list[str]) -> str:
    """One override of a key that could not be applied."""
    line, key = str(override.input_line), override.key_or_group
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    exists = _has(config, key)
    if override.package is not None:
        return f"{line}: there is no group {key!r}.{did_you_mean(key, roots)}"
    if override.is_delete():
        if not exists:
            return f"{line}: there is no key {key!r} to delete.{_nearest(key, config, roots)}"
        return f"{line}: {key!r} belongs to every run and can not be deleted; a value that is not wanted is null"
    if override.is_add() and exists and "already at" in str(error):
        return f"{line}: {key!r} is there already; leave out the '+'"
    if exists and isinstance(cause, ValidationError | TypeError | ValueError) and not isinstance(cause, ConfigKeyError):
        node = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(node, DictConfig):
            return f"{line}: {key!r} holds keys ({', '.join(f'{key}.{name}' for name in list(node)[:4])}, ...), not a value"
        return f"{line}: {expected(schema_type(key) or ['any'])}"
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) or not exists:
        return f"{line}: {_unknown(key, config, roots)}{_addable(override, config)}"
    return f"{line}: {_short(cause or error)}"


def _unknown(key: str, config: DictConfig, roots: list[str]) -> str:
    *parents, last = key.split(".")
    node: Any = config
    for num, part in enumerate(parents):
        if not isinstance(node, DictConfig) or part not in node:
            break
        node = OmegaConf.select(node, part, throw_on_missing=False, throw_on_resolution_failure=False)
        if not isinstance(node, DictConfig):
            path = ".".join(parents[: num + 1])
            return f"{path!r} holds {'nothing' if node is None else 'a value, no keys'}"
    else:
        if parents:
            names = [str(name) for name in node if not str(name).startswith("_")]
            return f"{'.'.join(parents)!r} has no key {last!r}.{did_you_mean(last, names)}"
    return f"there is no group or key {key!r}.{_nearest(key, config, roots)}"


def _nearest(key: str, config: DictConfig, roots: list[str]) -> str:
    """The nearest top-level word; for a key without its group (`lr`), the keys that end in it."""
    first, _, rest = key.partition(".")
    names = [str(name) for name in config if name != "hydra"]
    if first in names and rest:
        return ""
    ending = sorted(path for path in _paths(config) if path.rpartition(".")[2] == key)
    if ending:
        return f" Did you mean {' or '.join(map(repr, ending[:3]))}?"
    near = did_you_mean(first, {*names, *roots} - {"schema", "config", "hydra"})
    return near if "Did you mean" in near else " python -m launcher --help lists them."


def _paths(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
        return [path]
    found = []
    for name in node:
        if not path and name == "hydra":
            continue
        child = node._get_node(name)
        found += _paths(child, f"{path}.{name}" if path else str(name))
    return found


def _has(config: DictConfig, key: str) -> bool:
    *parents, last = key.split(".")
    try:
        node: Any = OmegaConf.select(config, ".".join(parents), throw_on_missing=False) if parents else config
    except OmegaConfBaseException:
        return False
    return isinstance(node, DictConfig) and not node._is_none() and last in [str(name) for name in node.keys()]


def _addable(override: Override, config: DictConfig) -> str:
    """Where the target knows an argument that the file leaves out: how to give it."""
    parent, _, last = override.key_or_group.rpartition(".")
    node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else None
    target = node.get("_target_") if isinstance(node, DictConfig) and not node._is_none() else None
    known = table().get(str(target))
    if known and last in known.parameters:
        return f" {target} knows it: +{override.input_line} sets it"
    return ""


def schema_type(key: str) -> list[str]:
    """The type of a key of the schema, as alternatives; none where the schema does not say."""
    node: Any = schema.Config
    for part in key.split("."):
        hints = typing.get_type_hints(node) if hasattr(node, "__dataclass_fields__") else {}
        if part not in hints:
            return []
        node = hints[part]
    return from_annotation(node, {})


def files(error: Exception, origins: Origins) -> ConfigError:
    """A composition that fails without any key from the command line: a file is to blame."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        what = (error.problem or "").replace("found duplicate key", "the same key twice:")
        return ConfigError(f"{_file(mark.name)}:{mark.line + 1}: this is no YAML: {what}")
    text = str(error)
    inside = re.match(r"In '(?P<config>[^']+)': ", text)
    path = origins.path(inside["config"]) if inside else None
    name = shown(path) if path else f"{inside['config']}" if inside else ""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        start = f"{name}: " if name else ""
        if not group:
            return ConfigError(f"{start}there is no config {option!r}")
        return ConfigError(f"{start}{group}: {option}: no such option of the group {group!r}.{_options(option, group, list(error.options or []))}")
    if isinstance(error, ConfigCompositionException) and path is not None:
        cause = error.__context__
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return ConfigError(_in_file(path, cause))
        stray = re.search(r"No earlier Group Default for '(?P<group>[^']+)'", text)
        if stray:
            loader = origins.loader
            near = did_you_mean(stray["group"], [each for each in loader.list_groups("") if each != "hydra"])
            return ConfigError(f"{name}: override /{stray['group']}: nothing before it chooses from such a group.{near}")
        return ConfigError(f"{name}: {_short(text[inside.end() :])}" if inside else _short(text))
    return ConfigError(_short(error))


def _file(name: str) -> str:
    from pathlib import Path

    return shown(Path(name))


def _in_file(path: Any, cause: OmegaConfBaseException) -> str:
    from .origins import line_of

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
    return f"{where}: {key}: {expected(types)}" if types else f"{where}: {key}: {_short(cause)}"


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
        return ConfigError(f"{start}${{{wanted}}} names no key.{_close(wanted, _paths(config))}")
    unknown = re.search(r"Unsupported interpolation type (\S+)", str(error))
    if unknown:
        return ConfigError(f"{start}${{{unknown[1]}:...}} is no resolver of the launcher's")
    return ConfigError(f"{start}{_short(error)}")


def _close(wanted: str, paths: list[str]) -> str:
    near = did_you_mean(wanted, paths)
    return near if "Did you mean" in near else ""


def missing(key: str, origins: Origins) -> str:
    """A value that a file leaves to the person: `???`."""
    found = origins.file(key)
    return f"{key}: a value is needed{f' ({found} leaves it open)' if found else ''}: give {key}=..."


def _short(error: Any) -> str:
    """The first part of a library's message, on one line."""
    text = re.split(r"\n(?:Config search path|Search path|See https|\s*full_key|\s*object_type|\s*reference_type)", str(error))[0]
    return re.sub(r"\s*\n\s*", " ", text.strip())
