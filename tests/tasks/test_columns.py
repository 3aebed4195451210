"""What a column of words is, by all of its rows, and what is told of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.tasks.data import readers
from launcher.tasks.data.files import Files


def written(folder: Path, text: str, name: str = "t.csv") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def column(folder: Path, *words: str, **options: Any) -> Any:
    """A feature column as the table has it: its values, or its categories."""
    rows = "".join(f"{word},{number % 2}\n" for number, word in enumerate(words))
    files = Files(written(folder, f"x,target\n{rows}"), **options)
    table = files.table()
    return table.X["x"].tolist(), bool(table.categorical), files.notes


NUMBERS = [
    (["1", "2"], [1.0, 2.0]),
    (["1"] * 20_000 + ["0.5"], [1.0] * 20_000 + [0.5]),
    (["1", "NA"], [1.0, np.nan]),
    ([" 1", "2 "], [1.0, 2.0]),
    (["1e3", "-2.5"], [1000.0, -2.5]),
    (["true", "", "FALSE"], [1.0, np.nan, 0.0]),
    (["0", "10"], [0.0, 10.0]),
]
TEXTS = [
    ["1"] * 20_000 + ["unknown"],
    ["01", "10"],
    ["1,007", "1,014"],
    ["None", "Insomnia"],
    ["yes", "no"],
    ["99999999999999999999999", "1"],
    ["NA", "null"],
]


@pytest.mark.parametrize(("words", "values"), NUMBERS, ids=range(len(NUMBERS)))
def test_all_words_are_numbers(tmp_path: Path, words: list[str], values: list[float]) -> None:
    found, categorical, _ = column(tmp_path, *words)
    np.testing.assert_array_equal(found, values)
    assert not categorical


@pytest.mark.parametrize("words", TEXTS, ids=range(len(TEXTS)))
def test_one_word_that_is_none_makes_them_texts_as_they_are_written(tmp_path: Path, words: list[str]) -> None:
    found, categorical, _ = column(tmp_path, *(f'"{word}"' for word in words))
    assert found == words
    assert categorical


def test_the_odd_word_is_told_with_its_line(tmp_path: Path) -> None:
    _, _, notes = column(tmp_path, *["1"] * 300, "unknown", "2")
    assert f"'x' is read as text: 'unknown' is no number ({tmp_path}/t.csv:302)" in notes


def test_a_column_that_is_dropped_blocks_nothing_and_is_not_told_of(tmp_path: Path) -> None:
    for odd in ("99999999999999999999999", "words", "0.5"):
        rows = "".join(f"{number if number < 11_000 else odd},{number % 7},{number % 2}\n" for number in range(11_002))
        files = Files(written(tmp_path, f"id,a,target\n{rows}"), drop=["id"])
        assert files.table().columns == ["a"]
        assert not any("id" in note for note in files.notes)


def test_labels_are_the_words_of_the_file(tmp_path: Path) -> None:
    def classes(*words: str, **options: Any) -> list[str] | None:
        rows = "".join(f"{number},{word}\n" for number, word in enumerate(words))
        found: list[str] | None = Files(written(tmp_path, f"a,target\n{rows}"), **options).table().classes
        return found

    assert classes("01", "02", "10") == ["01", "02", "10"]
    assert classes("01", "02", "10", classes=["10", "01", "02"]) == ["10", "01", "02"]
    assert classes("None", "Apnea", "NA") == ["Apnea", "NA", "None"]
    assert classes("1.0", "2", "1") == ["1", "2"]
    files = Files(written(tmp_path, "a,target\n1,cat\n2,cat \n3,dog\n"))
    files.table()
    assert "classes: cat 1, 'cat ' 1, dog 1" in files.notes
    assert "classes that look alike: 'cat', 'cat '" in files.notes


def test_texts_keep_the_words_that_mean_a_gap_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path, 'text,label\nnull,bad\nNA,bad\n"",good\nfine,None\n')
    found = Files(path).texts()
    assert found.texts == ["null", "NA", "", "fine"]
    assert found.classes == ["None", "bad", "good"]


def test_a_group_by_whole_numbers_of_more_than_64_bits(tmp_path: Path) -> None:
    ids = [10**24, 10**24 + 1, 10**24]
    path = written(tmp_path, "g,a,target\n" + "".join(f"{each},{n},{n % 2}\n" for n, each in enumerate(ids)))
    assert Files(path, groups="g").table().groups.tolist() == [0, 1, 0]  # type: ignore[union-attr]  # it has some


JSON_COLUMNS = [
    ([1, None, 2.5], [1.0, np.nan, 2.5]),
    ([float("nan"), 1, 2], [np.nan, 1.0, 2.0]),
    ([True, None, False], [1.0, np.nan, 0.0]),
    ([None] * 9000 + [3], [np.nan] * 9000 + [3.0]),
    ([1] * 9000 + [0.5], [1.0] * 9000 + [0.5]),
]


@pytest.mark.parametrize(("values", "found"), JSON_COLUMNS, ids=range(len(JSON_COLUMNS)))
def test_numbers_of_json(tmp_path: Path, values: list[Any], found: list[float]) -> None:
    lines = "\n".join(json.dumps({"x": value, "target": number % 2}) for number, value in enumerate(values))
    np.testing.assert_array_equal(Files(written(tmp_path, lines, "t.jsonl")).table().X["x"], found)


def test_several_types_of_json_are_texts_and_told(tmp_path: Path) -> None:
    values = [*[1] * 9000, "A5", True]
    lines = "\n".join(json.dumps({"x": value, "target": number % 2}) for number, value in enumerate(values))
    files = Files(written(tmp_path, lines, "t.jsonl"))
    assert files.table().X["x"].tolist() == [*["1"] * 9000, "A5", "true"]
    assert "'x' holds values of several types and is read as text" in files.notes
    assert files.table().X["x"].tolist()[-1] == "true"


def test_a_long_field(tmp_path: Path) -> None:
    long = "word " * 60_000
    found = Files(written(tmp_path, f'text\n"{long}"\nshort\n')).corpus()
    assert found.documents.read(np.array([0, 1])) == [long, "short"]


def test_semicolons_are_named_and_read(tmp_path: Path) -> None:
    path = written(tmp_path, "size;price;target\n1;0,5;a\n2;1.234,5;b\n")
    with pytest.raises(ConfigError, match=r"t\.csv:1: one column, called 'size;price;target': .* data\.delimiter=';'"):
        Files(path).table()
    found = Files(path, delimiter=";", decimal=",").table()
    assert found.X.to_numpy().tolist() == [[1.0, 0.5], [2.0, 1234.5]]


def test_another_file_of_a_folder_has_other_columns(tmp_path: Path) -> None:
    written(tmp_path, "a,target\n1,x\n", "d/1.csv")
    written(tmp_path, "b,target\n1,y\n", "d/2.csv")
    with pytest.raises(ConfigError, match=r"d/2\.csv: other columns than in .*d/1\.csv: 'a', 'b'"):
        Files(str(tmp_path / "d")).table()


def test_a_column_without_a_value_is_told(tmp_path: Path) -> None:
    files = Files(written(tmp_path, "a,void,target\n1,,x\n2,,y\n"))
    assert files.table().columns == ["a", "void"]
    assert "no value in any row: 'void'" in files.notes


def parquet(folder: Path, **columns: Any) -> str:
    """The rows that `keep` chooses, as pandas writes them: with their numbers before the choice as a column."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    path = folder / "t.parquet"
    frame[frame["keep"]].drop(columns="keep").to_parquet(path)
    return str(path)


def test_an_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    path = parquet(tmp_path, a=[3.0, 1.0, 2.0, 5.0], target=["x", "x", "y", "y"], keep=[True, True, False, True])
    files = Files(path)
    assert files.table().columns == ["a"]
    assert "left out: '__index_level_0__' (the index that pandas writes)" in files.notes
    again = Files(written(tmp_path, ",a,target\n0,3,x\n2,2,y\n"))
    assert again.table().columns == ["a"]
    assert "left out: '' (the index that pandas writes)" in again.notes


def test_decimals_and_truth_values_with_gaps_of_parquet(tmp_path: Path) -> None:
    import decimal

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None],
            "flag": [True, None, False],
            "colour": pyarrow.array(["red", "blue", "red"]).dictionary_encode(),
            "target": ["x", "y", "x"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    found = Files(str(tmp_path / "t.parquet")).table()
    np.testing.assert_array_equal(found.X["price"], [1.5, 2.25, np.nan])
    np.testing.assert_array_equal(found.X["flag"], [1.0, np.nan, 0.0])
    assert found.X["colour"].tolist() == ["red", "blue", "red"]


@pytest.mark.parametrize("large", [False, True])
def test_another_content_with_the_same_time_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """As of small files, so of large ones, which are kept in the cache as columns."""
    monkeypatch.setattr(readers, "LARGE", 0 if large else 1 << 30)
    path = written(tmp_path, "text,label\none,1\ntwo,2\n")
    before = Path(path).stat()
    first = Files(path)
    assert first.texts().texts == ["one", "two"]
    print_before = first.corpus().fingerprint
    written(tmp_path, "text,label\nsix,2\nten,1\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Files(path).texts().texts == ["six", "ten"]
    assert Files(path).corpus().fingerprint != print_before
    assert Files(path).texts().texts == ["six", "ten"]


def test_errors_of_a_kept_file_name_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LARGE", 0)
    path = written(tmp_path, "text,label\none,1\ntwo,\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"t\.csv:3: the label is missing"):
            Files(path).texts()


def test_paragraphs_between_blank_lines_with_spaces(tmp_path: Path) -> None:
    path = written(tmp_path, "one\r\nmore\r\n  \t\r\ntwo\r\n\r\n\r\nthree\r\n", "story.txt")
    corpus = Files(path).corpus()
    assert corpus.documents.read(np.arange(3)) == ["one\nmore", "two", "three\n"]
    assert len(corpus.documents) == 3
