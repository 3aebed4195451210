"""The command of a sweep: it composes the sweep's own config and hands it to the sweeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError, did_you_mean
from launcher.process.garbage import begin

if TYPE_CHECKING:
    from launcher.adapters.hydra import Hydra


SWEEPERS = (
    "launcher.search.settings.Settings",
    "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
)
"""What a sweep's config may name as its sweeper; both mean ours, which knows that plugin's keys."""


def sweep(hydra: Hydra, name: str, overrides: list[str]) -> int:
    """Compose the sweep's own config and hand it to the sweeper; returns the exit status."""
    import inspect

    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from launcher.config import compose, hydra_compose
    from launcher.config.hydra_keys import refuse

    parsed = compose.parse(hydra, name, overrides, sweep=True)
    try:
        parsed = hydra_compose.reparse(hydra, name, parsed, RunMode.MULTIRUN)
        config = hydra.compose_config(name, overrides, RunMode.MULTIRUN, parsed_overrides=parsed)
    except compose.REFUSALS as error:
        raise hydra_compose.refusal(error, hydra, name, parsed) from error
    compose.mean_cluster(hydra, config)
    refuse(config, parsed)
    if config.action not in ("train", "plan"):
        raise ConfigError(f"action={config.action}: -m starts trainings; leave one of the two out")
    if config.hydra.sweeper.get("_target_") not in SWEEPERS:
        raise ConfigError(
            f"hydra/sweeper={config.hydra.runtime.choices['hydra/sweeper']}: a sweep is run by hydra/sweeper=launcher; leave it out"
        )
    from . import settings, sweeper

    HydraConfig.instance().set_config(config)
    OmegaConf.resolve(
        config.cluster
    )  # it may be made of hydra.launcher, which the trials' own configs take the place of
    node = config.hydra.sweeper
    known = inspect.signature(settings.Settings).parameters
    for key in node:
        if key not in known and key != "_target_":
            raise ConfigError(f"hydra.sweeper.{key}: the sweeper has no such key.{did_you_mean(str(key), known)}")
    asked = settings.read(node)
    begin()
    try:
        words: Any = OmegaConf.to_container(config.hydra.overrides.task)  # as they were typed: ${…} is each trial's own
        return sweeper.sweep(asked, config, words, OverridesParser.create(config_loader=hydra.config_loader))
    except (HydraException, OmegaConfBaseException) as error:  # a trial's own composition
        raise hydra_compose.refusal(error, hydra, name, parsed) from error
