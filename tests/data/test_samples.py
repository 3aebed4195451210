"""Samples, their order, the batches of every rank, and what is held out."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from launcher.data.batches import Batches, EvalBatches, choose_workers
from launcher.data.samples import Batch, Samples, TensorSamples
from launcher.data.splits import Holdout
from launcher.errors import ConfigError

NUM = 101


class Fetched(Samples):
    """The same rows as `samples()`, as a data set that has to fetch them."""

    decodes = True

    def __len__(self) -> int:
        return NUM

    def fetch(self, indices: Tensor) -> Batch:
        return {"row": indices.clone(), "x": torch.stack([indices.float(), indices.float() ** 2], dim=1)}


def samples() -> TensorSamples:
    return TensorSamples(**Fetched().fetch(torch.arange(NUM)))


def taken(batches: list[Batches], num: int, start: int = 0) -> list[list[int]]:
    """The rows of each of `num` steps over all ranks, in the order the micro-batches and then the ranks take them."""
    steps = []
    for shares in itertools.islice(zip(*(each.start(start) for each in batches), strict=True), num):
        steps.append([row for micro in zip(*shares, strict=True) for batch in micro for row in batch["row"].tolist()])
    return steps


def test_an_epoch_takes_every_sample_at_most_once_and_leaves_out_the_rest() -> None:
    batches = Batches(samples(), batch_size=8, seed=3)
    assert batches.steps_per_epoch == 12
    for epoch in range(3):
        rows = list(itertools.chain(*taken([batches], 12, 12 * epoch)))
        assert len(rows) == len(set(rows)) == 96
        assert rows == batches.order(epoch)[:96].tolist()
        assert sorted(batches.order(epoch).tolist()) == list(range(NUM))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, same, other = (Batches(samples(), batch_size=8, seed=seed) for seed in (3, 3, 4))
    assert taken([one], 30) == taken([same], 30)
    assert taken([one], 30) != taken([other], 30)
    assert one.order(0).tolist() != one.order(1).tolist()
    assert one.order(5).tolist() == same.order(5).tolist()


@pytest.mark.parametrize("samples_of", [samples, Fetched], ids=["gathered", "loaded"])
@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (4, 1), (1, 2), (2, 2), (1, 8), (3, 4)])
def test_ranks_and_micro_batches_only_cut_a_step(samples_of: type[Samples], accumulate: int, world_size: int) -> None:
    whole = Batches(samples(), batch_size=24, seed=1)
    cut = [
        Batches(samples_of(), batch_size=24, seed=1, accumulate=accumulate, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert taken(cut, 11) == taken([whole], 11) == [whole.indices(step).tolist() for step in range(11)]
    shapes = [[tuple(batch["x"].shape) for batch in micro] for micro in itertools.islice(cut[0].start(0), 2)]
    assert shapes == [[(24 // accumulate // world_size, 2)] * accumulate] * 2


@pytest.mark.parametrize("workers", [None, 0, 2], ids=["gathered", "loaded", "two workers"])
@pytest.mark.parametrize("start", [0, 5, 12, 29])
def test_starting_at_a_step_is_going_on(workers: int | None, start: int) -> None:
    source = samples() if workers is None else Fetched()
    batches = Batches(source, batch_size=8, seed=7, accumulate=2, num_workers=workers or 0)
    assert taken([batches], 15, start) == taken([Batches(samples(), batch_size=8, seed=7)], 15 + start)[start:]


def test_gathered_loaded_and_by_workers_are_the_same_tensors() -> None:
    ways = [(samples(), 0), (Fetched(), 0), (Fetched(), 2)]
    streams = [Batches(each, batch_size=10, seed=0, accumulate=2, num_workers=num).start(4) for each, num in ways]
    for gathered, *others in itertools.islice(zip(*streams, strict=True), 13):
        for other in others:
            for left, right in zip(gathered, other, strict=True):
                assert left.keys() == right.keys()
                assert all(torch.equal(left[name], right[name]) for name in left)


def test_large_samples_are_gathered_in_more_than_one_chunk() -> None:
    wide = TensorSamples(row=torch.arange(40), x=torch.arange(40.0)[:, None].expand(40, 300_000))
    rows = taken([Batches(wide, batch_size=4, seed=0)], 12)
    assert rows == taken([Batches(TensorSamples(row=torch.arange(40)), batch_size=4, seed=0)], 12)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_drawn_from_the_runs_generators(workers: int) -> None:
    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = drawn()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    for source in (samples(), Fetched()):
        taken([Batches(source, batch_size=8, seed=0, num_workers=workers)], 14)
    list(EvalBatches(samples(), batch_size=8))
    list(Holdout(0.5).split(range(10)))
    assert drawn() == expected


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 10, 50, 101, 400])
def test_an_evaluation_takes_every_sample_once(world_size: int, batch_size: int) -> None:
    ranks = [
        EvalBatches(samples(), batch_size=batch_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert sorted(row for rank in ranks for batch in rank for row in batch["row"].tolist()) == list(range(NUM))
    assert all(len(batch["row"]) <= batch_size for rank in ranks for batch in rank)


def test_an_evaluation_can_be_limited() -> None:
    assert [batch["row"].tolist() for batch in EvalBatches(samples(), batch_size=3, limit=5)] == [[0, 1, 2], [3, 4]]


def test_holdout_has_the_interface_of_scikit_learns_splitters() -> None:
    from sklearn.model_selection import ShuffleSplit, cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    ((train, val),) = Holdout(0.3, seed=1).split(X, y)
    ((like_train, like_val),) = ShuffleSplit(1, test_size=0.3, random_state=0).split(X, y)
    assert (train.shape, val.shape) == (like_train.shape, like_val.shape) == ((35,), (15,))
    assert train.dtype == like_train.dtype == np.int64
    splits = list(Holdout(0.3, seed=1).split(X, y))
    assert len(cross_val_score(DecisionTreeClassifier(), X, y, cv=splits)) == 1


@pytest.mark.parametrize("num", [5, 10, 1797])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.79])
def test_holdout_is_disjoint_whole_sorted_and_seeded(num: int, fraction: float) -> None:
    ((train, val),) = Holdout(fraction, seed=4).split(range(num))
    assert len(val) == round(num * fraction)
    assert sorted([*train, *val]) == list(range(num))
    assert list(train) == sorted(train)
    assert list(val) == sorted(val)
    assert np.array_equal(val, next(iter(Holdout(fraction, seed=4).split(range(num))))[1])
    others = [next(iter(Holdout(fraction, seed=seed).split(range(num))))[1].tolist() for seed in range(8)]
    assert len({tuple(other) for other in others}) > 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_holdout_refuses_what_is_no_share(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"validation\.fraction=.*: expected a share between 0 and 1"):
        Holdout(fraction)


def test_holdout_refuses_an_empty_side() -> None:
    with pytest.raises(ConfigError, match="of 4 rows leaves 4 to train on and 0 to validate on"):
        next(Holdout(0.1).split(range(4)))


def test_batches_refuse_what_can_not_be_cut() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size=102 is larger than the training data: 101 samples"):
        Batches(samples(), batch_size=102, seed=0)
    with pytest.raises(ConfigError, match=r"training\.accumulate=3 x 2 rank\(s\): 6 or 12 can"):
        Batches(samples(), batch_size=8, seed=0, accumulate=3, world_size=2)


def test_columns_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="columns of different lengths"):
        TensorSamples(a=torch.zeros(3), b=torch.zeros(4))


def test_workers_are_for_what_is_decoded() -> None:
    assert choose_workers(samples()) == 0
    assert 1 <= choose_workers(Fetched()) <= 8
    assert choose_workers(Fetched(), world_size=1000) == 1
