"""The user's own files, for every task."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from launcher.errors import ConfigError

from ..base import encode_labels
from . import columns
from .folders import Classified, Found, alike, by_class, counted
from .kinds import Corpus, Images, Series, Table, Texts
from .picture_check import Broken
from .readers import Source, files_of, find, read
from .records import Records


class Files:
    """Tables, texts, corpora and pictures from files. What of it counts depends on the task.

    - `path` is a file, a folder or a pattern; `format` is `csv`, `tsv`, `jsonl`, `parquet` or `text`, null goes by the ending.
    - table: the column `target` is learned from the others except those in `drop`; `problem` is `classification` or `regression`.
    - series: the numbers of the column `target`, in the order of the rows; `time` names a column that has to rise with it, written as `time_format` (of `strptime`) says.
    - texts: the columns `text` and `label`; or text files, a folder for each class.
    - corpus: the column `text`; or text files, a document each (a single one is cut at its blank lines, else at its lines).
    - images: a folder for each class, or `metadata.csv` with the columns `file_name` and `label`; pictures are scaled to `size` x `size` pixels
      with 1 or 3 `channels`. With `broken=leave_out` all are decoded before the training and those that cannot be are left out.

    `groups` names a column of a table or of texts: rows alike in it stay on one side of a split, and it is no feature.
    Fields of `csv` stand between `delimiter` (null: a comma), fractions behind `decimal`.
    `notes` says what was read and what was left out.
    `classes` lists the labels that may occur, in the order of their numbers, or is their number where they are 0 to n - 1.
    """

    kind: ClassVar[tuple[str, ...]] = ("images", "texts", "corpus", "table", "series")
    packages: ClassVar[dict[str, str]] = {"pyarrow": "pyarrow", "pandas": "pandas", "PIL": "pillow"}

    def __init__(
        self,
        path: str,
        format: str | None = None,
        text: str = "text",
        label: str = "label",
        target: str = "target",
        problem: str = "classification",
        drop: Sequence[str] = (),
        classes: list[str | int] | int | None = None,
        size: int = 32,
        channels: int = 3,
        groups: str | None = None,
        time: str | None = None,
        time_format: str | None = None,
        delimiter: str | None = None,
        decimal: Literal[".", ","] = ".",
        broken: Broken = "refuse",
    ) -> None:
        if not path:
            raise ConfigError("data.path is empty: it names a file, a folder or a pattern")
        columns.refuse_problem(problem)
        if target in drop:
            raise ConfigError(f"data.drop: {target!r} is the column that is learned (data.target)")
        twice = sorted({str(each) for each in classes if classes.count(each) > 1}) if isinstance(classes, list) else []
        if twice:
            raise ConfigError(f"data.classes: {', '.join(twice)} is there twice; each label is a class of its own")
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ConfigError(f"data.delimiter={delimiter!r}: expected one character, such as ';'")
        self.path, self.format = path, format
        self.text, self.label, self.target, self.problem = text, label, target, problem
        self.drop, self.classes = tuple(drop), classes
        self.size, self.channels = size, channels
        self.groups, self.time, self.time_format = groups, time, time_format
        self.delimiter, self.decimal, self.broken = delimiter, decimal, broken
        self.notes: list[str] = []

    def table(self) -> Table:
        source = self._columns("a table is csv, tsv, jsonl or parquet")
        records = read(source)
        drop, classes, where = self.drop, self.classes, source.where
        found, notes = columns.table(records, self.target, self.problem, drop, classes, where, self.path, self.groups)
        dropped = {*drop, self.groups}
        self._tell(source, f"{len(found.y):,} rows", records, notes, dropped)
        self._tell_classes(found.y, found.classes)
        return found

    def series(self) -> Series:
        source = self._columns("a series is one of csv, tsv, jsonl or parquet")
        records = read(source)
        found, notes = columns.series(records, self.target, self.time, source.where, self.path, self.time_format)
        self._tell(source, f"{len(found.values):,} values", records, notes, set(records.names) - {self.target})
        return found

    def texts(self) -> Texts:
        source = self._find()
        if source.format != "text":
            records = read(source)
            found = columns.texts(records, self.text, self.label, self.classes, source.where, self.path, self.groups)
            others = set(records.names) - {self.text, self.label}
            self._tell(source, f"{len(found.texts):,} texts", records, [], others)
            self._tell_classes(found.labels, found.classes)
            return found
        files = self._in_folders(source)
        if len(set(files.classes)) < 2:
            raise ConfigError(
                f"data.path={self.path}: text files have no labels; expected a folder for each class, or a table with the columns {self.text} and {self.label}"
            )
        numbers, names = encode_labels(files.classes, self.classes, lambda row: str(files.files[row]))
        source.files, source.left_out = files.files, files.left_out
        records = read(source, "document")
        self._tell(source, f"{len(numbers):,} texts", records, [], set())
        self._tell_classes(numbers, names)
        return Texts(records.table.column("text").to_pylist(), numbers, names)

    def corpus(self) -> Corpus:
        source = self._find()
        name = self.text
        if source.format == "text":
            name = "text"
            records = read(source, "document" if len(source.files) > 1 else "paragraph")
            if len(records) < 2:
                records = read(source, "line")
        else:
            records = read(source)
            records.column("data.text", name, self.path)
        self._tell(source, f"{len(records):,} documents", records, [], set(records.names) - {name})
        fingerprint = f"{source.digest}|{source.format}|{source.delimiter}|{name}"
        return Corpus(columns.ArrowDocuments(records, name, source.where), fingerprint)

    def images(self) -> Images:
        from . import labelled_pictures

        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            files_of(self.path)  # says that it is not there, if so
            raise ConfigError(f"data.path={self.path}: a file; pictures are expected in a folder for each class")
        found, self.notes = labelled_pictures.of_folder(
            folder, self.label, self.size, self.channels, self.classes, self.broken, self.path
        )
        return found

    def _find(self) -> Source:
        return find(self.path, self.format, self.delimiter, self.decimal)

    def _columns(self, expected: str) -> Source:
        source = self._find()
        if source.format == "text":
            raise ConfigError(f"data.path={self.path}: text has no columns; {expected}")
        return source

    def _in_folders(self, source: Source) -> Classified:
        """Text files with the class of each: of a folder the subfolder of its first level, of a pattern the folder it lies in."""
        root = Path(self.path).expanduser()
        if root.is_dir():
            return by_class(root, Found(source.files, source.left_out))
        return Classified(source.files, source.left_out, [file.parent.name for file in source.files])

    def _tell(self, source: Source, what: str, records: Records, notes: Sequence[str], others: Set[str | None]) -> None:
        """Note what was read; what a reader says of columns that do not take part is nobody's business."""
        some = f" from {len(source.files):,} files" if len(source.files) > 1 else ""
        passed_over = [*source.left_out, *records.left_out]
        left_out = f"; left out: {', '.join(passed_over)}" if passed_over else ""
        said = [note for name, note in records.notes if name not in others]
        self.notes = [f"read: {what}{some}{left_out}", *notes, *said]

    def _tell_classes(self, numbers: np.ndarray, classes: list[str] | None) -> None:
        if classes is not None:
            self.notes.append(f"classes: {counted([classes[number] for number in numbers.tolist()])}")
            self.notes += alike(classes)
