"""Tasks of other installed packages.

A package declares them in its metadata, and nothing of it is imported before it is used:

    [project.entry-points."launcher.tasks"]
    sorting = "my_package.sorting:Sorting"

With that `task=sorting` exists, what `my_package` holds may be named in a config, and a folder `conf` inside
`my_package` joins the catalogue. The group `launcher.targets` does the last two for packages without a task.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import CONF

if TYPE_CHECKING:
    from hydra.core.config_store import ConfigStore

TASKS, TARGETS = "launcher.tasks", "launcher.targets"


@dataclass(frozen=True)
class InstalledTask:
    """A task that an installed package declares."""

    name: str  # in `task=name`
    target: str  # the class's dotted name
    package: str  # the root package

    @property
    def conf(self) -> Path | None:
        """The package's own folder of configs, or None."""
        return _conf(self.package)


def installed() -> list[InstalledTask]:
    """The tasks of other packages, by name; of two with the same name the first that Python finds."""
    found: dict[str, InstalledTask] = {}
    for point in entry_points(group=TASKS):
        found.setdefault(point.name, InstalledTask(point.name, f"{point.module}.{point.attr}", _root(point)))
    return [found[name] for name in sorted(found)]


def register(config_store: ConfigStore) -> None:
    """Make `task=<name>` exist for each installed task that has no file of its own, in our catalogue or its package's."""
    for task in installed():
        folders = [CONF, *filter(None, [task.conf])]
        if not any((folder / "task" / f"{task.name}.yaml").is_file() for folder in folders):
            config_store.store(group="task", name=task.name, node={"_target_": task.target}, provider=task.package)


def search_path() -> list[str]:
    """Hydra's names for the config folders of the packages that have one; `pkg://` would ask for an `__init__.py` in each."""
    return [f"file://{folder}" for folder in map(_conf, _packages()) if folder is not None]


def trusted() -> list[str]:
    """Patterns of what the packages may be named by in a `_target_`: all that is theirs."""
    return [f"{package}.*" for package in _packages()]


def _packages() -> tuple[str, ...]:
    return _packages_on(tuple(sys.path))


@cache
def _packages_on(path: tuple[str, ...]) -> tuple[str, ...]:
    """The packages with entry points of ours; what is installed is read once, not for each object that is built."""
    points = [*entry_points(group=TASKS), *entry_points(group=TARGETS)]
    return tuple(sorted({_root(point) for point in points}))


def _root(point: EntryPoint) -> str:
    return point.module.partition(".")[0]


@cache
def _conf(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # of a root package, so that nothing is imported
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "conf"
        if folder.is_dir():
            return folder
    return None
