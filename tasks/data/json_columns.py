"""Columns of JSON objects, each of the type that all its values have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

CHUNK = 8192
_KINDS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "text", type(None): "null"}


def columns(rows: Iterable[dict[str, Any]]) -> tuple[pyarrow.Table, frozenset[str], list[str]]:
    """The rows as a table, a few thousand at a time; the columns that hold lists or objects, as JSON; and those whose
    values are of several types, and therefore texts. A key that a row does not have is a missing value."""
    import pyarrow

    parts: dict[str, list[tuple[set[str], pyarrow.Array]]] = {}
    done, found = 0, iter(rows)
    while chunk := list(islice(found, CHUNK)):
        for name in dict.fromkeys(key for row in chunk for key in row):
            parts.setdefault(name, [({"null"}, pyarrow.nulls(done))] if done else [])
        for name, each in parts.items():
            each.append(_part([row.get(name) for row in chunk]))
        done += len(chunk)
    table, nested, mixed = {}, set(), []
    for name, each in parts.items():
        kinds = set().union(*(kinds for kinds, _ in each)) - {"null"}
        table[name] = pyarrow.chunked_array(_unified(kinds, [array for _, array in each]))
        if "nested" in kinds:
            nested.add(name)
        elif ("text" in kinds and len(kinds) > 1) or (kinds & {"bool"} and len(kinds) > 1):
            mixed.append(name)
    return pyarrow.table(table), frozenset(nested), mixed


def _part(values: list[Any]) -> tuple[set[str], pyarrow.Array]:
    """Some values of a column: their kinds, and the values, as words where they are of several."""
    import pyarrow

    kinds = {_KINDS.get(each, "nested") for each in set(map(type, values))}
    if "int" in kinds and any(type(value) is int and not -(1 << 63) <= value < 1 << 63 for value in values):
        kinds.add("wide")
    known = kinds - {"null"}
    if known <= {"int"}:
        return kinds, pyarrow.array(values, pyarrow.int64() if known else pyarrow.null())
    if known == {"bool"}:
        return kinds, pyarrow.array(values, pyarrow.bool_())
    if known <= {"int", "wide", "float"} and "float" in known:
        numbers = [None if value is None else float(value) for value in values]
        return kinds, pyarrow.array(numbers, pyarrow.float64(), from_pandas=True)  # NaN is a missing value
    return kinds, pyarrow.array([_word(value) for value in values], pyarrow.string())


def _word(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unified(kinds: set[str], arrays: list[pyarrow.Array]) -> list[pyarrow.Array]:
    """All parts of a column in the one type that holds them."""
    import pyarrow

    if not kinds:
        wanted = pyarrow.null()
    elif kinds == {"bool"}:
        wanted = pyarrow.bool_()
    elif kinds == {"int"}:
        wanted = pyarrow.int64()
    elif kinds <= {"int", "wide", "float"} and "float" in kinds:
        wanted = pyarrow.float64()
    else:
        wanted = pyarrow.string()
    return [array.cast(wanted) for array in arrays]
