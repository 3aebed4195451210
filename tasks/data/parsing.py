"""The rows of a file of words, one after another, with the place of what is wrong with them."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError

LONGEST_FIELD = (1 << 31) - 1
"""Characters of a CSV field; Python's own limit is 131,072."""


_BEGINNINGS = {
    b"\xff\xfe": "not UTF-8 but UTF-16, as Windows calls Unicode; save it as UTF-8",
    b"\xfe\xff": "not UTF-8 but UTF-16; save it as UTF-8",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PK\x03\x04": "a ZIP archive, as a workbook of Excel is; export its sheet as CSV",
}
_QUOTES = {
    "unexpected end of data": "a quote is opened in this row and never closed",
    "expected after": "something stands behind a closing quote; within quotes a quote is written twice",
    "field larger": f"a field of more than {LONGEST_FIELD:,} characters; is a quote not closed?",
}
"""What Python's reader says of a row, by a part of it, in words that say what to do."""


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Make one message of a file that can not be read. Raises ConfigError."""
    try:
        yield
    except UnicodeDecodeError as error:
        foreign = _foreign(path)
        said = f"{_undecodable(path)}: not UTF-8 (byte 0x{error.object[error.start]:02x})"
        raise ConfigError(f"{path}: {foreign}" if foreign else f"{path}:{said}") from error
    except OSError as error:
        raise ConfigError(f"{path}: can not be read: {error.strerror or error}") from error


def _foreign(path: Path) -> str | None:
    """What a file is that is no text in UTF-8, by its first bytes."""
    with path.open("rb") as file:
        begin = file.read(4)
    return next((said for first, said in _BEGINNINGS.items() if begin.startswith(first)), None)


def _undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return 1


def fields(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with the line they begin on, the header first. Raises ConfigError with the line of a row that
    does not fit the header."""
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                said = next((ours for theirs, ours in _QUOTES.items() if theirs in str(error)), str(error))
                raise ConfigError(f"{path}:{start}: {said}") from error
            if not row:
                continue
            if any("\0" in field for field in row):
                raise ConfigError(f"{path}:{start}: a NUL byte, which no text has")
            if header is None:
                header = row
                _refuse_header(path, start, header, delimiter)
            elif len(row) != len(header):
                raise ConfigError(
                    f"{path}:{start}: {len(row)} fields where the header has {len(header)}{_maybe_unquoted(row, header)}"
                )
            yield start, row


def is_empty(row: list[str]) -> bool:
    """Whether a row of several fields says nothing in any of them."""
    return len(row) > 1 and not any(map(str.strip, row))


def _refuse_header(path: Path, line: int, header: list[str], delimiter: str) -> None:
    if is_empty(header):
        raise ConfigError(
            f"{path}:{line}: a header of {len(header)} empty fields; the names of the columns are expected"
        )
    doubles = sorted({name for name in header if header.count(name) > 1})
    if doubles:
        raise ConfigError(f"{path}:{line}: two columns have the name {doubles[0]!r}")
    other = next((mark for mark in (";", "\t", "|", ",") if mark != delimiter and mark in header[0]), None)
    if len(header) == 1 and other is not None:
        said = "'\\t'" if other == "\t" else f"'{other}'"
        raise ConfigError(
            f"{path}:{line}: one column, called {header[0]!r}: its fields seem to stand between {said}; data.delimiter={said} reads it"
        )


def _maybe_unquoted(row: list[str], header: list[str]) -> str:
    """A hint where a field seems to hold the delimiter itself."""
    return "; a field that holds the delimiter stands in quotes" if len(row) > len(header) else ""


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of one JSON list, with the line they stand on (in a list: their number).
    Raises ConfigError with the line of what is none."""
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
            with _as_json(path, line):
                value = _loads(text.rstrip("\r\n"))
            if not isinstance(value, dict):
                raise ConfigError(
                    f'{path}:{line}: expected an object such as {{"text": "..."}}, found {type(value).__name__}'
                )
            yield line, value


def _json_list(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        with _as_json(path):
            values = _loads(text.lstrip("\ufeff"))
    except ConfigError as error:
        if getattr(error.__cause__, "msg", "") == "Extra data":  # a list a line
            raise ConfigError(
                f'{path}:1: expected an object such as {{"text": "..."}} on each line, or one list of them, found a list'
            ) from error
        raise
    wrong = next((number for number, value in enumerate(values, 1) if not isinstance(value, dict)), None)
    if wrong is not None:
        raise ConfigError(f"{path}: entry {wrong} of the list is no object")
    return list(values)


def _loads(text: str) -> Any:
    """What a JSON text holds. Raises UnicodeEncodeError for half of a character beyond the 16 bits of an escape."""
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


@contextlib.contextmanager
def _as_json(path: Path, line: int | None = None) -> Iterator[None]:
    """Make one message of what is no JSON, or none that can be taken. Raises ConfigError with the line, where it is known."""
    where = f"{path}:{line}" if line is not None else str(path)
    try:
        yield
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{line or error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("utf-16-be", "surrogatepass").hex()
        raise ConfigError(f"{where}: \\u{half} is half of a character, which no text has by itself") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: lists or objects within each other too deeply to be read") from error
    except ValueError as error:  # Python's limit, against what the square of the digits would cost
        raise ConfigError(f"{where}: a whole number of thousands of digits") from error
