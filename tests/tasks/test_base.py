"""What tasks share: splits of rows and of groups, labels as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from launcher.data.splits import Holdout
from launcher.errors import ConfigError
from launcher.tasks.base import encode_labels, split_rows


def test_groups_stay_together_whatever_the_splitter() -> None:
    from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold

    draw = np.random.default_rng(0)
    groups = draw.integers(0, 40, 500)
    labels = groups % 3
    for splitter in (
        Holdout(0.25, seed=1),
        KFold(4),
        ShuffleSplit(1, test_size=0.25, random_state=0),
        StratifiedKFold(4),
    ):
        train, val = split_rows(splitter, 500, labels, groups)
        assert sorted([*train, *val]) == list(range(500))
        assert not set(groups[train]) & set(groups[val])
        assert len(set(groups[val])) == 10
    assert np.bincount([group % 3 for group in set(groups[val])]).min() >= 3  # stratified by the groups' labels


def test_rows_without_groups_are_split_as_the_splitter_says() -> None:
    train, val = split_rows(Holdout(0.2, seed=3), 50)
    expected = next(iter(Holdout(0.2, seed=3).split(np.zeros(50))))
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(val, expected[1])


def test_labels() -> None:
    assert encode_labels(["b", "a", "b"])[1] == ["a", "b"]
    assert encode_labels([10.0, 2.0, 2])[1] == ["2", "10"]
    numbers, names = encode_labels(["dog", "cat"], ["cat", "dog", "cow"])
    assert (numbers.tolist(), names) == ([1, 0], ["cat", "dog", "cow"])
    assert encode_labels([0, 2], 3)[1] == ["0", "1", "2"]
    for wrong, message in (
        ([None, "a"], "row 0: the label is missing"),
        (["a", float("nan")], "row 1: the label is missing"),
        (["a", "a"], "every label is 'a'"),
        ([], "there are no labels"),
    ):
        with pytest.raises(ConfigError, match=message):
            encode_labels(wrong)
    with pytest.raises(ConfigError, match="row 1: label '3' is out of range: expected 0 to 2"):
        encode_labels([0, 3], 3)
