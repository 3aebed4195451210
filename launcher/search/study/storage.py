"""Where a study is kept: a journal in the sweep's folder, or any storage of Optuna's by its URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from optuna import Study
from optuna.storages import BaseStorage, JournalStorage

from launcher.artifacts.masking import mask
from launcher.artifacts.sweep import JOURNAL
from launcher.errors import ConfigError

from .away import Waiting
from .journal import Journal
from .lock import HostLock

OPENING = ".opening"
TIE, HOME = ".study", "launcher:home"
"""The folder's file with its study's id, and the study's attribute with the same id and where that folder is."""
_BEGINS = b'{"op_code'
"""What each line of Optuna's journals begins with."""
DRIVERS = {"postgresql": "psycopg[binary]", "mysql": "PyMySQL"}


def study_folder(place: Any, study: str | None, default: str) -> Path:
    """The folder of a study below the one where sweeps lie, or for `.` that one itself. Raises ConfigError for a name that would lie elsewhere."""
    study = default if study is None else study
    if place is None or not str(place).strip():
        raise ConfigError("hydra.sweep.dir is empty: leave it out, and sweeps lie in multirun/")
    if (
        not study.strip()
        or study == ".."
        or any(sign in study for sign in "/\\")
        or not f"{place}{study}".isprintable()
    ):
        raise ConfigError(
            f"hydra.sweeper.study_name={study}: a study's name is that of its folder below {place}: a word, without slashes"
        )
    if mask(study) != study:
        raise ConfigError("hydra.sweeper.study_name: looks like a secret, and the name of a folder can be seen")
    return Path(str(place)) / study


def open_storage(url: str | None, folder: Path, waiting: Waiting | None = None) -> BaseStorage:
    """The storage of that URL (a journal's is its path); the folder's journal where there is none. `waiting` is how it is
    waited for when it is away later; without it, it is not. Raises ConfigError."""
    waiting = waiting or Waiting.never()
    if url is None or url.endswith(".journal"):
        path = folder / JOURNAL if url is None else Path(url)
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"hydra.sweeper.storage={url}: there is no folder {path.parent}")
        _refuse_other(path)
        return JournalStorage(Journal(path, waiting))
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = without_login(url)
    try:
        with HostLock(folder / OPENING).held():  # the first to come makes the tables; a second one then would fail
            found = _first_or_second(lambda: RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))
        return waiting.storage(get_storage(found), f"hydra.sweeper.storage={shown}")
    except (ImportError, ArgumentError, NoSuchModuleError) as error:
        package = DRIVERS.get(url.partition(":")[0].partition("+")[0])
        if isinstance(error, ImportError) and package is not None:
            raise ConfigError(f"hydra.sweeper.storage={shown}: needs a driver: pip install {package}") from error
        raise ConfigError(
            f"hydra.sweeper.storage={shown}: expected a URL such as sqlite:///study.db or postgresql+psycopg://user@host/database, "
            "or the path of a .journal file"
        ) from error
    except SQLAlchemyError as error:
        raise ConfigError(
            f"hydra.sweeper.storage={shown}: {str(error.__cause__ or error).strip().splitlines()[0]}"
        ) from error


def _first_or_second(opened: Callable[[], BaseStorage]) -> BaseStorage:
    """What opens a database; once more where another sweep, of another folder, was just making its tables."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    try:
        return opened()
    except (IntegrityError, OperationalError, ProgrammingError):
        time.sleep(0.5)
        return opened()


def tie(study: Study, folder: Path) -> None:
    """See that the study is this folder's, which holds what its trials have left; one that is nobody's becomes its own. The
    study's lock is held. Raises ConfigError."""
    path = folder / TIE
    own = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    home = study.user_attrs.get(HOME)
    if home is None:
        home = {"id": own or uuid4().hex, "folder": str(folder.absolute())}
        study.set_user_attr(HOME, home)
    elif own != home["id"] and (own is not None or not (folder / JOURNAL).is_file()):
        mine = "this one has none" if own is None else f"this one's id is {own}"
        raise ConfigError(
            f"{folder}: hydra.sweeper.storage has a study {study.study_name!r} of another folder, {home['folder']} (its id is "
            f"{home['id']}, {mine}). Another hydra.sweeper.study_name begins a new one"
        )
    if own is None:
        path.write_text(f"{home['id']}\n", encoding="utf-8")


def without_login(url: str) -> str:
    """A storage's URL as it may be shown."""
    scheme, sign, rest = url.partition("://")
    return mask(f"{scheme}{sign}{rest.rpartition('@')[2]}" if sign else url)


def _refuse_other(path: Path) -> None:
    """Raises ConfigError for a file that is no journal: its end would be cut, and lines be written to it."""
    if path.is_file():
        with path.open("rb") as file:
            begins = file.read(len(_BEGINS))
        if not _BEGINS.startswith(begins):
            raise ConfigError(f"hydra.sweeper.storage={path}: a file that is no journal of Optuna's")


def trials_of(storage: BaseStorage, study_id: int, *states: Any) -> list[Any]:
    """The study's trials in those states (all without any), not to be changed."""
    return storage.get_all_trials(study_id, deepcopy=False, states=states or None)
