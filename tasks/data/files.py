"""The user's own files, for every task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from launcher.errors import ConfigError

from ..base import encode_labels
from . import columns, pictures
from .kinds import Corpus, Images, Series, Table, Texts
from .readers import Source, files_of, find, quiet, read


class Files:
    """Tables, texts, corpora and pictures from files. What of it counts depends on the task.

    - `path` is a file, a folder or a pattern; `format` is `csv`, `tsv`, `jsonl`, `parquet` or `text`, null goes by the ending.
    - table: the column `target` is learned from the others except those in `drop`; `problem` is `classification` or `regression`.
    - series: the numbers of the column `target`, in the order of the rows; `time` names a column that has to rise with it.
    - texts: the columns `text` and `label`; or text files, a folder for each class.
    - corpus: the column `text`; or text files, a document each (a single one is cut at its blank lines, else at its lines).
    - images: a folder for each class; pictures are scaled to `size` x `size` pixels with 1 or 3 `channels`.

    `groups` names a column of a table or of texts: rows alike in it stay on one side of a split, and it is no feature.
    `classes` lists the labels that may occur, in the order of their numbers, or is their number where they are 0 to n - 1.
    """

    kind: ClassVar[tuple[str, ...]] = ("images", "texts", "corpus", "table", "series")
    packages: ClassVar[dict[str, str]] = {"datasets": "datasets", "PIL": "pillow"}

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
    ) -> None:
        if not path:
            raise ConfigError("data.path is empty: it names a file, a folder or a pattern")
        columns.refuse_problem(problem)
        if target in drop:
            raise ConfigError(f"data.drop: {target!r} is the column that is learned (data.target)")
        twice = sorted({str(each) for each in classes if classes.count(each) > 1}) if isinstance(classes, list) else []
        if twice:
            raise ConfigError(f"data.classes: {', '.join(twice)} is there twice; each label is a class of its own")
        self.path, self.format = path, format
        self.text, self.label, self.target, self.problem = text, label, target, problem
        self.drop, self.classes = tuple(drop), classes
        self.size, self.channels = size, channels
        self.groups, self.time = groups, time

    def table(self) -> Table:
        source = self._find()
        if source.format == "text":
            raise ConfigError(f"data.path={self.path}: text has no columns; a table is csv, tsv, jsonl or parquet")
        return columns.table(
            read(source), self.target, self.problem, self.drop, self.classes, source.where, self.path, self.groups
        )

    def series(self) -> Series:
        source = self._find()
        if source.format == "text":
            raise ConfigError(
                f"data.path={self.path}: text has no columns; a series is one of csv, tsv, jsonl or parquet"
            )
        return columns.series(read(source), self.target, self.time, source.where, self.path)

    def texts(self) -> Texts:
        source = self._find()
        if source.format != "text":
            dataset = read(source)
            return columns.texts(dataset, self.text, self.label, self.classes, source.where, self.path, self.groups)
        folders = [file.parent.name for file in source.files]
        if len(set(folders)) < 2:
            raise ConfigError(
                f"data.path={self.path}: text files have no labels; expected a folder for each class, or a table with the columns {self.text} and {self.label}"
            )
        numbers, names = encode_labels(folders, self.classes, lambda row: str(source.files[row]))
        return Texts(list(read(source, "document")["text"]), numbers, names)

    def corpus(self) -> Corpus:
        source = self._find()
        name = self.text
        if source.format == "text":
            name = "text"
            dataset = read(source, "document" if len(source.files) > 1 else "paragraph")
            if len(dataset) < 2:
                dataset = read(source, "line")
        else:
            dataset = read(source)
            columns.column(dataset, "data.text", name, self.path)
        return Corpus(columns.ArrowDocuments(dataset, name, source.where), self._fingerprint(source, name))

    def images(self) -> Images:
        import datasets

        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            files_of(self.path)  # says that it is not there, if so
            raise ConfigError(f"data.path={self.path}: a file; pictures are expected in a folder for each class")
        with quiet(self.path):
            dataset = datasets.load_dataset("imagefolder", data_dir=str(folder.absolute()), split="train")
        if self.label not in dataset.column_names or "image" not in dataset.column_names:
            raise ConfigError(
                f"data.path={self.path}: pictures are expected in a folder for each class, such as {folder / 'cat' / '1.png'}"
            )
        return pictures.images(
            dataset, "image", self.label, self.size, self.channels, self.classes, "picture {}".format, self.path
        )

    def _find(self) -> Source:
        return find(self.path, self.format)

    def _fingerprint(self, source: Source, name: str) -> str:
        digest = hashlib.blake2b(f"{source.format}|{name}".encode(), digest_size=16)
        for file in source.files:
            state = file.stat()
            digest.update(np.array([state.st_size, state.st_mtime_ns]).tobytes() + str(file.absolute()).encode())
        return digest.hexdigest()
