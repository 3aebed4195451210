"""Times are compared as times, however they are written."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError
from launcher.tasks.data.files import Files

DAYS = [datetime.datetime(2023, 12, 27, 22) + datetime.timedelta(days=day) for day in range(12)]
"""Over the turn of the year, where most texts stop rising."""
FORMATS = (
    "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%b %d %Y", "%d %B %Y", "%d.%m.%y %H:%M", "%d-%b-%Y",
    "%m/%d/%Y %I:%M %p", "%Y%m%d", "%Y-%m-%d %H:%M:%S+02:00", "%a %b %d %Y",
)  # fmt: skip


def read(folder: Path, times: Sequence[str], **options: Any) -> list[str]:
    """What is told of a series with these times."""
    path = folder / "series.csv"
    path.write_text("when,load\n" + "".join(f'"{time}",{row}.5\n' for row, time in enumerate(times)))
    files = Files(str(path), target="load", time="when", problem="regression", **options)
    found = files.series()
    assert found.times == list(times)
    return files.notes


@pytest.mark.parametrize("format", FORMATS)
def test_an_order_is_seen_in_every_way_of_writing(tmp_path: Path, format: str) -> None:
    times = [day.strftime(format) for day in DAYS]
    assert read(tmp_path, times) == ["read: 12 values"]
    swapped = [*times[:7], times[8], times[7], *times[9:]]
    with pytest.raises(ConfigError, match=r"series\.csv:10: 'when' is .*, not later than .* in the row before"):
        read(tmp_path, swapped)


@pytest.mark.parametrize(
    "times",
    [
        ["8h", "9h", "10h", "11h"],
        ["2023Q4", "2024Q1", "2024Q2"],
        ["2023-W52", "2024-W01", "2024-W02"],
        ["9", "10", "11"],
    ],
)
def test_numbers_with_a_unit_and_parts_of_years(tmp_path: Path, times: list[str]) -> None:
    assert read(tmp_path, times) == [f"read: {len(times)} values"]
    with pytest.raises(ConfigError, match="not later than"):
        read(tmp_path, [*times, times[0]])


def test_days_and_months_that_may_be_either(tmp_path: Path) -> None:
    times = ["01/02/2024", "01/03/2024", "02/01/2024"]
    with pytest.raises(ConfigError, match=r"rises read as %m/%d/%Y and does not read as %d/%m/%Y: .*data\.time_format"):
        read(tmp_path, times)
    assert read(tmp_path, times, time_format="%m/%d/%Y")[0] == "read: 3 values"
    with pytest.raises(ConfigError, match=r"series\.csv:4: 'when' is 02/01/2024, not later"):
        read(tmp_path, times, time_format="%d/%m/%Y")
    with pytest.raises(ConfigError, match=r"series\.csv:2: 'when' is '01/02/2024', which is not written as %Y"):
        read(tmp_path, times, time_format="%Y")


def test_a_text_that_sorts_and_is_no_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"series\.csv:4: 'when' is 02/01/2024, not later than 13/01/2024"):
        read(tmp_path, ["01/01/2024", "13/01/2024", "02/01/2024"])


def test_the_hour_that_comes_twice(tmp_path: Path) -> None:
    clock = ["2024-10-27T01:00:00", "2024-10-27T02:00:00", "2024-10-27T02:00:00", "2024-10-27T03:00:00"]
    with pytest.raises(ConfigError, match=r"series\.csv:4: .*Where clocks are put back an hour comes twice: an offset"):
        read(tmp_path, clock)
    offsets = ["+02:00", "+02:00", "+01:00", "+01:00"]
    assert read(tmp_path, [f"{time}{offset}" for time, offset in zip(clock, offsets, strict=True)]) == [
        "read: 4 values"
    ]
    with pytest.raises(ConfigError, match="without an offset from UTC, after times with one"):
        read(tmp_path, [f"{clock[0]}Z", *clock[1:]])


def test_steps_that_are_not_alike_are_told(tmp_path: Path) -> None:
    _, said = read(tmp_path, ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-08"])
    assert said.startswith(
        "'when': the steps are not alike: 2 of 3 are 1 d, the first other is from 2024-01-03 to 2024-01-08"
    )
    assert len(read(tmp_path, [f"2024-{month:02}-01" for month in range(1, 13)])) == 1, "months are alike"


def test_what_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"series\.csv:2: 'when' is 'soon', which is read as no time; data\.time_format"
    ):
        read(tmp_path, ["soon", "later"])
    with pytest.raises(ConfigError, match=r"series\.csv:3: 'when' is 'soon', which is not written as %d\.%m\.%Y"):
        read(tmp_path, ["01.02.2024", "soon"])
    path = tmp_path / "series.csv"
    path.write_text("when,load\n1,2\n,3\n")
    with pytest.raises(ConfigError, match=r"series\.csv:3: the time in 'when' is missing"):
        Files(str(path), target="load", time="when").series()


def test_times_of_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for days in (DAYS, [day.date() for day in DAYS]):
        table = pyarrow.table({"when": days, "load": list(range(12))})
        pyarrow.parquet.write_table(table, tmp_path / "series.parquet")
        files = Files(str(tmp_path / "series.parquet"), target="load", time="when")
        files.series()
        assert files.notes == ["read: 12 values"]
    pyarrow.parquet.write_table(table.take([1, 0, 2]), tmp_path / "series.parquet")
    with pytest.raises(ConfigError, match="not later than"):
        Files(str(tmp_path / "series.parquet"), target="load", time="when").series()
