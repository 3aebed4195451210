"""The fields of a CSV file as a table of words, before any of them is a number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import ConfigError, beginning

from .parsing import fields, is_empty

if TYPE_CHECKING:
    import pyarrow


def fields_of(path: Path, delimiter: str) -> tuple[pyarrow.Table, list[int]]:
    """The fields of a CSV file as they are written, null where there is nothing between two delimiters; and the lines of
    rows without a single word, as spreadsheets write below a table, which are left out."""
    import pyarrow
    from pyarrow import csv

    rows = fields(path, delimiter)
    header = next(rows, (0, []))[1]
    num, empty = 0, {}
    for line, row in rows:
        if is_empty(row):
            empty[num] = line
        num += 1
    if num == len(empty):
        return pyarrow.table({name: pyarrow.array([], pyarrow.string()) for name in header}), []
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(header, pyarrow.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    whole = min(max(16 << 20, path.stat().st_size + 1), (1 << 31) - 1)
    for size in (16 << 20, whole):
        try:
            table = csv.read_csv(
                path,
                convert_options=convert,
                parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                read_options=csv.ReadOptions(block_size=size),
            )
        except pyarrow.ArrowInvalid as error:  # a field longer than a block
            if size == whole:
                raise ConfigError(f"{path}: can not be read: {beginning(error)}") from error
        else:
            break
    if table.num_rows != num or table.column_names != header:
        raise ConfigError(
            f"{path}: can not be read: {num:,} rows, or {table.num_rows:,}, as its quotes and line ends are understood"
        )
    if empty:
        table = table.filter(pyarrow.array([number not in empty for number in range(num)]))
    return table, list(empty.values())
