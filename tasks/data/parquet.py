"""Parquet files as columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import ConfigError

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
            table = pyarrow.parquet.read_table(path, partitioning=None)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ConfigError(f"{path}: not Parquet: {' '.join(str(error).split())[:200]}") from error
        index |= _index(table)
        tables.append(_plain(table))
        rows.append(table.num_rows)
    refuse_others(files, tables)
    try:
        whole = pyarrow.concat_tables(tables, promote_options="permissive")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise ConfigError(
            f"{files[0]} and the other files do not go together: {' '.join(str(error).split())[:200]}"
        ) from error
    return Records(whole, index=frozenset(index & set(whole.column_names)))


def _index(table: pyarrow.Table) -> set[str]:
    """The columns that hold the index of the data frame that was written."""
    said = (table.schema.metadata or {}).get(b"pandas")
    if said is None:
        return set()
    return {name for name in json.loads(said).get("index_columns", []) if isinstance(name, str)}


def _plain(table: pyarrow.Table) -> pyarrow.Table:
    """Categories as what they stand for, and decimals as floats, which is what a model computes with."""
    import pyarrow
    from pyarrow import types

    for place, each in enumerate(table.schema):
        if types.is_dictionary(each.type):
            table = table.set_column(place, each.name, table.column(place).cast(each.type.value_type))
        elif types.is_decimal(each.type):
            table = table.set_column(place, each.name, table.column(place).cast(pyarrow.float64()))
    return table.replace_schema_metadata(None)
