"""Classes in messages: by the names that a person gave them, never by the numbers that scikit-learn is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedShuffleSplit

from launcher.__main__ import main
from launcher.data.splits import split_rows
from launcher.errors import ConfigError

LABELS = ["pear", "quince"] * 20 + ["rare one"]


def table(place: Path) -> list[str]:
    rows = [f"{number % 7},{number % 5},{label}" for number, label in enumerate(LABELS)]
    (place / "t.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    return ["task=tabular", "data=files", "data.path=t.csv", "data.target=kind", "tracker=[]"]


def texts(place: Path) -> list[str]:
    rows = [f"word{number},{label}" for number, label in enumerate(LABELS)]
    (place / "t.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return ["task=text_classification", "data=files", "data.path=t.csv", "tracker=[]", "training.max_steps=1"]


def pictures(place: Path) -> list[str]:
    for number, label in enumerate(LABELS):
        (place / "p" / label).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(place / "p" / label / f"{number}.png")
    return ["model=mlp", "data=files", "data.path=p", "data.size=8", "tracker=[]", "training.max_steps=1"]


@pytest.mark.parametrize("made", [table, texts, pictures])
def test_a_class_too_rare_to_be_split_is_named(
    made: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(made)
    assert main([*made(tmp_path), "validation=stratified_holdout"]) == 2
    assert capsys.readouterr().err.endswith("Classes with too few members are: 'rare one'\n")


@pytest.mark.parametrize(
    "words", ["model=sgd +model.early_stopping=true", "model=gradient_boosting +model.n_iter_no_change=2"]
)
def test_a_class_too_rare_for_an_estimator_s_own_split_is_named(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The held-out rows are the second half of the others, so that the rare one is learned from."""
    monkeypatch.chdir(tmp_path)
    held_out = ["validation=holdout", "validation.fraction=0.1", "validation.seed=1"]
    assert main([*table(tmp_path), *words.split(), *held_out]) == 1
    assert "Classes with too few members are: 'rare one'\n" in capsys.readouterr().err


def test_many_rare_classes_are_all_named() -> None:
    """So many that scikit-learn's own list of them goes over several lines."""
    names = [f"class {number}" for number in range(60)]
    labels = np.repeat(np.arange(60), [1] * 50 + [9] * 10)
    with pytest.raises(ConfigError) as refused:
        split_rows(StratifiedShuffleSplit(1, test_size=0.5), len(labels), labels, classes=names)
    assert str(refused.value).endswith("are: " + ", ".join(map(repr, names[:50])))
