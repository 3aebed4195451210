"""The user's files: what is read from them, and what is wrong with them by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launcher.errors import ConfigError
from launcher.tasks.data.files import Files
from launcher.tasks.data.hub import Hub

ROWS = [("a plum", "fruit"), ("an oak", "tree"), ("a fig", "fruit"), ("an elm", "tree")]


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def texts_as(folder: Path, format: str) -> str:
    """The rows as a file of a format."""
    if format in ("csv", "tsv"):
        comma = "," if format == "csv" else "\t"
        return write(folder, f"rows.{format}", "\n".join(comma.join(row) for row in [("text", "label"), *ROWS]) + "\n")
    objects = [{"text": text, "label": label} for text, label in ROWS]
    if format == "jsonl":
        return write(folder, "rows.jsonl", "\n\n".join(map(json.dumps, objects)))
    if format == "json":
        return write(folder, "rows.json", json.dumps(objects, indent=1))
    if format == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects), folder / "rows.parquet")
        return str(folder / "rows.parquet")
    for number, (text, label) in enumerate(ROWS):
        (folder / label).mkdir(exist_ok=True)
        write(folder / label, f"{number}.txt", text)
    return str(folder)


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "json", "parquet", "folders"])
def test_texts_of_every_format(tmp_path: Path, format: str) -> None:
    found = Files(texts_as(tmp_path, format)).texts()
    assert found.classes == ["fruit", "tree"]
    assert sorted(zip(found.texts, found.labels.tolist(), strict=True)) == sorted(
        (text, int(label == "tree")) for text, label in ROWS
    )


def test_several_files_are_one_table_and_errors_name_the_right_one(tmp_path: Path) -> None:
    write(tmp_path, "1.csv", "text,label\n" + 'x,a\n"y\ny",b\n')
    write(tmp_path, "2.csv", "text,label\nz,a\n\nw,\n")
    assert Files(str(tmp_path / "1.csv")).texts().texts == ["x", "y\ny"]
    for path in (str(tmp_path), str(tmp_path / "*.csv")):
        with pytest.raises(ConfigError, match=r"2\.csv:4: the label is missing"):
            Files(path).texts()


def test_a_line_is_counted_through_quoted_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"one\ntwo\nthree",a\nx,b\n,a\n')
    with pytest.raises(ConfigError, match=r"a\.csv:6: the text is missing"):
        Files(path).texts()


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"t{number},{number}\n" for number in range(12)))
    found = Files(path).texts()
    assert found.classes == [str(number) for number in range(12)]
    assert found.labels.tolist() == list(range(12))


MALFORMED: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    ("a.csv", "", {}, r"a\.csv: the file is empty"),
    ("a.csv", "text,label\n", {}, r"a\.csv: holds no row"),
    ("a.csv", "text,label\nx,a\ny\n", {}, r"a\.csv:3: 1 fields where the header has 2"),
    ("a.csv", "text,label\nx,a\ny,b,c\n", {}, r"a\.csv:3: 3 fields where the header has 2"),
    ("a.csv", "text,text\nx,a\n", {}, r"a\.csv:1: two columns have the name 'text'"),
    ("a.csv", 'text,label\nx,a\n"y,b\n', {}, r"a\.csv:3: a quote is opened in this row and never closed"),
    ("a.csv", b"text,label\nx,a\ny,\xff\n", {}, r"a\.csv:3: not UTF-8 \(byte 0xff\)"),
    ("a.csv", "text,label\nx,a\n", {"label": "lable"}, r"a\.csv: there is no column 'lable' \(data\.label=lable\)\. Did you mean 'label'\?"),
    ("a.csv", "txt,label\nx,a\n", {}, r"a\.csv: there is no column 'text' \(data\.text=text\)\. Did you mean 'txt'\?"),
    ("a.csv", "text,label\nx,a\ny,a\n", {}, r"every label is 'a'; there is nothing to tell apart"),
    ("a.csv", "text,label\nx,1\ny,2\nz,3\n", {"classes": 3}, r"a\.csv:4: label '3' is out of range: expected 0 to 2"),
    ("a.csv", "text,label\nx,cat\ny,dgo\n", {"classes": ["cat", "dog"]}, r"a\.csv:3: label 'dgo' is not one of the 2 classes\. Did you mean 'dog'\?"),
    ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', {}, r"a\.jsonl:2: not JSON: Expecting value \(column"),
    ("a.jsonl", '{"text": "x", "label": 1}\n\n[1]\n', {}, r"a\.jsonl:3: expected an object such as .*, found list"),
    ("a.jsonl", '{"text": "x", "label": 1}\n\n{"text": "y"}\n', {}, r"a\.jsonl:3: the label is missing"),
    ("a.json", '[{"text": "x"},\n {"text" 3}]', {}, r"a\.json:2: not JSON: Expecting ':' delimiter"),
    ("a.json", '[{"text": "x"}, 3]', {}, r"a\.json: entry 2 of the list is no object"),
    ("a.jsonl", "[1, 2]\n[3, 4]\n", {}, r"a\.jsonl:1: expected an object .* on each line, or one list of them, found a list"),
    ("a.parquet", "PAR", {}, r"a\.parquet: not Parquet"),
    ("a.parquet", "", {}, r"a\.parquet: the file is empty"),
    ("a.log", "x", {}, r"no file whose ending is known; data\.format=csv\|tsv\|jsonl\|parquet\|text chooses"),
    ("a.txt", "x\n", {}, r"text files have no labels; expected a folder for each class"),
    ("a.csv", "text,label\nx,a\n", {"format": "cvs"}, r"data\.format=cvs: expected .* Did you mean 'csv'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_files_are_refused(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ConfigError, match=message):
        Files(path, **options).texts()


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, "rows.csv", "text,label\nx,a\n")
    with pytest.raises(
        ConfigError, match=r"data\.path=.*/row\.csv: no such file or folder\. Did you mean 'rows\.csv'\?"
    ):
        Files(str(tmp_path / "row.csv")).texts()
    with pytest.raises(ConfigError, match=r"no file matches"):
        Files(str(tmp_path / "*.parquet")).texts()
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match=r"none: the folder is empty"):
        Files(str(tmp_path / "none")).texts()
    with pytest.raises(ConfigError, match=r"data\.path is empty"):
        Files("")
    write(tmp_path, "rows.jsonl", "{}")
    with pytest.raises(ConfigError, match=r"files of several formats: csv, jsonl; data\.format="):
        Files(str(tmp_path)).texts()
    assert Files(str(tmp_path), format="csv", classes=["a", "b"]).texts().texts == ["x"]


def table(path: str, **options: Any) -> Any:
    return Files(path, **options).table()


def test_a_table_tells_numbers_from_categories(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "id,size,colour,new,target\n7,1.5,red,true,yes\n8,,blue,false,no\n9,3,,true,yes\n")
    found = table(path, drop=["id"])
    assert found.columns == ["size", "colour", "new"]
    assert found.categorical == [1]
    assert found.classes == ["no", "yes"]
    assert found.y.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(found.X["size"], [1.5, np.nan, 3.0])
    np.testing.assert_array_equal(found.X["new"], [1.0, 0.0, 1.0])
    assert found.X["colour"].tolist()[:2] == ["red", "blue"]


def test_a_quantity_as_target(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "a,price\n1,2.5\n2,3\n")
    found = table(path, target="price", problem="regression")
    assert found.classes is None
    assert found.y.tolist() == [2.5, 3.0]


TABLES: list[tuple[str, dict[str, Any], str]] = [
    ("a,price\n1,2.5\n2,3\n", {"target": "price"}, r"t\.csv: the target 'price' has fractions such as 2\.5: data\.problem=regression fits"),
    ("a,target\n" + "".join(f"1,{number}\n" for number in range(30)), {}, r"the target 'target' has 30 different values in 30 rows: data\.problem=regression"),
    ("a,target\n1,2\n2,x\n", {"problem": "regression"}, r"t\.csv:3: the target 'target' is 'x'; data\.problem=regression needs a number in every row"),
    ("a,target\n1,2\n2,\n", {"problem": "regression"}, r"t\.csv:3: the target 'target' is missing"),
    ("a,target\n1,2\n2,3\n", {"target": "traget"}, r"there is no column 'traget' \(data\.target=traget\)\. Did you mean 'target'\?"),
    ("a,target\n1,2\n2,3\n", {"drop": ["b"]}, r"there is no column 'b' \(data\.drop=b\)\. There are: a, target\."),
    ("target\n1\n2\n", {}, r"no column is left beside the target 'target'"),
    ("a,target\n1,2\ninf,3\n", {}, r"t\.csv:3: 'a' is infinite"),
    ("a,target\n1,2\n2,\n", {}, r"t\.csv:3: the label is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "options", "message"), TABLES, ids=range(len(TABLES)))
def test_tables_that_do_not_fit_are_refused(
    tmp_path: Path, content: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        table(write(tmp_path, "t.csv", content), **options)


def test_other_refusals_of_tables(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.problem=clasification: expected classification or regression\. Did you mean"
    ):
        Files("x.csv", problem="clasification")
    path = write(tmp_path, "t.jsonl", '{"a": [1], "target": 1}\n{"a": [2], "target": 0}\n')
    with pytest.raises(
        ConfigError, match=r"t\.jsonl:1: 'a' holds .*, neither a number nor a text; data\.drop=\[a\] leaves it out"
    ):
        table(path)
    with pytest.raises(ConfigError, match="text has no columns"):
        table(write(tmp_path, "t.txt", "words"))


def test_a_corpus_from_a_column(tmp_path: Path) -> None:
    path = write(tmp_path, "c.jsonl", '{"body": "one"}\n{"body": "two"}\n{"body": null}\n')
    corpus = Files(path, text="body").corpus()
    assert corpus.documents.read(np.array([1, 0])) == ["two", "one"]
    with pytest.raises(ConfigError, match=r"c\.jsonl:3: expected a text in 'body', found None"):
        corpus.documents.read(np.array([2]))
    with pytest.raises(ConfigError, match="there is no column 'text'"):
        Files(path).corpus()


def test_a_folder_of_texts_may_have_empty_ones(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "one")
    write(tmp_path, "b.txt", "")
    write(tmp_path, "c.txt", "three")
    assert len(Files(str(tmp_path)).corpus().documents) == 2


def test_arrows_own_class_names_are_kept() -> None:
    """As data sets of the hub have them: numbers with names, in an order that is not the alphabet's."""
    import datasets

    from launcher.tasks.data.columns import labels
    from launcher.tasks.data.records import of_dataset

    made = datasets.Dataset.from_dict(
        {"label": [1, 0, 1]}, features=datasets.Features({"label": datasets.ClassLabel(names=["pos", "neg"])})
    )
    numbers, names = labels(of_dataset(made), "data.label", "label", None, "row {}".format, "made")
    assert (numbers.tolist(), names) == ([1, 0, 1], ["pos", "neg"])


def test_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for kind in ("texts", "table", "corpus", "images"):
        with pytest.raises(
            ConfigError, match=r"data\.path=nobody/nothing: .* the hub can not be reached from here"
        ) as caught:
            getattr(Hub("nobody/nothing"), kind)()
        assert "\n" not in str(caught.value)
