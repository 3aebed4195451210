"""The packages whose configs `hydra.searchpath` may add: to look into a package, Hydra imports it."""

from __future__ import annotations

from launcher.adapters.hydra import guard_packages
from launcher.errors import ConfigError

from .trust import allowed, foreign

_HYDRA = ("hydra", "hydra_plugins", "launcher")


def guard() -> None:
    """Have Hydra look into no packages but those that a config could name targets of; twice does no harm."""
    guard_packages(_refuse)


def _refuse(package: str) -> None:
    """Raises ConfigError for a package that no config may have imported."""
    root = package.partition(".")[0]
    if root not in _HYDRA and not any(allowed(name, foreign()) for name in (package, f"{package}.conf", root)):
        raise ConfigError(
            f"hydra.searchpath: pkg://{package} would be imported, which a config may not. An installed package can "
            f"declare it (entry-point group launcher.targets), or you allow it: LAUNCHER_TRUST={root}.*"
        )
