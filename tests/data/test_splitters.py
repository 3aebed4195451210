"""What each entry of conf/validation holds out, as a torch module and as an estimator get it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from launcher.config.counts import num_splits
from launcher.data.samples import Datasets
from launcher.data.splits import Everything, Fold, Holdout, Nested, TemporalHoldout, split_rows
from launcher.errors import ConfigError
from launcher.process.seeds import derive
from launcher.train.build import build_task
from tests.support.fits import config_of

Split = tuple[np.ndarray, np.ndarray]

TORCH = ("task=tabular", "data=breast_cancer", "model=mlp")
ESTIMATOR = ("task=tabular", "data=breast_cancer", "model=naive_bayes")
LABELS = ("malignant", "benign")
NUM = 569
BOTH = pytest.mark.parametrize("words", [TORCH, ESTIMATOR], ids=["torch", "estimator"])


@cache
def composed(*words: str) -> DictConfig:
    return config_of(*words)


def data_of(*words: str, fold: int | None = None, inner_fold: int | None = None) -> Datasets:
    """What a fit learns from and is judged by."""
    config = composed(*words).copy()
    if fold is not None:
        OmegaConf.update(config, "procedure", {"fold": fold, "inner_fold": inner_fold}, force_add=True)
    return build_task(config).datasets()


def rows_of(*words: str, fold: int | None = None, inner_fold: int | None = None) -> Split:
    """The rows that a fit learns from and holds out, and a look that its samples are as many."""
    data = data_of(*words, fold=fold, inner_fold=inner_fold)
    assert data.train_rows is not None
    assert data.val_rows is not None
    assert (len(data.train), len(data.val or ())) == (len(data.train_rows), len(data.val_rows))
    assert (np.diff(data.train_rows) > 0).all()
    assert (np.diff(data.val_rows) > 0).all()
    return data.train_rows, data.val_rows


def folds_of(num: int, *words: str) -> list[Split]:
    """The rows of each fit of a cross-validation."""
    return [rows_of(*words, fold=fold) for fold in range(num)]


def cancer() -> np.ndarray:
    from sklearn.datasets import load_breast_cancer

    return np.asarray(load_breast_cancer().target)


def partition(folds: list[Split], num: int) -> None:
    """Every row is held out once, and each fold learns from all the others."""
    assert np.array_equal(np.sort(np.concatenate([val for _, val in folds])), np.arange(num))
    for train, val in folds:
        assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(num))


@BOTH
def test_holdout(words: tuple[str, ...]) -> None:
    train, val = rows_of(*words, "validation=holdout", "validation.fraction=0.3")
    assert len(val) == round(0.3 * NUM)
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(NUM))
    assert np.array_equal(val, rows_of(*words, "validation=holdout", "validation.fraction=0.3", "seed=0")[1])
    other = rows_of(*words, "validation=holdout", "validation.fraction=0.3", "seed=1")[1]
    assert 0 < len(np.intersect1d(val, other)) < len(val)


@BOTH
def test_stratified_holdout(words: tuple[str, ...]) -> None:
    train, val = rows_of(*words, "validation=stratified_holdout")
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(NUM))
    assert abs(len(val) - 0.2 * NUM) < 1
    for side in (train, val):
        counts, whole = np.bincount(cancer()[side]), np.bincount(cancer())
        assert (np.abs(counts - whole * len(side) / NUM) < 1).all()
    assert not np.array_equal(val, rows_of(*words, "validation=stratified_holdout", "seed=1")[1])


@BOTH
def test_kfold(words: tuple[str, ...]) -> None:
    folds = folds_of(5, *words, "validation=kfold")
    partition(folds, NUM)
    assert {len(val) for _, val in folds} == {NUM // 5, NUM // 5 + 1}
    assert not np.array_equal(folds[0][1], np.arange(len(folds[0][1]))), "the rows are shuffled"
    assert not np.array_equal(folds[0][1], rows_of(*words, "validation=kfold", "seed=1", fold=0)[1])


@BOTH
def test_stratified_kfold(words: tuple[str, ...]) -> None:
    folds = folds_of(4, *words, "validation=stratified_kfold", "validation.n_splits=4")
    partition(folds, NUM)
    for _, val in folds:
        assert (np.abs(np.bincount(cancer()[val]) - np.bincount(cancer()) / 4) < 1).all()


@BOTH
def test_repeated_kfold(words: tuple[str, ...]) -> None:
    folds = folds_of(6, *words, "validation=repeated_kfold", "validation.n_splits=3", "validation.n_repeats=2")
    partition(folds[:3], NUM)
    partition(folds[3:], NUM)
    assert not np.array_equal(folds[0][1], folds[3][1]), "each repeat is shuffled anew"


@BOTH
@pytest.mark.parametrize(("gap", "size"), [(0, None), (3, None), (0, 40), (2, 40)])
def test_time_series(words: tuple[str, ...], gap: int, size: int | None) -> None:
    options = ("validation=time_series", f"validation.gap={gap}", f"validation.max_train_size={size or 'null'}")
    folds = folds_of(5, *words, *options)
    assert np.array_equal(np.concatenate([val for _, val in folds]), np.arange(NUM - 5 * (NUM // 6), NUM))
    for train, val in folds:
        assert train[-1] + gap + 1 == val[0], "every training row precedes, and the gap is honoured"
        assert np.array_equal(train, np.arange(train[0], train[-1] + 1))
        assert (train[0] == 0) if size is None else (len(train) == size), "the window expands, or slides"


@BOTH
@pytest.mark.parametrize(("gap", "size"), [(0, None), (7, 30)])
def test_temporal_holdout(words: tuple[str, ...], gap: int, size: int | None) -> None:
    options = ("validation=temporal_holdout", f"validation.gap={gap}", f"validation.max_train_size={size or 'null'}")
    train, val = rows_of(*words, *options)
    assert np.array_equal(val, np.arange(NUM - round(0.2 * NUM), NUM))
    assert train[-1] + gap + 1 == val[0]
    assert len(train) == (size or NUM - len(val) - gap)


@BOTH
def test_nested(words: tuple[str, ...]) -> None:
    """The inner folds are folds of the outer one's training rows: together they are those rows, and no other."""
    options = ("validation=nested", "validation.outer.n_splits=3", "validation.inner.n_splits=2")
    outer = folds_of(3, *words, *options)
    partition(outer, NUM)
    for fold, (train, val) in enumerate(outer):
        inner = [rows_of(*words, *options, fold=fold, inner_fold=each) for each in (0, 1)]
        assert np.array_equal(np.sort(np.concatenate([chosen for _, chosen in inner])), train)
        for learned, chosen in inner:
            assert np.array_equal(np.sort(np.concatenate([learned, chosen])), train)
            assert len(np.intersect1d(np.concatenate([learned, chosen]), val)) == 0


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """115 visits of 17 patients, some of whom came often."""
    draw = np.random.default_rng(0)
    patients = draw.permutation(np.repeat(np.arange(17), draw.integers(2, 12, 17)))
    lines = [f"{draw.normal():.6f},p{patient},{draw.integers(2)}" for patient in patients]
    path = tmp_path_factory.mktemp("visits") / "visits.csv"
    path.write_text("\n".join(["pressure,patient,target", *lines]) + "\n")
    return path


def patients_of(path: Path) -> np.ndarray:
    return np.array([line.split(",")[1] for line in path.read_text().splitlines()[1:]])


@pytest.mark.parametrize("model", ["mlp", "naive_bayes"])
@pytest.mark.parametrize("validation", ["group_kfold", "kfold", "stratified_kfold", "repeated_kfold", "holdout"])
def test_no_group_on_both_sides(visits: Path, validation: str, model: str) -> None:
    """Where the data has groups, every validation keeps them together; group_kfold also makes the folds alike in size."""
    words = ("task=tabular", f"model={model}", "data=files", f"data.path={visits}", "data.groups=patient")
    patients = patients_of(visits)
    chosen = [f"validation={validation}", *(["validation.n_repeats=2"] if validation == "repeated_kfold" else [])]
    num = num_splits(dict(composed(*words, *chosen).validation))
    assert num == {"repeated_kfold": 10, "holdout": 1}.get(validation, 5)
    folds = folds_of(num, *words, *chosen) if num > 1 else [rows_of(*words, *chosen)]
    for train, val in folds:
        assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(115))
        assert set(patients[train]).isdisjoint(patients[val])
    if validation == "group_kfold":
        partition(folds, 115)
        assert max(len(val) for _, val in folds) - min(len(val) for _, val in folds) < 12, "no more than a patient"


def test_the_groups_column_is_no_feature(visits: Path) -> None:
    words = ("task=tabular", "model=mlp", "data=files", f"data.path={visits}")
    assert data_of(*words, "data.groups=patient").facts["columns"] == ["pressure"]
    assert data_of(*words).facts["columns"] == ["pressure", "patient"]


def test_snippets_of_a_file_stay_together() -> None:
    words = ("task=text_classification", "data.max_per_class=60", "data.min_per_class=50", "validation=group_kfold")
    task = build_task(composed(*words, "procedure.fold=1"))
    groups = task.data.texts().groups
    data = task.datasets()
    assert len(data.val_rows)
    assert set(groups[data.train_rows]).isdisjoint(groups[data.val_rows])


def test_folds_of_documents_and_pictures() -> None:
    """Tasks that are not tables follow the fold too."""
    pictures = folds_of(3, "model=mlp", "validation=kfold", "validation.n_splits=3")
    partition(pictures, 1797)
    words = ("task=pretrain_clm", "data.max_bytes=60000", "validation=kfold")
    held_out = [data_of(*words, fold=fold).facts["val_tokens"] for fold in range(5)]
    whole = data_of(*words, fold=0).facts
    assert sum(held_out) == whole["train_tokens"] + whole["val_tokens"]
    assert len(set(held_out)) > 1


def test_holdouts_equal_their_definition() -> None:
    rows = np.zeros(50)
    ((train, val),) = Holdout(0.2, seed=3).split(rows)
    order = np.random.default_rng(derive(3, "holdout")).permutation(50)
    assert np.array_equal(val, np.sort(order[:10]))
    assert np.array_equal(train, np.sort(order[10:]))
    ((train, val),) = TemporalHoldout(0.1, gap=4, max_train_size=6).split(rows)
    assert (train.tolist(), val.tolist()) == ([35, 36, 37, 38, 39, 40], [45, 46, 47, 48, 49])
    ((train, val),) = Everything().split(rows)
    assert (len(train), len(val)) == (50, 0)


def test_a_fold_is_the_splitters_own() -> None:
    from sklearn.model_selection import KFold, StratifiedKFold

    rows, labels = np.zeros(60), np.arange(60) % 3
    outer = StratifiedKFold(4, shuffle=True, random_state=5)
    expected = list(outer.split(rows, labels))
    for fold, (train, val) in enumerate(expected):
        found = split_rows(Fold(outer, fold), 60, labels)
        assert np.array_equal(found[0], train)
        assert np.array_equal(found[1], val)
    nested = Nested(outer, KFold(3))
    train, _ = expected[2]
    learned, chosen = list(KFold(3).split(train))[1]
    found = split_rows(Fold(nested, 2, 1), 60, labels)
    assert np.array_equal(found[0], train[learned])
    assert np.array_equal(found[1], train[chosen])
    assert np.array_equal(split_rows(Fold(nested, None, 1), 60, labels)[1], np.arange(20, 40)), "of all rows"


@pytest.mark.parametrize(
    ("node", "num"),
    [
        ({"_target_": "launcher.data.splits.Holdout"}, 1),
        ({"_target_": "sklearn.model_selection.KFold", "n_splits": 7}, 7),
        ({"_target_": "sklearn.model_selection.RepeatedKFold", "n_splits": 7, "n_repeats": 2}, 14),
        ({"_target_": "launcher.data.splits.Nested", "outer": {"_target_": "x", "n_splits": 4}, "inner": {}}, 4),
        ({"_target_": "sklearn.model_selection.LeaveOneOut"}, None),
    ],
)
def test_the_number_of_folds_is_known_before_the_data(node: dict[str, object], num: int | None) -> None:
    assert num_splits(node) == num


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as error:
        call()
    return str(error.value)


def test_what_a_splitter_needs_is_said_by_name() -> None:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    assert "GroupKFold keeps groups together, and the data states none" in refused(lambda: split_rows(GroupKFold(2), 9))
    assert "StratifiedKFold balances classes" in refused(lambda: split_rows(StratifiedKFold(2), 9))
    assert "Cannot have number of splits n_splits=12" in refused(lambda: split_rows(KFold(12), 9))
    assert "makes no fold 2" in refused(lambda: split_rows(Fold(KFold(2), 2), 9))
    assert "leaves no row to train on" in refused(lambda: split_rows(TemporalHoldout(0.2, gap=40), 50))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("validation=kfold", "procedure=single"), "KFold makes 5 folds and Single would fit the first alone"),
        (("procedure=cross_validation",), "cross-validation needs folds, and Holdout holds rows out once"),
        (("validation=kfold", "procedure.fold=5"), "KFold makes 5 folds, counted from 0"),
        (("validation=kfold", "procedure.grid={optimizer.lr:[1,2]}"), "KFold has no inner folds"),
        (("validation=nested", "num_seeds=2"), "validation=nested fits each fold once"),
        (("validation=nested", "stopping=[val_loss]"), "its rows choose nothing; leave out stopping=[val_loss]"),
        (("validation=kfold", "validation.n_splits=0"), "validation.n_splits=0: expected a whole number at least 1"),
        (("validation=kfold", "seed=5000000000"), "at most 4.29497e+09"),
        (("validation=time_series", "validation.gap=-1"), "validation.gap=-1: expected a whole number at least 0"),
        (("validation=kfold", "procedure.interval=normal"), "expected student_t, nadeau_bengio"),
        (("validation=kfold", "procedure.confidence=1"), "expected a number above 0 and below 1"),
    ],
)
def test_clashes_are_refused_before_anything_starts(words: tuple[str, ...], message: str) -> None:
    assert message in refused(lambda: config_of(*words))


def test_scikit_learns_own_refusals_are_ours() -> None:
    """What only the splitter itself knows is refused when it is built."""
    config = config_of("validation=kfold", "validation.shuffle=false")
    assert "validation: Setting a random_state has no effect since shuffle is False" in refused(
        lambda: build_task(config)
    )
