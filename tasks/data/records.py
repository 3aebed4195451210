"""Rows of columns as Arrow holds them, from a file or from the hub, and what is to be told of how they were read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


@dataclass
class Records:
    """A table in memory or mapped from the disk."""

    table: pyarrow.Table
    classes: dict[str, list[str]] = field(default_factory=dict)
    """The names of the class numbers that a column holds, where the data brings some."""
    nested: frozenset[str] = frozenset()
    """Columns with lists or objects among their values, which stand here as JSON."""
    index: frozenset[str] = frozenset()
    """Columns that pandas wrote to keep the order of its rows, and that say nothing of them."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """What is to be told of a column's type, each with the column."""
    left_out: list[str] = field(default_factory=list)
    """What of the files holds no row, in words."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.table.column_names)

    def column(self, key: str, name: str, source: str) -> pyarrow.ChunkedArray:
        """The column `name`, which `key` asks for. Raises ConfigError with the nearest names where there is none."""
        if name not in self.names:
            raise ConfigError(f"{source}: there is no column {name!r} ({key}={name}).{did_you_mean(name, self.names)}")
        return self.table.column(name)

    def flat(self, key: str, name: str, source: str, where: Callable[[int], str]) -> pyarrow.ChunkedArray:
        """A `column` of single values. Raises ConfigError for one that holds lists or objects."""
        from pyarrow import types

        values = self.column(key, name, source)
        if name in self.nested or types.is_nested(values.type):
            row, value = next((row, each.as_py()) for row, each in enumerate(values) if each.as_py() is not None)
            raise ConfigError(f"{where(row)}: {key}={name}: {value} is a list or an object, and one value is expected")
        return values

    def select(self, names: list[str]) -> Records:
        """The same rows with these columns alone."""
        return Records(self.table.select(names), self.classes, self.nested, self.index, self.notes)

    def take(self, rows: list[int], name: str) -> list[Any]:
        """A column's values at `rows`."""
        found: list[Any] = self.table.column(name).take(rows).to_pylist()
        return found


def refuse_others(files: Sequence[Path], tables: Sequence[pyarrow.Table]) -> None:
    """Raises ConfigError for a file whose columns are not those of the first."""
    for path, table in zip(files, tables, strict=True):
        if table.num_rows and set(table.column_names) != set(tables[0].column_names):
            odd = sorted(set(table.column_names) ^ set(tables[0].column_names))
            raise ConfigError(
                f"{path}: other columns than in {files[0]}: {', '.join(map(repr, odd[:5]))} is in one alone"
            )


def of_dataset(dataset: Dataset) -> Records:
    """A data set of the hub."""
    names = {name: list(feature.names) for name, feature in dataset.features.items() if hasattr(feature, "names")}
    return Records(dataset.data.table, names)
