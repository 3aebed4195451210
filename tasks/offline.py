"""The hub, when there may be no network."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from launcher.errors import ConfigError, beginning, did_you_mean

CONNECT_S = 3.0


def prepare_hub() -> bool:
    """Whether the hub can be reached; where it can not, its libraries are told so and read their cache alone.

    Left to themselves they try for 23 seconds and print every attempt. Behind a proxy nothing is probed.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname or "", port), CONNECT_S).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        for name in ("huggingface_hub.constants", "datasets.config"):
            if name in sys.modules:  # imported already, so that the variable comes too late
                vars(sys.modules[name])["HF_HUB_OFFLINE"] = True
        return False
    return True


def local_folder(key: str, path: str) -> Path | None:
    """The folder that `path` names, or None where it can only be a name on the hub.

    Raises ConfigError where it reads as a path and there is no such folder.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ConfigError(f"{key}={path}: a file; expected a folder or a name on the hub")
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        siblings = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ConfigError(f"{key}={path}: no such folder.{did_you_mean(folder.name, siblings)}")
    return None


def hub_error(key: str, name: str, error: Exception, reachable: bool) -> ConfigError:
    """One plain message for what the hub's libraries raise."""
    if not reachable:
        return ConfigError(
            f"{key}={name}: not a local folder and not in the local cache, and the hub can not be reached from here. "
            "Fetch it where there is a network, or name a folder."
        )
    return ConfigError(f"{key}={name}: the hub does not give it: {beginning(error)}")
