"""What Hydra and OmegaConf refuse of the words on the command line, said in ours: what is wrong, and what comes nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from launcher.adapters.hydra import given
from launcher.adapters.omegaconf import is_none
from launcher.errors import ConfigError, did_you_mean, nearest

from .file_errors import close, files, options_of, paths_of, schema_type, short
from .groups import GROUPS
from .origins import Origins
from .signatures import table
from .value_types import expected

TRUE = QuotedString("true", quote=Quote.double)
PLACES = (
    "resume", "run", "runs", "study", "hydra.run.dir", "hydra.sweep.dir", "storage", "study_name", "path", "picture", "forecast",
    "url", "tracking_uri",
)  # fmt: skip
"""Keys, or their last words, that name a folder, a file or an address."""
ONCE = ("action", "worker", "search")
"""Beside Hydra's own, the keys of which a sweep has one value."""


def refuse_empty(line: str, key: str, value: Any) -> None:
    """Refuse nothing where a place is to be named, as an unset variable of the shell leaves it. Raises ConfigError."""
    given = value if isinstance(value, list) else [value]
    empty = any(str(getattr(each, "text", each)).strip() == "" for each in given)
    if empty and (key in PLACES or key.rpartition(".")[2] in PLACES):
        raise ConfigError(
            f"{line}: the value is empty, as a variable is that is not set; leave {key} out, or say where"
        )


def refuse_absent_folders(overrides: list[Override]) -> None:
    """Refuse folders of configs that are not there, which Hydra passes over with a warning. Raises ConfigError."""
    for override in overrides:
        if override.key_or_group != "hydra.searchpath":
            continue
        for entry in given(override) if isinstance(given(override), list) else [given(override)]:
            text = entry.text if isinstance(entry, QuotedString) else str(entry)
            scheme, separated, place = text.partition("://")
            folder = Path(place if separated else text)
            if (not separated or scheme == "file") and "${" not in text and not folder.is_dir():
                line = override.input_line
                raise ConfigError(f"{line}: {folder}: no such folder; a folder of configs is file://<its path>")


def refuse_sweep(override: Override, searched: bool) -> None:
    """Refuse several values where there is one run, and those of a key that no search can have. Raises ConfigError."""
    line = str(override.input_line)
    key, _, value = line.partition("=")
    element = override.get_key_element().lstrip("+~")
    if searched and (element in ONCE or element.startswith(("hydra.", "hydra/"))):
        raise ConfigError(
            f"{line}: {element!r} belongs to the sweep as a whole and can not be searched; give it one value"
        )
    if searched:
        return
    if override.value_type is ValueType.SIMPLE_CHOICE_SWEEP:
        raise ConfigError(f"{line}: several values are a sweep: add -m. A list is written {key}=[{value}]")
    raise ConfigError(f"{line}: a range of values is a sweep: add -m")


def refuse_option(line: str, group: str, value: Any, options: list[str], several: bool) -> None:
    """Refuse what is no option of a group. Raises ConfigError."""
    names = [
        entry.text if isinstance(entry, QuotedString) else entry
        for entry in (value if isinstance(value, list) else [value])
    ]
    if len(names) > 1 and not several:
        raise ConfigError(f"{line}: the group {group!r} takes one option, not a list")
    for name in names:
        if name is None:
            continue
        if not isinstance(name, str) or (name not in options and "${" not in name and name != "???"):
            shown_as = name if isinstance(name, str) else "true" if name is True else str(name)
            raise ConfigError(
                f"{line}: no such option of the group {group!r}{_which(shown_as, names)}.{options_of(shown_as, group, options)}"
            )


def refuse_keys(line: str, group: str, value: dict[Any, Any], several: bool) -> None:
    """Refuse a group's value that is keys and no `_target_`, which Hydra would merge into what is chosen there. Raises ConfigError."""
    nodes = [each for each in value.values() if isinstance(each, dict)] if several else [value]
    if nodes and len(nodes) == (len(value) if several else 1) and all("_target_" in node for node in nodes):
        return
    missing = f"there is no _target_ that says what {'each entry' if several else 'it'} is: " if group in GROUPS else ""
    raise ConfigError(f"{line}: {missing}{_chooses(group, several)}")


def _chooses(group: str, several: bool) -> str:
    option, key = "[<option>]" if several else "<option>", group.replace("/", ".")
    return f"{group!r} is a group, and {group}={option} chooses of it; single keys are set as {key}.<key>=<value>"


def _which(name: str, names: list[Any]) -> str:
    return f": {name!r}" if len(names) > 1 else ""


def groups(error: Exception, chosen: list[Override], origins: Origins) -> ConfigError:
    """A composition that fails with the chosen options alone: one of the choices is to blame, or else a file."""
    for override in chosen:
        if override.is_add() and "Multiple values" in str(error):
            return ConfigError(
                f"{override.input_line}: an option of {override.key_or_group!r} is chosen already; leave out the '+'"
            )
        if override.package is not None:
            place = override.get_key_element().lstrip("+")
            return ConfigError(
                f"{override.input_line}: nothing chooses from {place!r}; leave out '@{override.package}'"
            )
    return files(error, origins)


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
    if isinstance(given(override), dict) and key in roots:
        if not config.get(key):
            return f"{line}: no option of the group {key!r} is chosen; +{line.lstrip('+')} makes one of your own"
        return f"{line}: {_chooses(key, '_target_' not in config[key])}"
    if override.is_delete():
        if not exists:
            return f"{line}: there is no key {key!r} to delete.{_nearest(override, config, roots, origins)}"
        return kept(line, key)
    if override.is_add() and exists and "already at" in str(error):
        return f"{line}: {key!r} is there already; leave out the '+'"
    if exists and isinstance(cause, ValidationError | TypeError | ValueError) and not isinstance(cause, ConfigKeyError):
        node = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(node, DictConfig):
            inside = ", ".join(f"{key}.{name}" for name in list(node)[:4])
            return f"{line}: {key!r} holds keys{f' ({inside}, ...)' if inside else ''}, not a value"
        types = schema_type(key)
        return f"{line}: {expected(types) if types else short(cause)}"
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) or not exists:
        return f"{line}: {_unknown(override, config, roots, origins)}{_addable(override, config)}"
    return f"{line}: {short(cause or error)}"


def kept(line: str, key: str) -> str:
    """A key of the schema's that was to be deleted."""
    return f"{line}: {key!r} belongs to every run and can not be deleted; a value that is not wanted is null"


def _unknown(override: Override, config: DictConfig, roots: list[str], origins: Origins) -> str:
    key = override.key_or_group
    *parents, last = key.split(".")
    if parents and parents[0] in roots and not config.get(parents[0]):
        option = f"[{parents[1]}]" if len(parents) > 1 else "..."
        return f"no option of the group {parents[0]!r} is chosen; {parents[0]}={option} chooses one"
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
            others = _options_with(last, parents[0], origins) if len(parents) == 1 else ""
            if others:
                return f"{parents[0]!r} has no key {last!r} with this choice; it is one of {others}"
            return f"{'.'.join(parents)!r} has no key {last!r}.{did_you_mean(last, names)}"
    return f"there is no group or key {key!r}.{_nearest(override, config, roots, origins)}"


def _options_with(key: str, group: str, origins: Origins) -> str:
    """The options of a group that have this key, as overrides."""
    repository = origins.loader.repository
    loaded = {name: repository.load_config(f"{group}/{name}") for name in repository.get_group_options(group)}
    having = [name for name, found in loaded.items() if found is not None and key in list(found.config or ())]
    return " and ".join(f"{group}={name}" for name in having)


def _nearest(override: Override, config: DictConfig, roots: list[str], origins: Origins) -> str:
    """The nearest top-level word; for a key without its group (`lr`), the keys that end in it."""
    key = override.key_or_group
    first, _, rest = key.partition(".")
    names = [str(name) for name in config if name != "hydra"]
    if first in names and rest:
        return ""
    ending = sorted(path for path in paths_of(config) if path.rpartition(".")[2] == key)
    if ending:
        return f" Did you mean {' or '.join(map(repr, ending[:3]))}?"
    words = {*names, *roots} - {"schema", "config", "hydra"}
    taking = _groups_taking(override, origins)
    if taking and not set(nearest(first, words)) & set(taking):  # the name is far off, what it was given is not
        return f" Did you mean {' or '.join(map(repr, taking.values()))}?"
    return close(first, words) or " python -m launcher --help lists them."


def _groups_taking(override: Override, origins: Origins) -> dict[str, str]:
    """The groups with the option, or with an entry that has the key, that was given to a word that is no group: how
    each is written."""
    rest = override.key_or_group.partition(".")[2]
    if rest:
        targets = (each for each in table().values() if rest in each.parameters)
        return {group: f"{group}.{rest}" for each in targets for group in each.facts["groups"] if "." not in group}
    value = given(override)
    if not isinstance(value, str):
        return {}
    groups = (name for name in origins.loader.list_groups("") if name != "hydra")
    return {name: f"{name}={value}" for name in groups if value in origins.loader.get_group_options(name)}


def _has(config: DictConfig, key: str) -> bool:
    *parents, last = key.split(".")
    try:
        node: Any = OmegaConf.select(config, ".".join(parents), throw_on_missing=False) if parents else config
    except OmegaConfBaseException:
        return False
    return isinstance(node, DictConfig) and not is_none(node) and last in [str(name) for name in node]


def _addable(override: Override, config: DictConfig) -> str:
    """Where the target knows an argument that the file leaves out: how to give it."""
    parent, _, last = override.key_or_group.rpartition(".")
    node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else None
    target = node.get("_target_") if isinstance(node, DictConfig) and not is_none(node) else None
    known = table().get(str(target))
    if known and last in known.parameters:
        return f" {target} knows it: +{override.input_line} sets it"
    return ""


def stranger(key: str, config: DictConfig, origins: Origins) -> str:
    """A key that was added where the schema has no room for one."""
    typed = [str(each.input_line) for each in origins.overrides if f"{each.key_or_group}.".startswith(f"{key}.")]
    parent, _, last = key.rpartition(".")
    names = [str(name) for name in (config[parent] if parent else config) if name != last]
    inside = f"{parent!r} has no key {last!r}" if parent else f"there is no group or key {last!r}"
    return f"{typed[0] if typed else origins(key)}: {inside}.{close(last, names)}".rstrip(".")
