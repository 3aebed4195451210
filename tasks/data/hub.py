"""A data set on the hub, for every task."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from launcher.adapters.datasets import fingerprint
from launcher.errors import ConfigError, beginning

from ..offline import hub_error, prepare_hub
from . import columns
from .kinds import Corpus, Images, Series, Table, Texts
from .labelled_pictures import of_column
from .readers import find, read
from .records import of_dataset

if TYPE_CHECKING:
    from datasets import Dataset

ROW = "row {}".format
"""Says where a row stands, for errors."""


class Hub:
    """A data set of the hub through `datasets`: `path` is its name, as `owner/name`, and `config` one of its configurations.

    The columns are named as in `Files`; the picture of a row is the first column that holds some. No code that comes
    with a data set is run.
    """

    kind: ClassVar[tuple[str, ...]] = ("images", "texts", "corpus", "table", "series")
    packages: ClassVar[dict[str, str]] = {"datasets": "datasets", "PIL": "pillow"}

    def __init__(
        self,
        path: str,
        config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        text: str = "text",
        label: str = "label",
        target: str = "target",
        problem: str = "classification",
        size: int = 32,
        channels: int = 3,
        groups: str | None = None,
        time: str | None = None,
    ) -> None:
        columns.refuse_problem(problem)
        self.path, self.config, self.split, self.revision = path, config, split, revision
        self.text, self.label, self.target, self.problem = text, label, target, problem
        self.size, self.channels = size, channels
        self.groups, self.time = groups, time
        self.notes: list[str] = []

    def table(self) -> Table:
        records = of_dataset(self._load())
        found, self.notes = columns.table(records, self.target, self.problem, (), None, ROW, self.path, self.groups)
        return found

    def series(self) -> Series:
        found, self.notes = columns.series(of_dataset(self._load()), self.target, self.time, ROW, self.path)
        return found

    def texts(self) -> Texts:
        return columns.texts(of_dataset(self._load()), self.text, self.label, None, ROW, self.path, self.groups)

    def corpus(self) -> Corpus:
        dataset = self._load()
        records = of_dataset(dataset)
        records.column("data.text", self.text, self.path)
        return Corpus(columns.ArrowDocuments(records, self.text, ROW), f"{fingerprint(dataset)}|{self.text}")

    def images(self) -> Images:
        import datasets

        dataset = self._load()
        found = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
        if not found:
            raise ConfigError(
                f"data.path={self.path}: no column holds pictures; there are: {', '.join(dataset.column_names)}"
            )
        return of_column(dataset, found[0], self.label, self.size, self.channels, ROW, self.path)

    def _load(self) -> Dataset:
        reachable = prepare_hub()
        import datasets

        try:
            with _quiet(f"data.path={self.path}", str(Path(self.path).expanduser())):
                return datasets.load_dataset(
                    self.path, self.config, split=self.split, revision=self.revision, trust_remote_code=False
                )
        except ConfigError as error:
            if isinstance(error, Unreadable) or (reachable and not isinstance(error.__cause__, ConnectionError)):
                raise
            raise hub_error("data.path", self.path, error, reachable=False) from error


class Unreadable(ConfigError):
    """A file of a data set that is there and can not be read."""


@contextlib.contextmanager
def _quiet(what: str, path: str) -> Iterator[None]:
    """Keep `datasets` from drawing bars and logging, and make one message of what it raises."""
    import datasets

    datasets.disable_progress_bars()
    logger, verbosity = datasets.logging.get_logger("datasets"), datasets.logging.get_verbosity()
    heard = Heard()
    before, logger.handlers = logger.handlers, [heard]
    datasets.logging.set_verbosity(datasets.logging.ERROR)
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, datasets.exceptions.DatasetsError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = beginning(cause)
        if "corresponds to no data" in said:  # the library's word for a split that it makes of nothing
            raise ConfigError(f"{what}: can not be read: there is not one row in it") from error
        for place in dict.fromkeys([*heard.files, *([path] if Path(path).is_dir() else [])]):
            raise Unreadable(_in_own_words(place) or f"{place}: can not be read: {said}") from error
        raise ConfigError(f"{what}: can not be read: {said}") from error
    finally:
        logger.handlers = before
        datasets.logging.set_verbosity(verbosity)


class Heard(logging.Handler):
    """The files that the library's log speaks of: what it raises names none."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.files: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.files += re.findall(r"(?:file|from) '([^']+)' with error", record.getMessage())


def _in_own_words(place: str) -> str | None:
    """What our own reader says of a file, or of a folder's, which names the line; None where it finds nothing wrong."""
    try:
        read(find(place, None))
    except ConfigError as error:
        return None if str(error).startswith("data.path=") else str(error)
    return None
