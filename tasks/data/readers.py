"""The user's files, found, looked through for what is wrong with them, and read through `datasets`.

The look comes first and costs about a second for 100 MB: what `datasets` says of a broken file names no line, and of
a row that is too short it says nothing at all.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

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


@dataclass
class Source:
    """Files of one format, whole and readable."""

    format: str
    files: list[Path]
    rows: list[int] = field(default_factory=list)  # of each file; of text: lines that hold something

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
            return next(line for number, (line, _) in enumerate(_table(path, self.format)) if number == row + 1)
        return next(line for number, (line, _) in enumerate(_objects(path)) if number == row)


def find(path: str, format: str | None) -> Source:
    """The files that `data.path` names: a file, the files of a folder, or those that match a pattern such as `logs/*.jsonl`.

    Raises ConfigError where there are none, they are of several formats, or one is empty, unreadable or malformed;
    then it names the file and the line.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"data.format={format}: expected {', '.join(FORMATS)}, or null to go by the ending.{did_you_mean(format, FORMATS)}"
        )
    files = files_of(path)
    if format is None:
        known = sorted({ENDINGS[file.suffix.lower()] for file in files if file.suffix.lower() in ENDINGS})
        if len(known) != 1:
            what = f"files of several formats: {', '.join(known)}" if known else "no file whose ending is known"
            raise ConfigError(f"data.path={path}: {what}; data.format=csv|tsv|jsonl|parquet|text chooses")
        format = known[0]
        files = [file for file in files if file.suffix.lower() in ENDINGS]
    else:  # any ending that does not stand for another format
        files = [file for file in files if ENDINGS.get(file.suffix.lower(), format) == format] or files
    source = Source(format, [])
    for file in files:
        with _readable(file):
            num = _look(file, format)
        if num:
            source.files.append(file)
            source.rows.append(num)
        elif format != "text" or len(files) == 1:  # a folder of texts may have empty ones
            raise ConfigError(f"{file}: the file is empty" if file.stat().st_size == 0 else f"{file}: holds no row")
    if not source.files:
        raise ConfigError(f"data.path={path}: all its files are empty")
    return source


def read(source: Source, sample_by: str = "line") -> Dataset:
    """The rows as an Arrow table on disk; text has the column `text`, cut by `line`, `paragraph` or `document`."""
    import datasets

    files = [str(file) for file in source.files]
    builder, options = {
        "csv": ("csv", {}),
        "tsv": ("csv", {"sep": "\t"}),
        "jsonl": ("json", {}),
        "parquet": ("parquet", {}),
        "text": ("text", {"sample_by": sample_by}),
    }[source.format]
    with quiet(", ".join(files)):
        return datasets.load_dataset(builder, data_files=files, split="train", **options)


@contextlib.contextmanager
def quiet(what: str) -> Iterator[None]:
    """Keep `datasets` from drawing bars and logging, and make one message of what it raises."""
    import datasets

    datasets.disable_progress_bars()
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, datasets.exceptions.DatasetsError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(cause).split())[:300]
        if "corresponds to no data" in said:  # the library's word for a split that it makes of nothing
            said = "there is not one row in it"
        raise ConfigError(f"{what}: can not be read: {said}") from error
    finally:
        datasets.logging.set_verbosity(verbosity)


def files_of(path: str) -> list[Path]:
    """The files that a path or pattern names, hidden ones left out. Raises ConfigError where there are none."""
    place = Path(path).expanduser()
    if glob.has_magic(path) and not place.exists():
        files = sorted(file for file in map(Path, glob.glob(str(place), recursive=True)) if file.is_file())  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not files:
            raise ConfigError(f"data.path={path}: no file matches")
        return files
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file() and not file.name.startswith("."))
        if not files:
            raise ConfigError(f"data.path={path}: the folder is empty")
        return files
    if not place.exists():
        siblings = [entry.name for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        near = did_you_mean(place.name, siblings).partition(" There are")[0]
        raise ConfigError(f"data.path={path}: no such file or folder.{near}")
    return [place]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:{_undecodable(path)}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from error
    except OSError as error:
        raise ConfigError(f"{path}: can not be read: {error.strerror or error}") from error


def _undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return 1


def _look(path: Path, format: str) -> int:
    """The number of rows of a file (of text: of lines). Raises ConfigError with the line of what is malformed."""
    if format == "parquet":
        return _look_parquet(path)
    if format == "jsonl":
        return sum(1 for _ in _objects(path))
    if format in ("csv", "tsv"):
        return max(0, sum(1 for _ in _table(path, format)) - 1)
    with path.open(encoding="utf-8-sig") as file:
        return sum(1 for line in file if line.strip())


def _table(path: Path, format: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with the line they end on, the header first."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if format == "tsv" else ",", strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ConfigError(f"{path}:{start}: {error}") from error
            if not row:
                continue
            if any("\0" in field for field in row):
                raise ConfigError(f"{path}:{start}: a NUL byte, which no text has")
            if header is None:
                header = row
                doubles = sorted({name for name in row if row.count(name) > 1})
                if doubles:
                    raise ConfigError(f"{path}:{start}: two columns have the name {doubles[0]!r}")
            elif len(row) != len(header):
                raise ConfigError(f"{path}:{start}: {len(row)} fields where the header has {len(header)}")
            yield start, row


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of one JSON list, with the line they stand on (in a list: their number)."""
    with path.open(encoding="utf-8-sig") as file:
        first = file.read(1)
        while first.isspace():
            first = file.read(1)
        file.seek(0)
        if first == "[":
            yield from enumerate(_json_list(path, file.read()), 1)
            return
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                raise ConfigError(f"{path}:{line}: not JSON: {error.msg} (column {error.colno})") from error
            if not isinstance(value, dict):
                raise ConfigError(
                    f'{path}:{line}: expected an object such as {{"text": "..."}}, found {type(value).__name__}'
                )
            yield line, value


def _json_list(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        values = json.loads(text.lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a list a line
            raise ConfigError(
                f'{path}:1: expected an object such as {{"text": "..."}} on each line, or one list of them, found a list'
            ) from error
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    wrong = next((number for number, value in enumerate(values, 1) if not isinstance(value, dict)), None)
    if wrong is not None:
        raise ConfigError(f"{path}: entry {wrong} of the list is no object")
    return list(values)


def _look_parquet(path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    if path.stat().st_size == 0:
        return 0
    try:
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except pyarrow.ArrowInvalid as error:
        raise ConfigError(f"{path}: not Parquet: {' '.join(str(error).split())[:200]}") from error
