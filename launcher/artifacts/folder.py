"""A run's folder: made once, locked while somebody trains in it, taken away again by a refusal."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError

from .files import damaged, kind_of, place_of, refuse_special, yaml_of
from .metrics_file import FILE as METRICS
from .sweep import FACTS, JOURNAL, TRIALS

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG, LOCK = "config.yaml", ".lock"
CHECKPOINTS, MODEL = "checkpoints", "model"
"""Folders within a run's."""
_SWEEPS = (FACTS, JOURNAL, TRIALS)
_BESIDE = ".config.yaml"
_LOG = "wandb/*run-*/logs/debug-core.log"
"""The link by which W&B's client points from a session, which nobody writes into again, to its own log elsewhere."""
_BEGUN = (
    _BESIDE,
    ".result.json",
    ".report.html.*",
    ".provenance.json",
    ".evidence.json",
    ".model",
    ".step-*",
    ".last",
    ".best",
)


def make_folder(folder: Path) -> list[Path]:
    """Make a run's folder and its missing parents; returns what was made, outermost first.

    Two runs never get the same one: where it exists with something in it, a ConfigError says how to go on. What a
    start left behind that was killed before its config stood there is nothing.
    """
    if (folder / CONFIG).exists():
        raise ConfigError(f"hydra.run.dir={folder}: there is a run already; resume={folder} continues it")
    made = make_parents(folder, f"hydra.run.dir={folder}")
    if folder not in made and {entry.name for entry in folder.iterdir()} - {LOCK, _BESIDE}:
        raise ConfigError(f"hydra.run.dir={folder}: the folder is not empty; choose another one")
    return made


def make_parents(folder: Path, where: str) -> list[Path]:
    """Make the folder and its parents as far as they are missing; returns what was made, outermost first.

    Raises ConfigError, which begins with `where`, for one that can not be.
    """
    made = []
    for path in [*reversed(folder.parents), folder]:
        try:
            path.mkdir()
            made.append(path)
        except FileExistsError:
            if not path.is_dir():
                raise ConfigError(f"{where}: {path} is a file") from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG and path.is_dir():
                continue
            for other in reversed(made):
                other.rmdir()
            raise ConfigError(f"{where}: {path} can not be made ({error.strerror})") from None
    return made


def has_begun(folder: Path) -> bool:
    """Whether a fit in the folder, or in one of those inside it, has logged or saved anything."""
    return any(path.stat().st_size for path in folder.rglob(METRICS)) or any(folder.rglob(f"{CHECKPOINTS}/step-*"))


def remove_folder(folder: Path, made: list[Path]) -> None:
    """Undo `make_folder` after a refusal: what stands in the run's folder, then every parent that was made for it."""
    if folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    for path in reversed(made):
        try:
            path.rmdir()
        except OSError:
            continue  # already gone, or another run has come in meanwhile


def refuse_links(folder: Path) -> None:
    """Raises ConfigError for a link that leads out of a folder in which something is to be written or taken away: what
    somebody has handed on would have it done elsewhere. Neither may a pipe or a device be in it: who opens it waits for ever."""
    root, todo = folder.resolve(), [str(folder)] if folder.is_dir() else []
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    leads = Path(entry.path).resolve()
                    if not leads.is_relative_to(root) and not Path(entry.path).match(_LOG):
                        raise ConfigError(
                            f"{entry.path}: a link that leads out of the folder, to {leads}; what is written into a run "
                            "stays in it: put there what the link stands for"
                        )
                elif entry.is_dir():
                    todo.append(entry.path)
                else:
                    refuse_special(Path(entry.path))


def remove_leftovers(folder: Path) -> None:
    """Take away what a run that was killed had begun to write beside what it writes. The lock is held."""
    inside = [*folder.iterdir(), *(folder / CHECKPOINTS).glob("*")]
    for entry in [found for found in inside if any(found.match(pattern) for pattern in _BEGUN)]:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def write_config(config: DictConfig, folder: Path) -> None:
    """config.yaml, resolved, written beside, flushed to the disk and renamed."""
    from omegaconf import OmegaConf  # not for whoever only asks where things lie: a page is made without it

    beside = folder / _BESIDE
    with beside.open("w", encoding="utf-8") as file:
        file.write(OmegaConf.to_yaml(config, resolve=True))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / CONFIG)


def group_of(folder: Path) -> str | None:
    """The name of the sweep, or of the run of several fits, that a run's folder is part of; None where it stands alone."""
    parent = folder.absolute().parent
    return parent.name if any((parent / name).exists() for name in (CONFIG, *_SWEEPS)) else None


def read_config(folder: Path) -> DictConfig:
    """The finished config of a run. Raises ConfigError where there is none, or where its file is damaged."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from launcher.adapters.omegaconf import is_none

    path = folder / CONFIG
    text = yaml_of(path)
    if text is None:
        raise ConfigError(f"{folder}: no run is here (there is no {CONFIG})")
    try:
        config = OmegaConf.load(io.StringIO(text))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"no YAML{place_of(error)}") from error
    if not isinstance(config, DictConfig) or is_none(config):
        raise damaged(path, f"{kind_of(OmegaConf.to_container(config))}, where keys are expected")
    # A run writes what its words came to. What stands for something else was put there by hand, to be looked up here.
    for value in _values(OmegaConf.to_container(config)):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{path}: {value[:80]}: a run's config holds no interpolation")
    return config


def _values(node: Any) -> Iterator[Any]:
    """Every value within nested dicts and lists."""
    for each in node.values() if isinstance(node, dict) else node:
        if isinstance(each, dict | list):
            yield from _values(each)
        else:
            yield each


def plain(config: DictConfig) -> Any:
    """A config as nested dicts and lists, resolved, to be compared."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when this process ends, however it ends.

    Raises ConfigError where another process holds it. Where the file system has no locks (Lustre without `flock`),
    nobody is refused: there the rule is the person's to keep.
    """
    try:
        import fcntl
    except ImportError:  # nor has Windows
        yield
        return
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            # Not flock: data workers would inherit it, and keep it for the seconds that they outlive a killed run.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                yield
                return
            file.seek(0)
            raise ConfigError(
                f"{folder}: process {file.read().strip() or 'of another machine'} is training in it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def in_use(folder: Path) -> bool:
    """Whether another process of this machine holds the folder's lock. Not for a process that holds it itself."""
    try:
        with locked(folder):
            return False
    except ConfigError:
        return True
    except FileNotFoundError:
        return False


FORMAT = 2
"""The version of a run folder's layout; `resume` refuses another one."""
