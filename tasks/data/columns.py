"""From columns to what the tasks learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.config.resolvers import PROBLEMS
from launcher.errors import ConfigError, did_you_mean

from ..base import encode_labels
from .features import features
from .kinds import Series, Table, Texts
from .records import Records
from .times import in_order

if TYPE_CHECKING:
    import pyarrow

Where = Callable[[int], str]
"""Says where a row stands, for errors."""


def labels(
    records: Records,
    key: str,
    name: str,
    classes: Sequence[Any] | int | None,
    where: Where,
    source: str,
) -> tuple[np.ndarray, list[str]]:
    """A column of labels as class numbers, and the classes' names; those that the data brings are taken where it has some."""
    values = records.flat(key, name, source, where).to_pylist()
    if name not in records.classes:
        return encode_labels(values, classes, where)
    numbers, _ = encode_labels(values, len(records.classes[name]), where)
    return numbers, records.classes[name]


def groups(records: Records, name: str | None, where: Where, source: str) -> np.ndarray | None:
    """The column that says which group a row is of, as int64; None where none is named. Raises ConfigError for a row
    without one."""
    if name is None:
        return None
    number: dict[Any, int] = {}
    values = records.flat("data.groups", name, source, where).to_pylist()
    for row, value in enumerate(values):
        if value is None or value != value:
            raise ConfigError(f"{where(row)}: the group in {name!r} is missing")
    return np.array([number.setdefault(value, len(number)) for value in values], dtype=np.int64)


def series(
    records: Records, target: str, time: str | None, where: Where, source: str, time_format: str | None = None
) -> tuple[Series, list[str]]:
    """A column of numbers in the order of the rows, which is that of `time` where that column is named, and what is to be
    told of that.

    Raises ConfigError for what is no number, and for a time that is not later than the one before it.
    """
    values = _numbers(records.column("data.target", target, source), target, where, "a series")
    if time is None:
        return Series(values, target), []
    times = records.column("data.time", time, source)
    notes = in_order(times, time, time_format, where)
    return Series(values, target, [str(each) for each in times.to_pylist()]), notes


def texts(
    records: Records,
    text: str,
    label: str,
    classes: Sequence[Any] | int | None,
    where: Where,
    source: str,
    group: str | None = None,
) -> Texts:
    """A column of texts and one of labels, and perhaps one of groups. Raises ConfigError for a missing text or label, naming the row."""
    found = records.column("data.text", text, source).to_pylist()
    for row, value in enumerate(found):
        if not isinstance(value, str):
            raise ConfigError(
                f"{where(row)}: {'the text is missing' if value is None else f'expected a text in {text!r}, found {value!r}'}"
            )
    if not any(value.strip() for value in found):
        raise ConfigError(f"{source}: every text in {text!r} is empty")
    numbers, names = labels(records, "data.label", label, classes, where, source)
    return Texts(found, numbers, names, groups(records, group, where, source))


class ArrowDocuments:
    """A column of texts."""

    def __init__(self, records: Records, name: str, where: Where) -> None:
        self.records, self.name, self.where = records, name, where

    def __len__(self) -> int:
        return len(self.records)

    def read(self, rows: np.ndarray) -> list[str]:
        found: list[str] = self.records.take(rows.tolist(), self.name)
        for row, text in zip(rows.tolist(), found, strict=True):
            if not isinstance(text, str):
                raise ConfigError(f"{self.where(row)}: expected a text in {self.name!r}, found {text!r}")
        return found


def table(
    records: Records,
    target: str,
    problem: str,
    drop: Sequence[str],
    classes: Sequence[Any] | int | None,
    where: Where,
    source: str,
    group: str | None = None,
) -> tuple[Table, list[str]]:
    """All columns but `target`, `group` and those in `drop` as features, and what is to be told of them.

    Raises ConfigError for a missing target, one that does not suit `problem`, and a feature that is none.
    """
    refuse_problem(problem)
    values = records.flat("data.target", target, source, where)
    for name in drop:
        records.column("data.drop", name, source)
    members = groups(records, group, where, source)
    named = {target, *drop, *([] if group is None else [group])}
    left = [name for name in records.names if name not in named]
    if not left:
        raise ConfigError(f"{source}: no column is left beside the target {target!r}")
    X, categorical, notes = features(records.select(left), where)
    if X.shape[1] == 0:
        raise ConfigError(f"{source}: no column is left beside the target {target!r} ({'; '.join(notes)})")
    names = [str(name) for name in X.columns]
    if problem == "regression":
        return Table(X, _numbers(values, target, where), names, categorical, None, target, members), notes
    _refuse_continuous(values, target, source)
    numbers, found = labels(records, "data.target", target, classes, where, source)
    return Table(X, numbers, names, categorical, found, target, members), notes


def refuse_problem(problem: str) -> None:
    """Raises ConfigError for a problem that is neither classification nor regression."""
    if problem not in PROBLEMS:
        raise ConfigError(
            f"data.problem={problem}: expected classification or regression.{did_you_mean(problem, PROBLEMS)}"
        )


def _numbers(
    values: pyarrow.ChunkedArray, target: str, where: Where, who: str = "data.problem=regression"
) -> np.ndarray:
    import pandas as pd
    from pyarrow import types

    if types.is_floating(values.type) or types.is_integer(values.type) or types.is_boolean(values.type):
        numbers: np.ndarray = np.asarray(values.cast("float64").to_numpy(), dtype=np.float64)
    else:
        numbers = pd.to_numeric(pd.Series(values.to_pylist(), dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        value = values[row].as_py()
        missing = value is None or value != value
        raise ConfigError(
            f"{where(row)}: the target {target!r} is {'missing' if missing else repr(value)}; {who} needs a number in every row"
        )
    return numbers


def _refuse_continuous(values: pyarrow.ChunkedArray, target: str, source: str) -> None:
    """Fractions, or a whole number of its own for nearly every row, are no classes."""
    from pyarrow import types

    known = [value for value in values.to_pylist() if value is not None and value == value]
    if types.is_floating(values.type):
        fraction = next((value for value in known if value % 1 != 0), None)
        if fraction is not None:
            raise ConfigError(
                f"{source}: the target {target!r} has fractions such as {fraction}: data.problem=regression fits"
            )
    distinct = len(set(known))
    if distinct > 20 and distinct > len(known) / 2:
        raise ConfigError(
            f"{source}: the target {target!r} has {distinct} different values in {len(known)} rows: data.problem=regression, or another data.target"
        )
