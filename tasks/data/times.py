"""Times as a person writes them, and whether they rise from row to row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow

Where = Callable[[int], str]

DATES = (
    "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y",
    "%b %d %Y", "%b %d, %Y", "%B %d %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %Y", "%B %Y",
    "%b-%Y", "%b-%y", "%m/%Y", "%a %b %d %Y", "%a, %d %b %Y", "%Y%m%d", "%Y%m",
)  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", "T%H:%M:%S", " %z")
ISO = "ISO8601"
_OFFSET = re.compile(r":\d\d(\.\d+)?\s*(Z|UTC|[+-]\d\d:?\d\d)$")
_WITH_UNIT = re.compile(r"(\D*?)(-?\d+(?:\.\d+)?)(\D*)")
_PART_OF_YEAR = re.compile(r"(\d{4})\W*[QqWw](\d+)|[QqWw](\d+)\W*(\d{4})")
_LENGTHS = {"month": (28, 31), "quarter": (89, 92), "half-year": (181, 184), "year": (365, 366)}
"""Days that steps of the calendar have."""
US_PER_S = 1_000_000
HOUR_US = 3600 * US_PER_S


class Reading:
    """One way to read a column: `values` rise with time (microseconds where `dated`)."""

    def __init__(self, format: str, values: np.ndarray, dated: bool) -> None:
        self.format, self.values, self.dated = format, values, dated

    def late(self) -> int | None:
        """The first row that is not later than the one before it."""
        wrong = np.flatnonzero(np.diff(self.values) <= 0)
        return int(wrong[0]) + 1 if len(wrong) else None


def in_order(times: pyarrow.ChunkedArray, name: str, format: str | None, where: Where) -> list[str]:
    """What is to be told of a column of times: steps that are not alike.

    `format` says how they are written, as `strptime` has it; None is to find that out. Raises ConfigError for what is no
    time, for one that is not later than the one before it, and where that depends on how the column is read.
    """
    shown = times.to_pylist()
    missing = next((row for row, value in enumerate(shown) if value is None or value != value), None)
    if missing is not None:
        raise ConfigError(f"{where(missing)}: the time in {name!r} is missing")
    readings = _readings(times, shown, name, format, where)
    late = [reading.late() for reading in readings]
    if all(row is not None for row in late):
        row = max(row for row in late if row is not None)
        same = shown[row] == shown[row - 1]
        raise ConfigError(
            f"{where(row)}: {name!r} is {shown[row]}, not later than {shown[row - 1]} in the row before; "
            "a series stands in the order of time" + (_AGAIN if same else "")
        )
    if any(row is not None for row in late):
        right, wrong = (
            [each.format for each, row in zip(readings, late, strict=True) if (row is None) is rises]
            for rises in (True, False)
        )
        raise ConfigError(
            f"{name!r} rises read as {right[0]} and does not read as {wrong[0]}: 'data.time_format=\"{right[0]}\"' says that it is so"
        )
    return _steps(readings[0], shown, name)


_AGAIN = (
    ". Where clocks are put back an hour comes twice: an offset (+01:00) or UTC tells them apart; data.time=null takes the "
    "rows as they stand"
)


def _readings(
    times: pyarrow.ChunkedArray, shown: list[Any], name: str, format: str | None, where: Where
) -> list[Reading]:
    """All ways in which every value of a column is a time."""
    from pyarrow import types

    if types.is_temporal(times.type):
        unit = np.asarray(times.to_numpy()).astype("datetime64[us]") if not types.is_time(times.type) else None
        if unit is None:
            return [Reading("its type", np.asarray(times.cast("time64[us]").cast("int64").to_numpy()), True)]
        return [Reading("its type", unit.astype(np.int64), True)]
    words = [str(value).strip() for value in shown]
    numeric = types.is_integer(times.type) or types.is_floating(times.type)
    if format is not None:
        return [Reading(format, _dated(words, format, name, where), True)]
    if numeric:
        dated = _known(words, ("%Y%m%d", "%Y%m")) if types.is_integer(times.type) else []
        return dated[:1] or [Reading("a number", np.array(shown, dtype=np.float64), False)]
    _refuse_mixed(words, name, where)
    found = _known(words, (ISO,)) or _parts_of_years(words) or _known(words, _formats(words[0])) or _with_unit(words)
    if not found:
        formats = _formats(words[0])
        if formats:
            _dated(words, formats[0], name, where)  # says which row is another
        raise ConfigError(
            f"{where(0)}: {name!r} is {words[0]!r}, which is read as no time; data.time_format says how it is written, as "
            "%d.%m.%Y %H:%M, and data.time=null takes the rows as they stand"
        )
    return found


def _formats(word: str) -> list[str]:
    """The formats that a word may be written in."""

    def fits(format: str) -> bool:
        try:
            datetime.strptime(word, format)  # whether it can be read at all
        except ValueError:
            return False
        return True

    return [format for format in (f"{date}{clock}" for date in DATES for clock in CLOCKS) if fits(format)]


def _known(words: Sequence[str], formats: Sequence[str]) -> list[Reading]:
    import pandas as pd

    found = []
    for format in formats:
        read = pd.to_datetime(list(words), format=format, errors="coerce", utc=True)
        if not read.isna().any():
            found.append(Reading(format, read.as_unit("us").asi8, True))
    return found


def _dated(words: Sequence[str], format: str, name: str, where: Where) -> np.ndarray:
    """The words as microseconds. Raises ConfigError for one that is not written in that format, or for a format that is none."""
    import pandas as pd

    try:
        read = pd.to_datetime(list(words), format=format, errors="coerce", utc=True)
    except ValueError as error:
        raise ConfigError(f"data.time_format={format}: {error}") from error
    wrong = np.flatnonzero(read.isna())
    if len(wrong):
        row = int(wrong[0])
        raise ConfigError(f"{where(row)}: {name!r} is {words[row]!r}, which is not written as {format}")
    values: np.ndarray = read.as_unit("us").asi8
    return values


def _refuse_mixed(words: Sequence[str], name: str, where: Where) -> None:
    """Times with an offset from UTC and times without one can not be compared."""
    aware = [_OFFSET.search(word) is not None for word in words]
    if any(aware) and not all(aware):
        row = aware.index(not aware[0])
        said = ("without an offset from UTC", "with one") if aware[0] else ("with an offset from UTC", "without one")
        raise ConfigError(f"{where(row)}: {name!r} is {words[row]}, {said[0]}, after times {said[1]}")


def _parts_of_years(words: Sequence[str]) -> list[Reading]:
    """Quarters and weeks, as 2024Q1 or 2024-W07."""
    found = [_PART_OF_YEAR.fullmatch(word) for word in words]
    if not all(found):
        return []
    parts = [(each[1] or each[4], each[2] or each[3]) for each in found if each is not None]
    most = 4 if "q" in words[0].lower() else 53
    return [Reading("a part of a year", np.array([int(year) * most + int(part) for year, part in parts]), False)]


def _with_unit(words: Sequence[str]) -> list[Reading]:
    """Numbers with the same letters around each, as `12h` or `week 3`."""
    found = [_WITH_UNIT.fullmatch(word) for word in words]
    if not all(found) or len({(each[1], each[3]) for each in found if each is not None}) != 1:
        return []
    return [Reading("a number", np.array([float(each[2]) for each in found if each is not None]), False)]


def _steps(reading: Reading, shown: list[Any], name: str) -> list[str]:
    """What is to be told where the steps are not alike; those of a calendar are."""
    steps = np.diff(reading.values)
    if len(steps) < 2 or (steps == steps[0]).all() or reading.format == "a part of a year":
        return []
    if reading.dated:
        days = steps / (24 * HOUR_US)
        if any(low <= days.min() and days.max() <= high for low, high in _LENGTHS.values()):
            return []
    usual, num = Counter(steps.tolist()).most_common(1)[0]
    row = int(np.flatnonzero(steps != usual)[0])
    said = _span(usual) if reading.dated else f"{usual:g}"
    return [
        f"{name!r}: the steps are not alike: {num} of {len(steps)} are {said}, the first other is from {shown[row]} to "
        f"{shown[row + 1]}; a series is taken to be a step apart"
    ]


def _span(microseconds: float) -> str:
    hours = microseconds / HOUR_US
    return f"{hours / 24:g} d" if hours >= 24 else f"{hours:g} h" if hours >= 1 else f"{microseconds / US_PER_S:g} s"
