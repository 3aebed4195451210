"""Parquet files as columns."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import ConfigError, beginning

from .records import Records, refuse_others

if TYPE_CHECKING:
    import pyarrow


def read_parquet(files: list[Path], rows: list[int]) -> Records:
    """The rows of all files, with how many each has in `rows`; columns that pandas wrote for its index are told.

    Raises ConfigError for a file that is no Parquet, and for columns that two files hold in types that do not go together.
    """
    import pyarrow
    import pyarrow.parquet

    tables: list[pyarrow.Table] = []
    index: set[str] = set()
    rows.clear()
    for path in files:
        if path.stat().st_size == 0:
            raise ConfigError(f"{path}: the file is empty")
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                _refuse_doubles(path, file.schema_arrow.names)
                table = file.read()
        except (pyarrow.ArrowException, OSError) as error:
            raise ConfigError(f"{path}: {_damage(error)}") from error
        index |= _index(table)
        tables.append(_plain(table))
        rows.append(table.num_rows)
    refuse_others(files, tables)
    try:
        whole = pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise ConfigError(_unlike(files, tables)) from error
    return Records(whole, index=frozenset(index & set(whole.column_names)))


def _refuse_doubles(path: Path, names: list[str]) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"{path}: two columns have the name {double!r}")


def _damage(error: Exception) -> str:
    """What is wrong with a file, of what Arrow says of it."""
    if re.search("magic bytes|smaller than", str(error)):
        return "not Parquet, or cut short: it does not end as a Parquet file does"
    return f"not Parquet, or damaged: {beginning(error, 200)}"


def _unlike(files: list[Path], tables: list[pyarrow.Table]) -> str:
    """The first file in which a column is of a type that does not go together with that of the first file."""
    import pyarrow

    for path, table in zip(files, tables, strict=True):
        for name in table.column_names:
            types = [each.schema.field(name).type for each in (tables[0], table)]
            schemas = [pyarrow.schema([(name, each)]) for each in types]
            try:
                pyarrow.unify_schemas(schemas, promote_options="permissive")
            except pyarrow.ArrowException:
                return f"{path}: {name!r} is {types[1]}, and {types[0]} in {files[0]}"
    return f"{files[0]} and the other files do not go together"


def _index(table: pyarrow.Table) -> set[str]:
    """The columns that hold the index of the data frame that was written."""
    said = (table.schema.metadata or {}).get(b"pandas")
    if said is None:
        return set()
    try:
        names = json.loads(said)["index_columns"]
        return {name for name in names if isinstance(name, str)}
    except (ValueError, KeyError, TypeError):  # a remark of another program's, which the rows do not need
        return set()


def _plain(table: pyarrow.Table) -> pyarrow.Table:
    """Categories as what they stand for, decimals as floats, which is what a model computes with, and bytes as the texts
    that they are where they are such in UTF-8."""
    import pyarrow
    from pyarrow import types

    for place, each in enumerate(table.schema):
        if types.is_dictionary(each.type):
            table = table.set_column(place, each.name, table.column(place).cast(each.type.value_type))
        elif types.is_decimal(each.type):
            table = table.set_column(place, each.name, table.column(place).cast(pyarrow.float64()))
        elif types.is_binary(each.type) or types.is_large_binary(each.type):
            with contextlib.suppress(pyarrow.ArrowInvalid):
                table = table.set_column(place, each.name, table.column(place).cast(pyarrow.large_string()))
    return table.replace_schema_metadata(None)
