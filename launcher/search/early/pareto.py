"""Which of several points are better where there is more than one objective: by rank of domination, then by room.

A point dominates another if it is at least as good in all objectives and better in one. Those that nobody dominates
are of rank 0; without them, those that then nobody dominates are of rank 1, and so on. Within a rank the ones that
have most room around them come first, so that what is kept covers the front.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002), sections III.A and III.B.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from launcher.report.trial_reports import Point


def best_first(points: Sequence[Point], maximize: Sequence[bool]) -> list[int]:
    """The indices of the points (finite, or infinite), the best first; of equals the earlier first."""
    if not points:
        return []
    values = np.asarray(points, dtype=np.float64) * np.where(np.asarray(maximize), -1.0, 1.0)
    if values.shape[1] == 1:
        return [int(index) for index in np.argsort(values[:, 0], kind="stable")]
    rank, room = ranks(values), np.zeros(len(values))
    for each in range(rank.max() + 1):
        members = np.flatnonzero(rank == each)
        room[members] = crowding(values[members])
    return [int(index) for index in np.lexsort((np.arange(len(values)), -room, rank))]


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each of n points of d objectives, all to be low: shape (n, d) to (n,)."""
    no_worse = (values[:, None] <= values[None]).all(axis=2)  # (n, n): row no worse than column in anything
    dominates = np.asarray(no_worse & (values[:, None] < values[None]).any(axis=2))
    found = np.full(len(values), -1)
    rank = 0
    while (found < 0).any():
        left = found < 0
        front = left & ~dominates[left].any(axis=0)
        found[front] = rank
        rank += 1
    return found


def crowding(values: np.ndarray) -> np.ndarray:
    """The distance between each point's neighbours, summed over the objectives, each scaled to its span; ends have no end."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        low, high = column[order[0]], column[order[-1]]
        distance[order[[0, -1]]] = np.inf
        if np.isfinite([low, high]).all() and high > low:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / (high - low)
    return distance
