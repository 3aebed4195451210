"""Options of a group that are searched, and bring something of their own to the search: their files, as they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import DictConfig, OmegaConf

from launcher.errors import ConfigError


def options(words: Sequence[str], parser: OverridesParser, config: DictConfig) -> Iterator[tuple[str, str, Any]]:
    """Each option that is searched as (group, option, what its file says), of those that are files of one."""
    for override in parser.parse_overrides(list(words)):
        group, sweep = override.get_key_element().lstrip("+"), override.value()
        if not isinstance(sweep, ChoiceSweep) or group not in {
            *config.hydra.runtime.choices,
            *_loader().list_groups(""),
        }:
            continue
        for name in map(str, override.sweep_iterator()):
            if (content := file(f"{group}/{name}")) is not None:
                yield group, name, content


def file(path: str) -> dict[str, Any] | None:
    """What the file of an option says, as it was written, with the options that its own defaults name under `defaults`; None where
    there is none."""
    found = _loader().repository.load_config(path)
    if found is None or not isinstance(found.config, DictConfig):
        return None
    content = cast(dict[str, Any], OmegaConf.to_container(found.config, resolve=False))
    named = [(each.group, each.value) for each in found.defaults_list or () if isinstance(each, GroupDefault)]
    return content | {"defaults": [(str(group).strip("/"), name) for group, name in named if isinstance(name, str)]}


def spaces(words: Sequence[str], parser: OverridesParser, config: DictConfig) -> dict[str, dict[str, Any]]:
    """The spaces of those options, as blocks under the condition that the option is drawn: what hydra.sweeper.params would hold.

    Raises ConfigError for what an option says of the sweep beside that, and the command does not: a sweep has one sampler, and
    one number of trials.
    """
    typed = [word.lstrip("+").partition("=")[0].replace("/", ".") for word in config.hydra.overrides.hydra]
    blocks: dict[str, dict[str, Any]] = {}
    for group, name, content in options(words, parser, config):
        own = content.get("hydra")
        sweeper = own.get("sweeper") if isinstance(own, Mapping) else None
        for key, value in sweeper.items() if isinstance(sweeper, Mapping) else ():
            if key == "params":
                blocks[f"{group}={name}"] = dict(value or {})
            elif f"hydra.sweeper.{key}" not in typed and value != OmegaConf.select(config, f"hydra.sweeper.{key}"):
                raise ConfigError(
                    f"{group}={name} is searched, and sets hydra.sweeper.{key}={value}: that is the whole sweep's. "
                    f"Say it on the command line, or give each {group} a sweep of its own"
                )
    return blocks


def _loader() -> Any:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.config_loader
