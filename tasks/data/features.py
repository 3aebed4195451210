"""Columns as the features of a table: which are numbers, which are categories, and which are none."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.errors import ConfigError

from .folders import MANY
from .records import Records

if TYPE_CHECKING:
    import pyarrow
    from pandas import DataFrame

_UNNAMED = re.compile(r"|Unnamed: 0(\.\d+)?")
"""What pandas writes, or reads, over the column of its index."""
SHOWN = 3
"""Words of a category that are told."""


def features(records: Records, where: Callable[[int], str]) -> tuple[DataFrame, list[int], list[str]]:
    """The columns as a data frame: numbers and truth values as float64, texts as categories, whose positions are the second
    thing; the third is what is to be told. An index of pandas is no feature; a
    column without any value is one of numbers that are all missing.

    Raises ConfigError for a column that is neither, and for a number that is infinite.
    """
    import pandas as pd
    from pyarrow import types

    made: dict[str, Any] = {}
    kinds: dict[str, list[str]] = {"numbers": [], "truth values": [], "texts": []}
    left_out: list[str] = []
    void: list[str] = []
    categorical: list[int] = []
    for place, name in enumerate(records.names):
        values = records.table.column(name)
        if values.null_count == values.length():
            void.append(repr(name))
            made[name] = np.full(values.length(), np.nan)
        elif name in records.index or (place == 0 and _is_index(name, values)):
            left_out.append(f"{name!r} (the index that pandas writes)")
        elif types.is_boolean(values.type):
            kinds["truth values"].append(name)
            made[name] = values.cast("int8").cast("float64").to_numpy()
        elif types.is_integer(values.type) or types.is_floating(values.type):
            kinds["numbers"].append(name)
            made[name] = _finite(values, name, where)
        elif (types.is_string(values.type) or types.is_large_string(values.type)) and name not in records.nested:
            words = [np.nan if word is None or word == "" else word for word in values.to_pylist()]
            kinds["texts"].append(_shown(name, words))
            categorical.append(len(made))
            made[name] = pd.Series(words, dtype=object)
        else:
            row, value = next((row, each.as_py()) for row, each in enumerate(values) if each.as_py() is not None)
            said = value if name in records.nested else repr(value)
            raise ConfigError(
                f"{where(row)}: {name!r} holds {said}, neither a number nor a text; data.drop=[{name}] leaves it out"
            )
    notes = [f"columns: {_listed(kinds)}"] if any(kinds.values()) else []
    if void:
        notes.append(f"no value in any row: {', '.join(void)}")
    if left_out:
        notes.append(f"left out: {', '.join(left_out)}")
    return pd.DataFrame(made, index=range(len(records))), categorical, notes


def _finite(values: pyarrow.ChunkedArray, name: str, where: Callable[[int], str]) -> np.ndarray:
    numbers: np.ndarray = np.asarray(values.cast("float64", safe=False).to_numpy(), dtype=np.float64)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise ConfigError(f"{where(int(infinite.argmax()))}: {name!r} is infinite")
    return numbers


def _is_index(name: str, values: pyarrow.ChunkedArray) -> bool:
    """Whether the first column is that of an index: without a name, and a whole number of its own in every row."""
    from pyarrow import compute, types

    if not _UNNAMED.fullmatch(name) or not types.is_integer(values.type) or values.null_count:
        return False
    return bool(compute.count_distinct(values).as_py() == values.length())


def _shown(name: str, words: list[Any]) -> str:
    distinct = list(dict.fromkeys(word for word in words if isinstance(word, str)))
    said = ", ".join(repr(word if len(word) <= 20 else word[:20] + "…") for word in distinct[:SHOWN])
    return f"{name}: {said}" + (f", … {len(distinct)} different" if len(distinct) > SHOWN else "")


def _listed(kinds: dict[str, list[str]]) -> str:
    each = [(kind if len(names) > 1 else kind[:-1], names) for kind, names in kinds.items() if names]
    return "; ".join(
        f"{len(names)} {kind} ({(', ' if kind[:4] != 'text' else '; ').join(names[:MANY])}{', …' if len(names) > MANY else ''})"
        for kind, names in each
    )
