"""The end of a composition: every interpolation resolved, and what no config may hold or leave open refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.artifacts import masking
from launcher.errors import ConfigError

from . import file_errors, override_errors, spelling
from .origins import Origins
from .schema import Config


def finish(config: DictConfig, origins: Origins) -> DictConfig:
    """The config with every interpolation resolved. Raises ConfigError for what is missing, and for secrets."""
    try:
        _refuse_variables(config)
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise file_errors.resolution(error, config, origins) from error
    strange = _strangers(config, Config)
    if strange:
        raise ConfigError(override_errors.stranger(strange[0], config, origins))
    spelling.settle(config)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError("\nerror: ".join(file_errors.missing(key, origins) for key in missing))
    found = masking.secrets(OmegaConf.to_container(config))
    if found:
        raise ConfigError(
            f"{found[0]}: looks like a secret, and a config is written to disk and to trackers. "
            "Leave it out, and put it into the environment or the service's own key file"
        )
    OmegaConf.set_struct(config, True)
    return config


def _refuse_variables(config: DictConfig) -> None:
    """Raises ConfigError where a person's own words take in what the environment holds: nobody would see that there."""
    for key in masking.FREE:
        if OmegaConf.is_missing(config, key):
            continue
        with masking.asked() as variables:
            value = config[key]
            if OmegaConf.is_config(value):
                OmegaConf.to_container(value, resolve=True, throw_on_missing=False)
        if variables:
            raise ConfigError(
                f"{key}: takes {', '.join(variables)} from the environment, and a config is written to disk and to "
                "trackers. Write out what it should say"
            )


def _strangers(node: DictConfig, cls: Any, path: str = "") -> list[str]:
    """The keys that `+` has put where the schema has none."""
    fields = cls.__dataclass_fields__
    found = [f"{path}{name!s}" for name in node if name not in fields]
    for name, field in fields.items():
        nested: Any = field.default_factory
        if dataclasses.is_dataclass(nested):
            found += _strangers(node[name], nested, f"{path}{name}.")
    return found


def folder_of(config: DictConfig) -> Path:
    """The run's folder. Raises ConfigError for a name that is none, or that tells a secret."""
    name = str(config.hydra.run.dir)
    if config.hydra.run.dir is None or not name.strip():
        raise ConfigError(
            f"hydra.run.dir={'null' if config.hydra.run.dir is None else name}: no folder is named; leave it out, and the run has one of its own"
        )
    if not name.isprintable():
        raise ConfigError(f"hydra.run.dir={name!r}: a folder's name that goes into scripts has no control characters")
    if masking.mask(name) != name:
        raise ConfigError("hydra.run.dir: looks like a secret, and the name of a folder can be seen")
    return Path(name)
