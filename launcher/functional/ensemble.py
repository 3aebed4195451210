"""Ensembles out of a library of models: which, and how often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def greedy(
    predictions: np.ndarray, error: Callable[[np.ndarray], float], rounds: int
) -> tuple[np.ndarray, list[float]]:
    """Forward selection with replacement (Caruana et al., 2004, "Ensemble Selection from Libraries of Models").

    `predictions` is [members, rows, outputs]. Each round adds the member with which the mean of all chosen so far has the
    smallest `error`, the first of equals; the errors can rise again, so the round with the smallest counts. Returns how
    often each member was chosen up to that round ([members], int64), and the errors after every round.
    """
    total = np.zeros(predictions.shape[1:])
    chosen: list[int] = []
    errors: list[float] = []
    for taken in range(rounds):
        found = [error((total + each) / (taken + 1)) for each in predictions]
        best = int(np.argmin(found))
        total += predictions[best]
        chosen.append(best)
        errors.append(found[best])
    return np.bincount(chosen[: int(np.argmin(errors)) + 1], minlength=len(predictions)), errors


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of class numbers [rows] under [rows, classes], no probability below 1e-15."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, 1e-15, 1.0)).mean())


def squared_error(values: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared error of [rows, 1] against [rows]."""
    return float(np.square(values[:, 0] - labels).mean())
