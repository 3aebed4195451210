"""Ensemble selection beside a computation that keeps nothing between its rounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from launcher.functional.ensemble import cross_entropy, greedy, squared_error


def library(seed: int, members: int = 6, rows: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    scores = rng.normal(size=(members, rows, classes)) + 1.2 * np.eye(classes)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    return probabilities, labels


@pytest.mark.parametrize("seed", range(5))
def test_each_round_adds_the_best_member(seed: int) -> None:
    """Each round over: every bag that has one member more than the last one, its error from its members anew."""
    predictions, labels = library(seed)
    bag: list[int] = []
    bags = []
    for _ in range(12):
        tried = [[*bag, each] for each in range(len(predictions))]
        losses = [log_loss(labels, np.mean([predictions[each] for each in members], axis=0)) for members in tried]
        bag = tried[losses.index(min(losses))]
        bags.append((min(losses), bag))
    best_loss, best = min(bags, key=lambda entry: entry[0])
    counts, errors = greedy(predictions, lambda found: cross_entropy(found, labels), 12)
    assert errors == pytest.approx([loss for loss, _ in bags], rel=1e-12)
    assert counts.tolist() == [best.count(each) for each in range(len(predictions))]
    assert min(errors) == pytest.approx(best_loss, rel=1e-12)


def test_two_rounds_of_two_members_are_the_best_pair() -> None:
    predictions, labels = library(9, members=2)
    pairs = {
        pair: cross_entropy((predictions[pair[0]] + predictions[pair[1]]) / 2, labels)
        for pair in itertools.combinations_with_replacement(range(2), 2)
    }
    first = min(range(2), key=lambda each: cross_entropy(predictions[each], labels))
    _, errors = greedy(predictions, lambda found: cross_entropy(found, labels), 2)
    assert errors[1] == pytest.approx(min(loss for pair, loss in pairs.items() if first in pair), rel=1e-12)


def test_it_is_no_worse_than_its_best_member() -> None:
    for seed in range(20):
        predictions, labels = library(seed)
        counts, errors = greedy(predictions, lambda found, own=labels: cross_entropy(found, own), 25)  # type: ignore[misc]  # mypy infers no type for a lambda's default
        mixed = np.average(predictions, axis=0, weights=counts)
        assert cross_entropy(mixed, labels) == pytest.approx(min(errors), rel=1e-12)
        assert min(errors) <= min(cross_entropy(each, labels) for each in predictions)


def test_the_errors_are_scikit_learns() -> None:
    predictions, labels = library(1)
    assert cross_entropy(predictions[0], labels) == pytest.approx(log_loss(labels, predictions[0]), rel=1e-12)
    values = np.random.default_rng(0).normal(size=(40, 1))
    assert squared_error(values, labels) == pytest.approx(mean_squared_error(labels, values[:, 0]), rel=1e-12)
