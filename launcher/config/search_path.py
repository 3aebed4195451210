"""The packages whose configs `hydra.searchpath` may add: to look into a package, Hydra imports it."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins

from launcher.errors import ConfigError

from .trust import allowed, foreign

_HYDRA = ("hydra", "hydra_plugins", "launcher")


class TrustedPackage(ImportlibResourcesConfigSource):
    """Hydra's source of `pkg://…`, for packages that a config could name targets of."""

    def _get_resources(self) -> Any:
        root = self.path.partition(".")[0]
        if root not in _HYDRA and not any(allowed(name, foreign()) for name in (self.path, f"{self.path}.conf", root)):
            raise ConfigError(
                f"hydra.searchpath: pkg://{self.path} would be imported, which a config may not. An installed package can "
                f"declare it (entry-point group launcher.targets), or you allow it: LAUNCHER_TRUST={root}.*"
            )
        return super()._get_resources()


def guard() -> None:
    """Have Hydra look into no other packages; twice does no harm."""
    Plugins.instance()  # which registers Hydra's own
    SourcesRegistry.instance().types["pkg"] = TrustedPackage
