"""Files that cannot be read: one message of ours with the file and, where there are lines, the line; no library's own words."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from launcher.errors import ConfigError
from launcher.tasks.data.files import Files
from launcher.tasks.data.hub import Hub

CSV = "text,label\na,x\nb,y\n"
CONTENT: dict[str, tuple[str, bytes, str]] = {
    "quote-left-open": ("f.csv", b'text,label\na,x\n"b,y\nc,x\n', "f.csv:3: a quote is opened in this row and never closed"),
    "quote-within": ("f.csv", b'text,label\na,x\n"b"c,y\n', "f.csv:3: something stands behind a closing quote; within quotes a quote is written twice"),
    "no-names": ("f.csv", b",,\ntext,label,z\na,x,1\n", "f.csv:1: a header of 3 empty fields; the names of the columns are expected"),
    "utf-16": ("f.csv", CSV.encode("utf-16"), "f.csv: not UTF-8 but UTF-16, as Windows calls Unicode; save it as UTF-8"),
    "utf-16-lines": ("f.jsonl", '{"text":"a","label":1}\n'.encode("utf-16"), "f.jsonl: not UTF-8 but UTF-16, as Windows calls Unicode; save it as UTF-8"),
    "gzip": ("f.csv", gzip.compress(CSV.encode()), "f.csv: compressed by gzip; unpack it first"),
    "workbook": ("f.csv", b"PK\x03\x04\xff\xfe" + bytes(90), "f.csv: a ZIP archive, as a workbook of Excel is; export its sheet as CSV"),
    "deep": ("f.jsonl", b'{"text":"a","label":1}\n{"text":' + b"[" * 5000 + b"]" * 5000 + b"}\n", "f.jsonl:2: lists or objects within each other too deeply to be read"),
    "digits": ("f.jsonl", b'{"text":"a","label":' + b"1" * 5000 + b"}\n", "f.jsonl:1: a whole number of thousands of digits"),
    "half-a-character": ("f.jsonl", b'{"text":"a","label":1}\n{"text":"\\uD83D","label":2}\n', r"f.jsonl:2: \ud83d is half of a character, which no text has by itself"),
    "half-in-a-list": ("f.json", b'[{"text":"\\ude00","label":2}]', r"f.json: \ude00 is half of a character, which no text has by itself"),
    "cut-line": ("f.jsonl", b'{"text":"a","label":1}\n{"text":"b","label":\n', "f.jsonl:2: not JSON: Expecting value (column 21)"),
    "no-parquet": ("f.parquet", b"PAR1" + bytes(100), "f.parquet: not Parquet, or cut short: it does not end as a Parquet file does"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CONTENT)
def test_one_message_with_the_place(name: str, place: Path) -> None:
    file, content, said = CONTENT[name]
    (place / file).write_bytes(content)
    for read in ("texts", "corpus", "table"):
        with pytest.raises(ConfigError) as refused:
            getattr(Files(file, target="label"), read)()
        assert str(refused.value) == said


def test_a_whole_character_of_two_escapes_is_none(place: Path) -> None:
    (place / "f.jsonl").write_text('{"text":"\\ud83d\\ude00","label":1}\n{"text":"\\\\ud83d","label":2}\n')
    assert Files("f.jsonl").texts().texts == ["😀", "\\ud83d"]


def _written(place: Path, **columns: Any) -> bytes:
    parquet.write_table(pa.table(columns), place / "f.parquet")
    return (place / "f.parquet").read_bytes()


def cut(place: Path) -> str:
    (place / "f.parquet").write_bytes(_written(place, a=[1, 2, 3], y=["p", "q", "p"])[:-30])
    return "f.parquet: not Parquet, or cut short: it does not end as a Parquet file does"


def damaged(place: Path) -> str:
    whole = bytearray(_written(place, a=[1, 2, 3], y=["p", "q", "p"]))
    whole[20:60] = bytes(40)
    (place / "f.parquet").write_bytes(whole)
    return "f.parquet: not Parquet, or damaged: "


def double(place: Path) -> str:
    parquet.write_table(pa.table([[1, 2], [3, 4], ["p", "q"]], names=["a", "a", "y"]), place / "f.parquet")
    return "f.parquet: two columns have the name 'a'"


def listed(place: Path) -> str:
    _written(place, a=[1, 2], y=[[1], [2]])
    return "f.parquet: row 0: data.target=y: [1] is a list or an object, and one value is expected"


def object_in_json(place: Path) -> str:
    (place / "f.jsonl").write_text('{"a": 1, "y": {"z": 1}}\n{"a": 2, "y": "q"}\n')
    return 'f.jsonl:1: data.target=y: {"z": 1} is a list or an object, and one value is expected'


def unlike(place: Path) -> str:
    (place / "f").mkdir()
    parquet.write_table(pa.table({"a": [1, 2], "y": ["p", "q"]}), place / "f" / "1.parquet")
    parquet.write_table(pa.table({"a": [1.5, 2], "y": ["p", "q"]}), place / "f" / "2.parquet")
    parquet.write_table(pa.table({"a": ["x", "z"], "y": ["p", "q"]}), place / "f" / "3.parquet")
    return "f/3.parquet: 'a' is string, and int64 in f/1.parquet"


@pytest.mark.parametrize("made", [cut, damaged, double, listed, object_in_json, unlike])
def test_columns_that_cannot_be_read(made: Callable[[Path], str], place: Path) -> None:
    said = made(place)
    found = next(place.iterdir()).name
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        Files(found, target="y").table()


def test_groups_are_single_values(place: Path) -> None:
    parquet.write_table(pa.table({"a": [1, 2], "y": ["p", "q"], "g": [[1], [2]]}), place / "f.parquet")
    with pytest.raises(ConfigError, match=r"row 0: data\.groups=g: \[1\] is a list or an object"):
        Files("f.parquet", target="y", groups="g").table()


@pytest.mark.parametrize(
    "remark", [b"{no json", b"[1]", b'{"index_columns": 3}', b'{"index_columns": [{"kind": "range"}]}']
)
def test_what_pandas_remarks_is_not_needed(remark: bytes, place: Path) -> None:
    schema = pa.schema([("a", pa.int64()), ("y", pa.string())], metadata={b"pandas": remark})
    parquet.write_table(pa.table({"a": [1, 2], "y": ["p", "q"]}, schema=schema), place / "f.parquet")
    assert Files("f.parquet", target="y").table().columns == ["a"]


def test_bytes_that_are_texts_are_texts(place: Path) -> None:
    """As other programs write them, without saying so."""
    parquet.write_table(pa.table({"a": [1, 2], "y": pa.array([b"p\xc3\xa9", b"q"])}), place / "f.parquet")
    assert Files("f.parquet", target="y").table().classes == ["pé", "q"]


LOCAL: dict[str, tuple[dict[str, bytes], str]] = {
    "fields": ({"train.csv": b"text,label\na,x\nb,y,z\n"}, r"train\.csv:3: 3 fields where the header has 2"),
    "bytes": ({"train.csv": b"text,label\na,x\nb\xe9,y\n"}, r"train\.csv:3: not UTF-8 \(byte 0xe9\)"),
    "columns": ({"a.csv": b"text,label\na,x\n", "b.csv": b"text,other\na,x\n"}, r"b\.csv: other columns than in .*a\.csv: 'label', 'other'"),
    "json": ({"train.jsonl": b'{"text":"a","label":"x"}\n{"text":"b","label":\n'}, r"train\.jsonl:2: not JSON: Expecting value"),
    "parquet": ({"train.parquet": b"PAR1xxxxPAR1"}, r"train\.parquet: not Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
def test_a_folder_through_datasets(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's reader is pandas's, whose words name no file; that the folder is not there, as it said, was wrong."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    files, said = LOCAL[name]
    (place / "data").mkdir()
    for file, content in files.items():
        (place / "data" / file).write_bytes(content)
    with pytest.raises(ConfigError, match=said) as refused:
        Hub("./data").texts()
    assert not re.search("tokenizing|C error|codec|Schema at|magic|reached", str(refused.value))
