"""The user's files, found, looked through for what is wrong with them, and read into columns.

The look comes first and costs about a second for 100 MB: what a reader of whole columns says of a broken file names no
line, and of a row that is too short it says nothing at all.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.console.numbers import things
from launcher.errors import ConfigError, did_you_mean

from .cells import typed
from .folders import Found, below
from .json_columns import columns as json_columns
from .packing import cached, key
from .parquet import read_parquet
from .parsing import fields, is_empty, objects, readable
from .records import Records, refuse_others
from .words import fields_of

if TYPE_CHECKING:
    pass

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
FORMATS = ("csv", "tsv", "jsonl", "parquet", "text")
LARGE = 64 << 20
"""Files of that many bytes together are kept in the cache as columns, and mapped from there; smaller ones are read anew."""
READER = 2
"""Part of the cache's key: what another reader has made of a file is not taken."""


@dataclass
class Source:
    """Files of one format."""

    format: str
    files: list[Path]
    delimiter: str = ","
    decimal: str = "."
    left_out: list[str] = field(default_factory=list)
    """What of a folder was passed over, in words."""
    rows: list[int] = field(default_factory=list)  # of each file, once they are read

    def where(self, row: int) -> str:
        """The file and line at which a row of the whole stands (texts are not rows: their number alone)."""
        if self.format == "text":
            return f"text {row}"
        for path, num in zip(self.files, self.rows, strict=False):
            if row < num:
                return f"{path}:{self._line(path, row)}" if self.format != "parquet" else f"{path}: row {row}"
            row -= num
        return f"row {row}"

    def _line(self, path: Path, row: int) -> int:
        if self.format in ("csv", "tsv"):
            rows = (line for line, found in fields(path, self.delimiter) if not is_empty(found))
            return next(islice(rows, row + 1, None))
        return next(line for number, (line, _) in enumerate(objects(path)) if number == row)

    @cached_property
    def digest(self) -> str:
        """Changes with the content of the files, whatever their times say."""
        whole = hashlib.blake2b(digest_size=16)
        for path in self.files:
            with readable(path), path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "blake2b").digest())
        return whole.hexdigest()


def find(path: str, format: str | None, delimiter: str | None = None, decimal: str = ".") -> Source:
    """The files that `data.path` names: a file, the files of a folder, or those that match a pattern such as `logs/*.jsonl`.

    Raises ConfigError where there are none, they are of several formats, or all are empty.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"data.format={format}: expected {', '.join(FORMATS)}, or null to go by the ending.{did_you_mean(format, FORMATS)}"
        )
    found = files_of(path)
    files = found.files
    if format is None:
        known = sorted({ENDINGS[file.suffix.lower()] for file in files if file.suffix.lower() in ENDINGS})
        if len(known) != 1:
            what = f"files of several formats: {', '.join(known)}" if known else "no file whose ending is known"
            raise ConfigError(f"data.path={path}: {what}; data.format=csv|tsv|jsonl|parquet|text chooses")
        format = known[0]
        files = [file for file in files if file.suffix.lower() in ENDINGS]
    else:  # any ending that does not stand for another format
        files = [file for file in files if ENDINGS.get(file.suffix.lower(), format) == format] or files
    left_out = list(found.left_out)
    if len(files) < len(found.files):
        left_out.append(f"{len(found.files) - len(files)} of other endings")
    source = Source(format, files, delimiter or ("\t" if format == "tsv" else ","), decimal, left_out)
    if format == "text" and len(files) > 1:  # a folder of texts may have empty ones
        source.files = [file for file in files if _says_something(file)]
        if not source.files:
            raise ConfigError(f"data.path={path}: all its files are empty")
        if len(source.files) < len(files):
            left_out.append(f"{len(files) - len(source.files)} without a word")
    return source


def _says_something(path: Path) -> bool:
    with readable(path), path.open(encoding="utf-8-sig") as file:
        return any(line.strip() for line in file)


def read(source: Source, sample_by: str = "line") -> Records:
    """The rows of all files; text has the column `text`, cut by `line`, `paragraph` or `document`.

    Raises ConfigError for a file that is empty, unreadable or malformed; then it names the file and the line.
    """
    if sum(file.stat().st_size for file in source.files) < LARGE or source.format == "parquet":
        return _read(source, sample_by)
    name = key(
        reader=READER,
        content=source.digest,
        files=[str(file) for file in source.files],
        how=[source.format, source.delimiter, source.decimal, sample_by],
    )
    folder = cached("columns", name, lambda folder: _keep(_read(source, sample_by), source, folder))
    return _kept(source, folder)


def _keep(records: Records, source: Source, folder: Path) -> None:
    import pyarrow

    with pyarrow.ipc.new_file(str(folder / "rows.arrow"), records.table.schema) as file:
        file.write_table(records.table)
    said = {"nested": sorted(records.nested), "notes": records.notes, "rows": source.rows, "left_out": records.left_out}
    (folder / "read.json").write_text(json.dumps(said), encoding="utf-8")


def _kept(source: Source, folder: Path) -> Records:
    import pyarrow

    said = json.loads((folder / "read.json").read_text(encoding="utf-8"))
    source.rows = said["rows"]
    table = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / "rows.arrow"))).read_all()
    notes = [(name, note) for name, note in said["notes"]]
    return Records(table, nested=frozenset(said["nested"]), notes=notes, left_out=said["left_out"])


def _read(source: Source, sample_by: str) -> Records:
    if source.format == "text":
        return _read_texts(source, sample_by)
    if source.format == "parquet":
        records = read_parquet(source.files, source.rows)
    elif source.format == "jsonl":
        records = _read_objects(source)
    else:
        records = _read_words(source)
    for path, num in zip(source.files, source.rows, strict=True):
        if num == 0:
            raise ConfigError(f"{path}: the file is empty" if path.stat().st_size == 0 else f"{path}: holds no row")
    return records


def _read_texts(source: Source, sample_by: str) -> Records:
    import pyarrow

    texts: list[str] = []
    for path in source.files:
        with readable(path):
            whole = path.read_text(encoding="utf-8-sig")
        if not whole.strip():
            raise ConfigError(f"{path}: the file is empty" if not whole else f"{path}: holds no word")
        if sample_by == "document":
            texts.append(whole)
        elif sample_by == "line":
            texts += [line for line in whole.split("\n") if line.strip()]
        else:
            texts += [part for part in re.split(r"\n(?:[^\S\n]*\n)+", whole) if part.strip()]
    return Records(pyarrow.table({"text": pyarrow.array(texts, pyarrow.large_string())}))


def _read_objects(source: Source) -> Records:
    def rows() -> Iterator[dict[str, Any]]:
        for path in source.files:
            num = 0
            with readable(path):
                for _, row in objects(path):
                    num += 1
                    yield row
            source.rows.append(num)

    source.rows = []
    table, nested, mixed = json_columns(rows())
    notes = [(name, f"{name!r} holds values of several types and is read as text") for name in mixed]
    return Records(table, nested=nested, notes=notes)


def _read_words(source: Source) -> Records:
    import pyarrow

    source.rows, tables, empty = [], [], []
    for path in source.files:
        with readable(path):
            table, lines = fields_of(path, source.delimiter)
        empty += [f"{path}:{line}" for line in lines]
        source.rows.append(table.num_rows)
        tables.append(table)
    refuse_others(source.files, tables)
    words = pyarrow.concat_tables(tables, promote_options="default")
    columns, notes = {}, []
    for name in words.column_names:
        found = typed(words.column(name), source.decimal)
        columns[name] = found.values
        if found.num_gaps:
            notes.append((name, f"{name!r}: {found.num_gaps} words such as NA are read as missing values"))
        if found.wide:
            notes.append((name, f"{name!r} is read as text: whole numbers of more than 64 bits"))
        if found.odd is not None:
            odd = words.column(name)[found.odd].as_py()
            notes.append((name, f"{name!r} is read as text: {odd!r} is no number ({source.where(found.odd)})"))
    left_out = [f"{things(len(empty), 'empty row')} ({'the first is ' * (len(empty) > 1)}{empty[0]})"] if empty else []
    return Records(pyarrow.table(columns), notes=notes, left_out=left_out)


def files_of(path: str) -> Found:
    """The files that a path or pattern names, hidden ones left out. What exists is no pattern, nor is the part of a
    pattern that exists. Raises ConfigError where there are none."""
    place = Path(path).expanduser()
    if place.is_dir():
        found = below(place)
        if not found.files:
            raise ConfigError(f"data.path={path}: the folder is empty")
        return found
    if place.exists():
        return Found([place])
    if glob.has_magic(path):
        files = sorted(file for file in map(Path, glob.glob(_pattern(place), recursive=True)) if file.is_file())  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not files:
            raise ConfigError(f"data.path={path}: no file matches")
        return Found(files)
    siblings = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
    near = did_you_mean(place.name, siblings).partition(" There are")[0]
    raise ConfigError(f"data.path={path}: no such file or folder.{near}")


def _pattern(place: Path) -> str:
    """The pattern, with what of it is there taken as it is written."""
    there = next(parent for parent in place.parents if parent.is_dir())
    return str(Path(glob.escape(str(there))) / place.relative_to(there))
