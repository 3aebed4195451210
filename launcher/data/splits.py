"""Which rows are learned from and which are held out.

A splitter has scikit-learn's interface: `split(X, y, groups)` yields (training rows, held-out rows). Its first split
is the one that a task uses; `Fold` makes any other one the first, which is how the fits of a cross-validation differ.
Nothing here imports more than numpy, and the splitters of scikit-learn come with their own package.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from launcher.errors import ConfigError
from launcher.process.seeds import derive

Split = tuple[np.ndarray, np.ndarray]
"""Training rows and held-out rows, int64."""

IN_ORDER = frozenset({"TimeSeriesSplit", "TemporalHoldout"})
"""Splitters for which the order of the rows is the order of time."""


class Holdout:
    """One split: a random share of the rows is held out.

    `fraction` is the share held out, between 0 and 1; `seed` decides which rows.
    """

    def __init__(self, fraction: float = 0.2, seed: int = 0) -> None:
        self.fraction = _fraction(fraction)
        self.seed = seed

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields (training rows, held-out rows) as sorted int64 arrays; X is anything with a length."""
        num, num_val = len(X), _held_out(self.fraction, len(X))
        order = np.random.default_rng(derive(self.seed, "holdout")).permutation(num)
        yield np.sort(order[num_val:]), np.sort(order[:num_val])


class TemporalHoldout:
    """One split in the order of time: the last share of the rows is held out.

    `fraction` is the share held out, between 0 and 1; the `gap` rows before it are left out on both sides. With
    `max_train_size` only so many rows before the gap are learned from, else all.
    """

    def __init__(self, fraction: float = 0.2, gap: int = 0, max_train_size: int | None = None) -> None:
        self.fraction, self.gap, self.max_train_size = _fraction(fraction), gap, max_train_size

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields (training rows, held-out rows) as sorted int64 arrays; X is anything with a length."""
        num, num_val = len(X), _held_out(self.fraction, len(X))
        end = num - num_val - self.gap
        if end < 1:
            raise ConfigError(
                f"validation.gap={self.gap} leaves no row to train on: {num - num_val} rows come before the held-out ones"
            )
        start = 0 if self.max_train_size is None else max(0, end - self.max_train_size)
        yield np.arange(start, end), np.arange(num - num_val, num)


class Nested:
    """Folds within folds: the splits of `outer`, and those that `inner` makes of the training rows of each.

    The outer held-out rows score, the inner ones choose (Varma and Simon, 2006).
    """

    def __init__(self, outer: Any, inner: Any) -> None:
        self.outer, self.inner = outer, inner

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields the outer splits."""
        yield from _splits(self.outer, X, y, groups)


class Reserved:
    """Folds of the rows that are left when some are put aside for the end.

    The held-out rows of `test`'s first split are in no fold and choose nothing; `folds` splits the others. A
    cross-validation with `procedure.refit=true` fits its model in the end on all of these and looks at the reserved ones once.
    """

    def __init__(self, test: Any, folds: Any) -> None:
        self.test, self.folds = test, folds

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields the folds, in rows of the whole."""
        rows = _nth(self.test, 0, X, y, groups)[0]
        for learned, chosen in _splits(self.folds, *_inside(rows, X, y, groups)):
            yield rows[learned], rows[chosen]


class Everything:
    """All rows to learn from, none held out."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields (all rows, no row)."""
        yield np.arange(len(X)), np.arange(0)


class Fold:
    """One split of several: the one that `fold` numbers, from 0.

    With `inner` it is that split of the fold's training rows by the `inner` splitter of a `Nested`; `fold=None` then
    stands for all rows.
    """

    def __init__(self, splitter: Any, fold: int | None, inner: int | None = None) -> None:
        self.splitter, self.fold, self.inner = splitter, fold, inner

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yields the one split."""
        rows = np.arange(len(X))
        train, val = (rows, rows[:0]) if self.fold is None else _nth(self.splitter, self.fold, X, y, groups)
        if self.inner is not None:
            learned, chosen = _nth(self.splitter.inner, self.inner, *_inside(train, X, y, groups))
            train, val = train[learned], train[chosen]
        yield train, val


def split_rows(
    validation: Any,
    num: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    ordered: bool = False,
    classes: Sequence[str] = (),
) -> Split:
    """The (training, held-out) rows of a splitter's first split: two sorted int64 arrays.

    `labels` are class numbers, None where the target is no class, and `classes` their names for messages. Where rows come in groups (an integer a row), no
    group is on both sides, whatever the splitter: one that knows of groups is given them, and for any other the
    groups are split and the rows follow theirs; a group's label is that of most of its rows. `ordered` says that the
    rows stand in the order of time: then every training row has to come before every held-out one.

    Raises ConfigError for a splitter that needs groups or classes where there are none, that finds too few rows, and
    for a split that leaks: with a row or a group on both sides, or against the order of time.
    """
    splitter = validation.splitter if isinstance(validation, Fold) else validation
    inside = [splitter]
    if isinstance(splitter, Nested | Reserved):
        inside = list(vars(splitter).values())
    by_group = any(_takes_groups(each) for each in inside)
    names = " and ".join(dict.fromkeys(type(each).__name__ for each in inside))
    if by_group and groups is None:
        raise ConfigError(
            f"validation: {names} keeps groups together, and the data states none; data.groups=<column> names the column of a file that holds them"
        )
    if labels is None and any("Stratified" in type(each).__name__ for each in inside):
        raise ConfigError(
            f"validation: {names} balances classes, and the target is none; validation=kfold or holdout does without"
        )
    try:
        if groups is None or by_group:
            train, val = next(iter(validation.split(np.zeros(num), labels, groups)))
        else:
            train, val = _split_groups(validation, labels, groups)
    except ValueError as error:
        raise ConfigError(f"validation: {names} over {num} rows: {with_names(str(error), classes)}") from error
    train, val = np.sort(train), np.sort(val)
    _refuse_leaks(train, val, groups, ordered or any(type(each).__name__ in IN_ORDER for each in inside), names)
    return train, val


def with_names(said: str, classes: Sequence[str]) -> str:
    """What scikit-learn says of classes, which it has as numbers, with their names: `are: [2]` is `are: 'pear'`."""

    def named(match: re.Match[str]) -> str:
        numbers = [int(float(word)) for word in re.split(r"[\s,]+", match[1].strip())]
        return ", ".join(repr(classes[number]) for number in numbers) if max(numbers) < len(classes) else match[0]

    return re.sub(r"(?<=members are: )\[([\d.,\s]+)\]", named, said)


def _split_groups(validation: Any, labels: np.ndarray | None, groups: np.ndarray) -> Split:
    """A split of the groups, as rows."""
    names, member = np.unique(groups, return_inverse=True)
    majority = None
    if labels is not None:
        votes = np.zeros((len(names), int(labels.max()) + 1), dtype=np.int64)
        np.add.at(votes, (member, labels), 1)
        majority = votes.argmax(axis=1)
    train, val = next(iter(validation.split(np.zeros(len(names)), majority, None)))
    return np.flatnonzero(np.isin(member, train)), np.flatnonzero(np.isin(member, val))


def _refuse_leaks(train: np.ndarray, val: np.ndarray, groups: np.ndarray | None, ordered: bool, name: str) -> None:
    if len(train) == 0:
        raise ConfigError(f"validation: {name} leaves no row to train on")
    both = np.sort(train[np.isin(train, val)])
    if len(both):
        raise ConfigError(f"validation: {name} puts {len(both)} row(s) on both sides, the first is row {both[0]}")
    if groups is not None:
        shared = np.intersect1d(groups[train], groups[val])
        if len(shared):
            raise ConfigError(
                f"validation: {name} puts {len(shared)} group(s) on both sides, the first is group {shared[0]}"
            )
    if ordered and len(val) and train[-1] > val[0]:
        raise ConfigError(
            f"validation: the rows stand in the order of time, and {name} trains on row {train[-1]}, which comes after the "
            f"held-out row {val[0]}; validation=temporal_holdout and time_series keep the order"
        )


def _takes_groups(splitter: Any) -> bool:
    """Whether a splitter of scikit-learn splits by groups, by its own word."""
    routing = getattr(splitter, "get_metadata_routing", None)
    return routing is not None and routing().split.requests.get("groups") is True


def _splits(splitter: Any, X: Any, y: Any, groups: Any) -> Iterator[Split]:
    """A splitter's splits; one that does not know of groups would warn of those it is given."""
    return splitter.split(X, y, groups if isinstance(splitter, Nested | Reserved) or _takes_groups(splitter) else None)  # type: ignore[no-any-return]  # any splitter


def _inside(rows: np.ndarray, *each: Any) -> list[Any]:
    """Of X, y and groups the entries of these rows; what is None stays so."""
    return [None if values is None else np.asarray(values)[rows] for values in each]


def _nth(splitter: Any, number: int, X: Any, y: Any, groups: Any) -> Split:
    found = next(itertools.islice(_splits(splitter, X, y, groups), number, None), None)
    if found is None:
        raise ConfigError(
            f"validation: {type(splitter).__name__} makes no fold {number} of these rows (folds count from 0)"
        )
    return np.asarray(found[0]), np.asarray(found[1])


def _fraction(fraction: float) -> float:
    if not 0 < fraction < 1:
        raise ConfigError(f"validation.fraction={fraction}: expected a share between 0 and 1, such as 0.2")
    return fraction


def _held_out(fraction: float, num: int) -> int:
    num_val = round(num * fraction)
    if not 0 < num_val < num:
        raise ConfigError(
            f"validation.fraction={fraction} of {num} rows leaves {num - num_val} to train on and {num_val} to validate on"
        )
    return num_val
