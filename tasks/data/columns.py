"""From an Arrow table of `datasets` to what the tasks learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.errors import ConfigError, did_you_mean
from launcher.resolvers import PROBLEMS

from ..base import encode_labels
from .kinds import Series, Table, Texts

if TYPE_CHECKING:
    from datasets import Dataset

Where = Callable[[int], str]
"""Says where a row stands, for errors."""


def column(dataset: Dataset, key: str, name: str, source: str) -> Any:
    """The column `name`. Raises ConfigError with the nearest names where there is none."""
    if name not in dataset.column_names:
        raise ConfigError(
            f"{source}: there is no column {name!r} ({key}={name}).{did_you_mean(name, dataset.column_names)}"
        )
    return dataset[name]


def labels(
    dataset: Dataset, name: str, classes: Sequence[Any] | int | None, where: Where, source: str
) -> tuple[np.ndarray, list[str]]:
    """A column of labels as class numbers, and the classes' names; Arrow's own class names are taken where it has some."""
    values = column(dataset, "data.label", name, source)
    names = getattr(dataset.features[name], "names", None)
    if names is None:
        return encode_labels(values, classes, where)
    numbers, _ = encode_labels(values, len(names), where)
    return numbers, list(names)


def groups(dataset: Dataset, name: str | None, where: Where, source: str) -> np.ndarray | None:
    """The column that says which group a row is of, as int64; None where none is named. Raises ConfigError for a row
    without one."""
    if name is None:
        return None
    number: dict[Any, int] = {}
    values = list(column(dataset, "data.groups", name, source))
    for row, value in enumerate(values):
        if value is None or value != value:
            raise ConfigError(f"{where(row)}: the group in {name!r} is missing")
    return np.array([number.setdefault(value, len(number)) for value in values], dtype=np.int64)


def series(dataset: Dataset, target: str, time: str | None, where: Where, source: str) -> Series:
    """A column of numbers in the order of the rows, which is that of `time` where that column is named.

    Raises ConfigError for what is no number, and for a time that is not later than the one before it.
    """
    column(dataset, "data.target", target, source)
    frame = dataset.to_pandas()
    values = _numbers(frame[target], target, where, "a series")
    if time is None:
        return Series(values, target)
    column(dataset, "data.time", time, source)
    times = frame[time]
    for row in range(1, len(times)):
        if not times.iloc[row - 1] < times.iloc[row]:
            raise ConfigError(
                f"{where(row)}: {time!r} is {times.iloc[row]}, not later than {times.iloc[row - 1]} in the row before; "
                "a series stands in the order of time"
            )
    return Series(values, target, [str(each) for each in times])


def texts(
    dataset: Dataset,
    text: str,
    label: str,
    classes: Sequence[Any] | int | None,
    where: Where,
    source: str,
    group: str | None = None,
) -> Texts:
    """A column of texts and one of labels, and perhaps one of groups. Raises ConfigError for a missing text or label, naming the row."""
    found = list(column(dataset, "data.text", text, source))
    for row, value in enumerate(found):
        if not isinstance(value, str):
            raise ConfigError(
                f"{where(row)}: {'the text is missing' if value is None else f'expected a text in {text!r}, found {value!r}'}"
            )
    if not any(value.strip() for value in found):
        raise ConfigError(f"{source}: every text in {text!r} is empty")
    numbers, names = labels(dataset, label, classes, where, source)
    return Texts(found, numbers, names, groups(dataset, group, where, source))


class ArrowDocuments:
    """A column of texts on disk."""

    def __init__(self, dataset: Dataset, name: str, where: Where) -> None:
        self.dataset, self.name, self.where = dataset.select_columns([name]), name, where

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, rows: np.ndarray) -> list[str]:
        found: list[str] = self.dataset[rows.tolist()][self.name]
        for row, text in zip(rows.tolist(), found, strict=True):
            if not isinstance(text, str):
                raise ConfigError(f"{self.where(row)}: expected a text in {self.name!r}, found {text!r}")
        return found


def table(
    dataset: Dataset,
    target: str,
    problem: str,
    drop: Sequence[str],
    classes: Sequence[Any] | int | None,
    where: Where,
    source: str,
    group: str | None = None,
) -> Table:
    """All columns but `target`, `group` and those in `drop` as features: numbers and truth values as numbers, texts as categories.

    Raises ConfigError for a missing target, one that does not suit `problem`, and a feature that is neither.
    """
    import pandas as pd

    refuse_problem(problem)
    column(dataset, "data.target", target, source)
    for name in drop:
        column(dataset, "data.drop", name, source)
    members = groups(dataset, group, where, source)
    frame = dataset.to_pandas()
    values = frame[target]
    left_out = {target, *drop, *([] if group is None else [group])}
    X = frame.drop(columns=list(left_out))
    if X.shape[1] == 0:
        raise ConfigError(f"{source}: no column is left beside the target {target!r}")
    categorical = []
    for position, name in enumerate(X.columns):
        feature = X[name]
        if pd.api.types.is_bool_dtype(feature) or pd.api.types.is_numeric_dtype(feature):
            X[name] = feature.astype(np.float64)
            infinite = np.isinf(X[name].to_numpy())
            if infinite.any():
                raise ConfigError(f"{where(int(infinite.argmax()))}: {name!r} is infinite")
            continue
        values_of = [np.nan if value is None or value is pd.NA else value for value in feature]
        for row, value in enumerate(values_of):
            if not isinstance(value, str | float):
                raise ConfigError(
                    f"{where(row)}: {name!r} holds {value!r}, neither a number nor a text; data.drop=[{name}] leaves it out"
                )
        X[name] = pd.Series(values_of, index=X.index, dtype=object)
        categorical.append(position)
    names = [str(name) for name in X.columns]
    if problem == "regression":
        return Table(X, _numbers(values, target, where), names, categorical, None, target, members)
    _refuse_continuous(values, target, source)
    if getattr(dataset.features[target], "names", None) is not None:
        numbers, found = labels(dataset, target, classes, where, source)
    else:
        numbers, found = encode_labels(values.tolist(), classes, where)
    return Table(X, numbers, names, categorical, found, target, members)


def refuse_problem(problem: str) -> None:
    """Raises ConfigError for a problem that is neither classification nor regression."""
    if problem not in PROBLEMS:
        raise ConfigError(
            f"data.problem={problem}: expected classification or regression.{did_you_mean(problem, PROBLEMS)}"
        )


def _numbers(values: Any, target: str, where: Where, who: str = "data.problem=regression") -> np.ndarray:
    import pandas as pd

    numbers: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        value = values.tolist()[row]
        raise ConfigError(
            f"{where(row)}: the target {target!r} is {'missing' if pd.isna(value) else repr(value)}; {who} needs a number in every row"
        )
    return numbers


def _refuse_continuous(values: Any, target: str, source: str) -> None:
    """Fractions, or a whole number of its own for nearly every row, are no classes."""
    import pandas as pd

    known = values.dropna()
    if pd.api.types.is_float_dtype(known) and (known % 1 != 0).any():
        raise ConfigError(
            f"{source}: the target {target!r} has fractions such as {known[known % 1 != 0].iloc[0]}: data.problem=regression fits"
        )
    distinct = known.nunique()
    if distinct > 20 and distinct > len(known) / 2:
        raise ConfigError(
            f"{source}: the target {target!r} has {distinct} different values in {len(known)} rows: data.problem=regression, or another data.target"
        )
