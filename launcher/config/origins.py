"""Where a key of the composed config comes from: the override that was typed, or the file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from launcher import CONF

if TYPE_CHECKING:
    from hydra.core.default_element import ResultDefault
    from hydra.core.override_parser.types import Override

    from launcher.adapters.hydra import ConfigLoaderImpl


class Origins:
    """Looks a key up among the overrides, then in the files of the composition, the last one first.

    Nothing is read before it is asked for: a run without a mistake pays nothing.
    """

    def __init__(self, loader: ConfigLoaderImpl, config_name: str, overrides: list[Override]) -> None:
        self.loader = loader
        self.config_name = config_name
        self.overrides = overrides
        self._defaults: list[ResultDefault] | None = None

    def __call__(self, key: str) -> str:
        """The beginning of a message about `key`: the override as typed, or file, line and key, or the key alone."""
        for override in reversed(self.overrides):
            if key == override.key_or_group:
                return str(override.input_line)
        found = self.file(key)
        return f"{found}: {key}" if found else key

    def file(self, key: str) -> str | None:
        """`conf/optimizer/adamw.yaml:5` for a key that a file sets."""
        for default in reversed(self._list()):
            path = self.path(str(default.config_path))
            package = (default.package or "").split(".") if default.package else []
            parts = key.split(".")
            if path is not None and parts[: len(package)] == package:
                line = line_of(path, parts[len(package) :])
                if line is not None:
                    return f"{shown(path)}:{line}"
        return None

    def undecodable(self) -> Path | None:
        """A file of a person's own folders that is no text in UTF-8, if there is one."""
        own = [Path(source.path) for source in self.loader.get_sources() if source.scheme() == "file"]
        for path in (path for folder in own if folder != CONF for path in sorted(folder.rglob("*.yaml"))):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                return path
            except OSError:
                continue
        return None

    def path(self, config_path: str) -> Path | None:
        """The file of a config such as `optimizer/adamw`; None where no folder has it."""
        for source in self.loader.get_sources():
            if source.scheme() == "file":
                path = Path(source.path) / f"{config_path}.yaml"
                if path.is_file():
                    return path
        return None

    def _list(self) -> list[ResultDefault]:
        if self._defaults is None:
            from launcher.adapters.hydra import defaults_of

            groups = [override for override in self.overrides if "." not in override.key_or_group]
            self._defaults = defaults_of(self.loader, self.config_name, groups)
        return self._defaults


def shown(path: Path) -> str:
    """A path as a message shows it: ours begin with `conf/`, those below the current folder are relative."""
    if path.is_relative_to(CONF):
        return str(Path("conf") / path.relative_to(CONF))
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)


def line_of(path: Path, keys: list[str]) -> int | None:
    """The line, from 1, on which a YAML file sets a nested key; None where it does not."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        entries = {name.value: (name.start_mark.line + 1, value) for name, value in node.value}
        if key not in entries:
            return None
        line, node = entries[key]
    return line
