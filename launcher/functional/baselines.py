"""What is reached without looking at a sample: the numbers that a model has to be better than."""

from __future__ import annotations

import math

import numpy as np

Baselines = dict[str, tuple[float, str]]
"""By a metric's bare name: what is reached, and how, in words."""


def of_classes(label: np.ndarray, num: int) -> Baselines:
    """Of class numbers [samples]: always the commonest class, or its share where the loss (in nats) asks for a probability.

    The shares are those of the labels that are judged, which no model knows: what a model is held against is hard on it.
    F1 is the mean over `num` classes, of which one is found at all: 2 p / (1 + p) for its share p.
    """
    shares = np.bincount(label, minlength=num) / max(1, len(label))
    most = float(shares.max())
    seen = shares[shares > 0]
    commonest = "always the commonest class"
    return {
        "accuracy": (most, commonest),
        "f1": (2 * most / (1 + most) / num, commonest),
        "loss": (float(-(seen * np.log(seen)).sum()), "knowing only how common each class is"),
    }


def of_quantity(label: np.ndarray, guess: np.ndarray | float | None = None, said: str = "always the mean") -> Baselines:
    """Of quantities [samples] and what is always said of them: the mean of all, where nothing is given."""
    given = label.mean() if guess is None else guess
    error = label - given
    spread = float(((label - label.mean()) ** 2).sum())
    found = {"rmse": (math.sqrt(float((error**2).mean())), said), "mae": (float(np.abs(error).mean()), said)}
    return found | ({"r2": (1 - float((error**2).sum()) / spread, said)} if spread else {})


def of_tokens(seen: np.ndarray, judged: np.ndarray, size: int) -> float:
    """The cross-entropy (nats a token) of knowing only how common each of `size` tokens was in `seen`, each counted once
    more so that none is impossible."""
    counts = np.bincount(seen, minlength=size) + 1.0
    loss = np.log(counts.sum()) - np.log(counts)
    return float(loss[judged].mean())
