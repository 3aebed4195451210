"""What training must not see of the held-out rows: leaks are planted, and caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from launcher.console.console import Console
from launcher.data.leaks import repeated
from launcher.data.samples import TensorSamples
from launcher.data.splits import Fold, Holdout, Nested, TemporalHoldout, split_rows
from launcher.errors import ConfigError
from launcher.process.signals import Interrupt
from launcher.tasks.data.kinds import Corpus, Images, Series, Table, Texts
from launcher.tasks.data.stdlib import InMemory
from launcher.tasks.estimators import Rows
from launcher.tasks.forecasting import Forecasting
from launcher.tasks.image_classification import ImageClassification
from launcher.tasks.models.mlp import MLP
from launcher.tasks.models.transformer import Transformer
from launcher.tasks.pretrain_clm import PretrainCLM
from launcher.tasks.tabular import TabularClassification, TabularRegression
from launcher.tasks.text_classification import TextClassification
from launcher.train.worker import work
from tests.support.fits import config_of, fit
from tests.tasks.conftest import factory

NUM = 90


class Given:
    """Data whose kind is that of the one method that is asked for."""

    def __init__(self, **kinds: Any) -> None:
        for name, value in kinds.items():
            setattr(self, name, lambda value=value: value)


def words(draw: np.random.Generator, num: int) -> str:
    return " ".join("".join(draw.choice(list("abcdefgh"), 4)) for _ in range(num))


def images(changed: np.ndarray) -> Any:
    draw = np.random.default_rng(0)
    pixels = draw.random((NUM, 1, 4, 4)).astype(np.float32)
    pixels[changed] = pixels[changed] * 0.1 + 0.9
    return ImageClassification(Given(images=Images(pixels, np.arange(NUM) % 3, list("abc"))), factory(MLP), Holdout())


def table(changed: np.ndarray, kind: Any = TabularClassification, model: Any = MLP) -> Any:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(NUM, 5))
    X[::7, 2] = np.nan
    X[changed] = X[changed] * 30 - 500
    y = np.arange(NUM) % 3 if kind is not TabularRegression else draw.normal(size=NUM)
    if kind is TabularRegression:
        y[changed] += 1000
    found = Table(X, y, list("vwxyz"), [], None if kind is TabularRegression else list("abc"))
    return kind(Given(table=found), factory(model), Holdout())


def texts(changed: np.ndarray) -> Any:
    draw = np.random.default_rng(0)
    found = [words(draw, 12) for _ in range(NUM)]
    for row in changed:
        found[row] = "zz yy zzyy " * 12
    data = Given(texts=Texts(found, np.arange(NUM) % 3, list("abc")))
    return TextClassification(data, factory(Transformer), Holdout(), vocab_size=300)


def corpus(changed: np.ndarray) -> Any:
    draw = np.random.default_rng(0)
    found = [words(draw, 30) for _ in range(NUM)]
    for row in changed:
        found[row] = "zz yy zzyy " * 30
    data = Given(corpus=Corpus(InMemory(found), f"leaks-{len(changed)}"))
    return PretrainCLM(data, factory(MLP), Holdout(), tokenizer="bpe", vocab_size=300, sequence_length=16)


def series(changed: np.ndarray, model: Any = MLP) -> Any:
    values = np.sin(np.arange(NUM) / 3) + np.random.default_rng(0).normal(size=NUM) / 9
    if len(changed):  # the targets of the held-out rows, and what comes after them
        values[int(changed[0]) + 4 :] += 77
    return Forecasting(Given(series=Series(values, "waves")), factory(model), TemporalHoldout(), lags=4)


def learned_from(task: Any) -> dict[str, Any]:
    """Everything of the training side that preprocessing may have touched."""
    data = task.datasets()
    if isinstance(data.train, Rows):
        prepared = task.model()
        if hasattr(prepared, "named_steps"):  # a pipeline: what its first step makes of the training rows
            return {"inputs": prepared.fit(data.train.X, data.train.y).named_steps["prepare"].transform(data.train.X)}
        return {"inputs": data.train.X, "labels": data.train.y}
    return data.train.fetch(torch.arange(len(data.train)))


def sees_held_out_rows(make: Callable[[np.ndarray], Any]) -> bool:
    """Whether the training side differs when nothing but the held-out rows does."""
    task = make(np.arange(0))
    before = learned_from(task)
    data = task.datasets()
    held_out = data.val_rows
    if held_out is None:  # documents
        held_out = split_rows(task.validation, NUM)[1]
    after = learned_from(make(held_out))
    assert before.keys() == after.keys()
    same = [np.array_equal(np.asarray(before[name]), np.asarray(after[name]), equal_nan=True) for name in before]
    return not all(same)


def bayes(**facts: Any) -> Any:
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB()


class Bayes:
    """An estimator, as a class of its own, so that it is known to be one."""

    def __new__(cls) -> Any:
        return bayes()

    fit = get_params = None


@pytest.mark.parametrize(
    "make",
    [
        images,
        table,
        lambda changed: table(changed, TabularRegression),
        lambda changed: table(changed, model=Bayes),
        texts,
        corpus,
        series,
    ],
    ids=["pixels", "table", "regression", "pipeline", "bpe", "corpus", "windows"],
)
def test_preprocessing_is_fitted_on_the_training_rows(make: Callable[[np.ndarray], Any]) -> None:
    """The held-out rows are made entirely different; not a bit of the training side changes."""
    assert not sees_held_out_rows(make)


class ScalesBeforeTheSplit(TabularClassification):
    """The classic leak: the scaler is fitted on all rows."""

    def preprocessor(self) -> Any:
        class All:
            def fit(own, X: Any) -> Any:
                own.fitted = super(ScalesBeforeTheSplit, self).preprocessor().fit(self.table.X)
                return own.fitted

        return All()


class EncodesTheTarget(TabularClassification):
    """Another one: a column that was made of the targets of all rows."""

    def datasets(self) -> Any:
        data = super().datasets()
        mean = float(np.nanmean(self.table.X[:, 0]))
        data.train.columns["inputs"][:, 0] = mean
        return data


class ReadsAllTexts(TextClassification):
    """And one more: the vocabulary is trained on all texts."""

    def _vocabulary(self, texts: list[str]) -> Any:
        return super()._vocabulary(self.data.texts().texts)


@pytest.mark.parametrize("kind", [ScalesBeforeTheSplit, EncodesTheTarget])
def test_a_planted_leak_of_a_table_is_seen(kind: Any) -> None:
    assert sees_held_out_rows(lambda changed: table(changed, kind))


def test_a_planted_leak_of_a_vocabulary_is_seen() -> None:
    def make(changed: np.ndarray) -> Any:
        task = texts(changed)
        task.__class__ = ReadsAllTexts
        return task

    assert sees_held_out_rows(make)


class Splits:
    """A splitter that does what it is told."""

    def __init__(self, train: Any, val: Any) -> None:
        self.rows = np.asarray(train), np.asarray(val)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        yield self.rows


class GroupBlind(Splits):
    """One that says it takes groups, and does not look at them."""

    def get_metadata_routing(self) -> Any:
        from sklearn.model_selection import GroupKFold

        return GroupKFold(2).get_metadata_routing()


def test_a_splitter_that_leaks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Splits puts 2 row\(s\) on both sides, the first is row 3"):
        split_rows(Splits([0, 1, 3, 4], [3, 4, 5]), 6)
    with pytest.raises(ConfigError, match=r"GroupBlind puts 1 group\(s\) on both sides, the first is group 7"):
        split_rows(GroupBlind([0, 1], [2, 3]), 4, groups=np.array([5, 7, 7, 8]))
    with pytest.raises(ConfigError, match="trains on row 4, which comes after the held-out row 2"):
        split_rows(Splits([0, 1, 4], [2, 3]), 5, ordered=True)
    train, val = split_rows(Splits([4, 0, 1], [3, 2]), 5)
    assert (train.tolist(), val.tolist()) == ([0, 1, 4], [2, 3]), "where there is no order, there is none to break"


def test_an_inner_splitter_that_ignores_groups_is_refused() -> None:
    from sklearn.model_selection import GroupKFold, KFold

    groups = np.repeat(np.arange(6), 5)
    blind = Nested(GroupKFold(3), KFold(2, shuffle=True, random_state=0))
    with pytest.raises(ConfigError, match=r"on both sides"):
        split_rows(Fold(blind, 0, 0), 30, groups=groups)
    train, val = split_rows(Fold(Nested(GroupKFold(3), GroupKFold(2)), 0, 0), 30, groups=groups)
    assert set(groups[train]).isdisjoint(groups[val])


@pytest.mark.parametrize("validation", ["holdout", "kfold", "stratified_kfold"])
def test_a_forecast_from_the_future_is_refused(validation: str, tmp_path: Path) -> None:
    choice = [f"validation={validation}", *(["procedure.fold=0"] if validation != "holdout" else [])]
    expected = "balances classes" if validation.startswith("stratified") else "stand in the order of time"
    with pytest.raises(ConfigError, match=expected):
        fit(tmp_path, "task=forecasting", *choice)


def copies(path: Path, num: int) -> None:
    """A table of 100 rows and, far below, copies of the first `num` of them with other labels."""
    draw = np.random.default_rng(0)
    lines = [f"{draw.normal():.9f},{draw.choice(['x', 'y'])}" for _ in range(100)]
    labelled = [f"{line},{row % 2}" for row, line in enumerate(lines)]
    again = [f"{line},{1 - row % 2}" for row, line in enumerate(lines[:num])]
    path.write_text("\n".join(["size,shape,target", *labelled, *again]) + "\n")


@pytest.mark.parametrize("model", ["mlp", "naive_bayes"])
def test_copies_of_held_out_rows_are_counted(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    options = ["task=tabular", "data=files", f"data.path={path}", f"model={model}", "training.max_epochs=1"]
    copies(path, 10)
    options += ["tracker=[]", "validation=temporal_holdout", "validation.fraction=0.1"]  # the last 11 of 110
    (tmp_path / "planted").mkdir()
    work(config_of(*options), tmp_path / "planted", False, Console(), Interrupt())
    said = "".join(capsys.readouterr())
    assert "leak: 10 of 11 held-out samples stand among the training samples too (row 100 is row 0)" in said
    copies(path, 0)
    (tmp_path / "clean").mkdir()
    work(config_of(*options), tmp_path / "clean", False, Console(), Interrupt())
    assert "leak" not in "".join(capsys.readouterr())


def test_copies_among_texts_are_counted() -> None:
    task = texts(np.arange(0))
    assert repeated(task.datasets()) is None
    train, val = split_rows(task.validation, NUM, np.arange(NUM) % 3)
    found = task.data.texts()
    found.texts[val[2]] = found.texts[val[0]] = found.texts[train[4]]
    said = repeated(task.datasets())
    assert said is not None
    assert f"leak: 2 of {len(val)} held-out samples" in said
    assert f"(row {val[0]} is row {train[4]})" in said


def test_what_is_too_large_to_compare_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = TensorSamples(inputs=torch.zeros(50, 3), labels=torch.arange(50))
    found = samples.fingerprints()
    assert found is not None
    assert len(set(found.tolist())) == 1, "alike in all but their label"
    monkeypatch.setattr("launcher.data.samples.COMPARED_ROWS", 49)
    assert samples.fingerprints() is None


def test_the_modules_parameters_start_alike_whatever_is_held_out() -> None:
    """The last thing that a fold could learn from held-out rows before its first step: its weights."""

    def start(changed: np.ndarray) -> dict[str, torch.Tensor]:
        task = table(changed)
        task.datasets()
        torch.manual_seed(0)
        model: nn.Module = task.model()
        return model.state_dict()

    before, after = start(np.arange(0)), start(split_rows(Holdout(), NUM)[1])
    assert all(torch.equal(before[name], after[name]) for name in before)
