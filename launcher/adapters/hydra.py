"""Private names of Hydra: its driver, its loader and its flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks  # hydra-core 1.4.0rc3
from hydra._internal.config_loader_impl import ConfigLoaderImpl  # hydra-core 1.4.0rc3
from hydra._internal.core_plugins.importlib_resources_config_source import (  # hydra-core 1.4.0rc3
    ImportlibResourcesConfigSource,
)
from hydra._internal.hydra import Hydra  # hydra-core 1.4.0rc3
from hydra._internal.sources_registry import SourcesRegistry  # hydra-core 1.4.0rc3
from hydra._internal.utils import create_config_search_path, get_args_parser  # hydra-core 1.4.0rc3
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import RunMode

if TYPE_CHECKING:
    from hydra.core.default_element import ResultDefault
    from omegaconf import DictConfig

__all__ = ["Callbacks", "ConfigLoaderImpl", "Hydra", "create_config_search_path", "get_args_parser"]


def given(override: Override) -> Any:
    """The value of an override as it was parsed, where `value()` turns quotes and sweeps into others."""
    return override._value  # hydra-core 1.4.0rc3


def give(override: Override, value: Any) -> None:
    """Put another value into an override."""
    override._value = value  # hydra-core 1.4.0rc3


def repository_of(loader: ConfigLoaderImpl, config_name: str, overrides: list[Override]) -> Any:
    """The repository that a composition with these overrides reads, `hydra.searchpath` obeyed."""
    return loader._parse_overrides_and_create_caching_repo(config_name, [], overrides)[1]  # hydra-core 1.4.0rc3


def apply(loader: ConfigLoaderImpl, override: Override, config: DictConfig) -> None:
    """Set the key of one override in a composed config."""
    loader._apply_overrides_to_config([override], config)  # hydra-core 1.4.0rc3


def defaults_of(loader: ConfigLoaderImpl, config_name: str, groups: Sequence[Override]) -> list[ResultDefault]:
    """The files of a composition, in the order in which they are merged."""
    found = loader._compute_defaults_list(config_name, [], RunMode.MULTIRUN, list(groups))  # hydra-core 1.4.0rc3
    return list(found.defaults)


def aliases_of(hydra: Hydra, config_name: str) -> str:
    """What the help says of the aliases of overrides."""
    return str(hydra._get_override_aliases(config_name).format())  # hydra-core 1.4.0rc3


def guard_packages(check: Callable[[str], None]) -> None:
    """Have `check` see the name of each package that `pkg://…` would import; it raises where that may not be."""

    class Guarded(ImportlibResourcesConfigSource):
        def _get_resources(self) -> Any:  # hydra-core 1.4.0rc3
            check(self.path)
            return super()._get_resources()

    Plugins.instance()  # which registers Hydra's own sources
    SourcesRegistry.instance().types["pkg"] = Guarded
