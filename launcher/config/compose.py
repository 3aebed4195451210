"""From the words on the command line to the composed config, once, in this process.

Hydra composes; nothing else of it runs: it changes no folder, sets up no logging and writes no file. What it refuses
is said in our words (`explain.py`).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launcher import CONF
from launcher.adapters.hydra import (
    ConfigLoaderImpl,
    Hydra,
    apply,
    create_config_search_path,
    give,
    given,
    repository_of,
)
from launcher.artifacts import masking
from launcher.errors import ConfigError, did_you_mean

from . import file_errors, hydra_keys, override_errors, resolvers, search_path, spelling, syntax_errors
from .finishing import finish, folder_of
from .groups import holding
from .origins import Origins, shown
from .schema import Config

CONFIG_NAME = "config"
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, OSError, AssertionError, RecursionError)  # fmt: skip
"""What Hydra raises while it composes something that a person got wrong."""


@dataclass
class Composed:
    """A composed config, resolved; the folder of its run; and what says where a key comes from."""

    config: DictConfig
    folder: Path
    origins: Callable[[str], str]


@contextlib.contextmanager
def session(config_dir: str | None = None) -> Iterator[Hydra]:
    """Hydra over our catalogue, the installed packages' and the user's own folder, whose files come first. Raises
    ConfigError where `config_dir` is no folder."""
    registry = importlib.import_module("launcher.tasks.registry")
    store = ConfigStore.instance()
    store.store(name="schema", node=_schema(), provider="launcher", replace=True)
    registry.register(store)
    resolvers.register()
    masking.register()
    OmegaConf.register_resolver("run_id", resolvers.run_id, replace=True, use_cache=True)
    search_path.guard()
    path = create_config_search_path(str(CONF))
    for entry in registry.search_path():
        path.prepend("launcher.tasks", entry, SearchPathQuery(provider="schema"))
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        if not folder.is_dir():
            near = (
                did_you_mean(folder.name, [each.name for each in folder.parent.iterdir() if each.is_dir()])
                if folder.parent.is_dir()
                else ""
            )
            raise ConfigError(f"--config-dir={config_dir}: no such folder.{near if 'Did' in near else ''}".rstrip("."))
        path.prepend("--config-dir", f"file://{folder}", SearchPathQuery(provider="main"))
    GlobalHydra.instance().clear()
    try:
        with spelling.plain_yaml():
            yield Hydra.create_main_hydra2(task_name="launcher", config_search_path=path)
    finally:
        GlobalHydra.instance().clear()


def _schema() -> type:
    """The schema, which chooses nothing of the groups that may be empty and that config.yaml does not name."""
    named = re.findall(r"^ +- (\w+):", (CONF / f"{CONFIG_NAME}.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    empty: list[dict[str, Any]] = [
        {name: [] if name in holding("many") else None} for name in holding("perhaps", "many") if name not in named
    ]
    if not empty:
        return Config
    defaults = field(default_factory=lambda: ["_self_", *empty])
    return make_dataclass("Schema", [("defaults", list[Any], defaults)], bases=(Config,))


def parse(hydra: Hydra, config_name: str, overrides: list[str], sweep: bool = False) -> list[Override]:
    """The overrides, read and checked as far as the catalogue's groups can tell.

    A group given as true is its option of that name, as false or null none of its options. Raises ConfigError.
    """
    loader = loader_of(hydra)
    try:
        parsed = loader.parse_overrides(config_name, [spelling.choices(each) for each in spelling.told(overrides)])
        override_errors.refuse_absent_folders(parsed)
        repository = repository_of(loader, config_name, parsed)
        parsed = [spelling.spread(each, repository, loader) if sweep else each for each in parsed]
    except OverrideParseException as error:
        raise ConfigError(syntax_errors.syntax(error.override, error)) from error
    except REFUSALS as error:
        raise file_errors.files(error, Origins(loader, config_name, [])) from error
    lists = _list_groups(hydra, config_name)
    seen: dict[str, str] = {}
    for override in parsed:
        line, key = str(override.input_line), override.get_key_element().lstrip("+~")
        if not key.partition("@")[0]:
            raise ConfigError(syntax_errors.syntax(line))
        if key == "hydra.mode":
            raise ConfigError(f"{line}: -m starts a sweep; leave the mode to it")
        if key in seen:
            raise ConfigError(f"{line}: {key!r} is given twice (also {seen[key]})")
        seen[key] = line
        override_errors.refuse_empty(line, key, given(override))
        if override.is_sweep_override():
            override_errors.refuse_sweep(override, searched=sweep)
        if key == "search" and not sweep and given(override) not in (None, False, []):
            raise ConfigError(f"{line}: a search needs -m: python -m launcher -m {line} ...")
        if not sweep and (key.startswith("hydra.sweeper.") or (key == "worker" and given(override) is True)):
            raise ConfigError(f"{line}: that is a sweep's, and there is one with -m alone")
        if override.is_value_path or not repository.group_exists(override.key_or_group):
            continue
        if given(override) in (True, False, [True]) or (given(override) is None and not override.is_delete()):
            give(override, override_errors.TRUE if given(override) else [])
            override.input_line = f'{key}="true"' if given(override) else f"{key}=[]"
        value: Any = given(override)
        options = repository.get_group_options(override.key_or_group)
        for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
            if isinstance(choice, dict):
                if options and override.key_or_group != "hydra":
                    override_errors.refuse_keys(line, override.key_or_group, choice, several=key in lists)
                if choice is value:
                    continue
            override_errors.refuse_option(line, override.key_or_group, choice, options, several=key in lists)
    return parsed


Known = dict[tuple[str, ...], DictConfig]
"""Compositions by the options chosen, before any key is set: what the trials of a sweep mostly share."""


def compose(
    hydra: Hydra,
    overrides: list[str],
    config_name: str = CONFIG_NAME,
    trial: bool = False,
    known: Known | None = None,
    job: hydra_keys.Job | None = None,
) -> Composed:
    """The finished config of one run, or of a sweep's trial, which is that `job`. Raises ConfigError for everything composition can know.

    Trials that choose the same options are composed in a third of the time with the same `known`, which is filled here.
    """
    loader = loader_of(hydra)
    parsed = parse(hydra, config_name, overrides, sweep=trial)
    origins = Origins(loader, config_name, parsed)
    config = whole(hydra, origins, known)
    mean_cluster(hydra, config)
    hydra_keys.refuse(config, parsed)
    try:
        hydra_keys.fill(config, parsed, job)
        with flag_override(config.hydra, "readonly", False):
            OmegaConf.resolve(config.hydra.launcher)  # while what it refers to is there; a cluster may be made of it
        HydraConfig.instance().set_config(config)
        folder = folder_of(config)
    except OmegaConfBaseException as error:
        raise file_errors.resolution(error, config, origins) from error
    with open_dict(config):
        del config["hydra"]
    return Composed(finish(config, origins), folder, origins)


def mean_cluster(hydra: Hydra, config: DictConfig) -> None:
    """A file of one's own in hydra/launcher that names hydra-submitit-launcher's class means cluster=slurm, as
    hydra/launcher=submitit_slurm does."""
    if config.cluster or str(config.hydra.launcher.get("_target_")).rpartition(".")[2] != "SlurmLauncher":
        return
    found = loader_of(hydra).repository.load_config("hydra/launcher/submitit_slurm")
    assert found is not None
    assert isinstance(found.config, DictConfig)
    with open_dict(config):
        config.hydra.launcher = OmegaConf.merge(found.config.hydra.launcher, config.hydra.launcher)
        config.cluster = found.config.cluster


def whole(hydra: Hydra, origins: Origins, known: Known | None = None) -> DictConfig:
    """The config with Hydra's own part in it: Hydra composes the chosen options, then each key is set by itself, so
    that whatever fails has a name. Raises ConfigError."""
    loader = origins.loader
    repository = repository_of(loader, origins.config_name, origins.overrides)
    chosen: list[Override] = []
    keys: list[Override] = []
    for override in origins.overrides:
        is_group = not override.is_value_path and repository.group_exists(override.key_or_group)
        composed = (is_group and not isinstance(given(override), dict)) or override.key_or_group == "hydra.searchpath"
        (chosen if composed else keys).append(override)
    options = tuple(str(override.input_line) for override in chosen)
    if known is not None and options in known:
        config = copy.deepcopy(known[options])
    else:
        try:
            config = hydra.compose_config(
                origins.config_name, [], RunMode.RUN, parsed_overrides=chosen, validate_sweep_overrides=False
            )
        except REFUSALS as error:
            raise override_errors.groups(error, chosen, origins) from error
        if known is not None:
            known[options] = copy.deepcopy(config)
    for override in keys:
        if not override.is_sweep_override() or OmegaConf.select(config, override.key_or_group) is None:
            set_key(config, override, origins)
    return config


def set_key(config: DictConfig, override: Override, origins: Origins) -> None:
    """Apply one override of a key. Raises ConfigError."""
    if override.is_delete() and override.key_or_group in Config.__dataclass_fields__:
        raise ConfigError(override_errors.kept(str(override.input_line), override.key_or_group))
    line = str(override.input_line)
    try:
        if not override.is_delete() and (text := spelling.told([line], config)[0]) != line:
            override = spelling.read(text, origins.loader)
        apply(origins.loader, override, config)
    except REFUSALS as error:
        raise override_errors.key(override, error, config, origins) from error


def refusal(error: Exception, hydra: Hydra, config_name: str, parsed: list[Override]) -> ConfigError:
    """What to say of a composition that failed elsewhere: what `whole` says of the same overrides."""
    try:
        whole(hydra, Origins(loader_of(hydra), config_name, parsed))
    except ConfigError as found:
        return found
    return ConfigError(file_errors.short(error))


def loader_of(hydra: Hydra) -> ConfigLoaderImpl:
    """Hydra's loader, by its real type: the abstract one hides what messages are made of."""
    loader: Any = hydra.config_loader
    return loader  # type: ignore[no-any-return]  # the only loader there is


_LISTS: WeakKeyDictionary[Hydra, dict[str, set[str]]] = WeakKeyDictionary()  # of a session: a sweep asks for each trial


def _list_groups(hydra: Hydra, config_name: str) -> set[str]:
    """The groups of which several options may be chosen: those of the table that hold many, and those with a list in the
    primary config."""
    known = _LISTS.setdefault(hydra, {})
    if config_name in known:
        return known[config_name]
    loader = loader_of(hydra)
    loaded = loader.repository.load_config(config_name)
    if loaded is None:
        names = [name for name in loader.get_group_options("") if name != "schema" and not name.startswith("_")]
        folders = ", ".join(
            shown(Path(source.path)) for source in loader.get_sources() if source.provider in ("main", "--config-dir")
        )
        raise ConfigError(f"--config-name={config_name}: no such file in {folders}.{did_you_mean(config_name, names)}")
    defaults: list[Any] = loaded.defaults_list or []
    listed = (str(each.group) for each in defaults if getattr(each, "is_options", bool)())
    return known.setdefault(config_name, {*holding("many"), *listed})
