"""Rows of a CSV file without a word in them, as spreadsheets write below a table: left out as blank lines are, and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.tasks.data import readers
from launcher.tasks.data.files import Files


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1,2,p\n,,\n3,4,q\n5,6,p\n", "; left out: 1 empty row (t.csv:3)"),
        ("1,2,p\n3,4,q\n5,6,p\n,,\n,,\n", "; left out: 2 empty rows (the first is t.csv:5)"),
        ("1,2,p\n\n , ,\t\n3,4,q\n\n5,6,p\n", "; left out: 1 empty row (t.csv:4)"),
        ('1,2,p\n"","",""\n3,4,q\n5,6,p', "; left out: 1 empty row (t.csv:3)"),
        (",,\n1,2,p\n3,4,q\n5,6,p", "; left out: 1 empty row (t.csv:2)"),
        ("1,2,p\n3,4,q\n5,6,p\n", ""),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_they_are_left_out_and_told(
    rows: str, said: str, kept: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a file so large that its columns are kept, when they are read again."""
    (place / "t.csv").write_text("a,b,y\n" + rows)
    if kept:
        monkeypatch.setattr(readers, "LARGE", 1)
    for _ in range(1 + kept):
        files = Files("t.csv", target="y")
        found = files.table()
        assert files.notes[0] == f"read: 3 rows{said}"
        assert np.array_equal(found.X.to_numpy(), [[1, 2], [3, 4], [5, 6]])
        assert [str(found.classes[number]) for number in found.y] == ["p", "q", "p"]


def test_lines_are_counted_with_them(place: Path) -> None:
    (place / "t.csv").write_text("a,b,y\n1,2,p\n,,\n3,4,\n")
    with pytest.raises(ConfigError, match=r"^t\.csv:4: the label is missing"):
        Files("t.csv", target="y").table()
    (place / "t.csv").write_text("a,b,y\n1,2,p\n,,\n3,4,q\n,,\n5,inf,q\n")
    with pytest.raises(ConfigError, match=r"^t\.csv:6: 'b' is infinite"):
        Files("t.csv", target="y").table()


def test_nothing_but_empty_rows_is_no_row(place: Path) -> None:
    (place / "t.csv").write_text("a,b,y\n,,\n,,\n")
    with pytest.raises(ConfigError, match=r"^t\.csv: holds no row"):
        Files("t.csv", target="y").table()


def test_an_empty_text_in_quotes_is_one_where_there_is_one_column(place: Path) -> None:
    (place / "t.csv").write_text('text\na\n""\nb\n')
    documents = Files("t.csv").corpus().documents
    assert documents.read(np.arange(len(documents))) == ["a", "", "b"]
