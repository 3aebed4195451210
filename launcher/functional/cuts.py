"""Runs of a row of sizes."""

from __future__ import annotations

from functools import cache


def cuts(sizes: tuple[int, ...], num: int) -> tuple[int, ...]:
    """Where each of `num` runs of `sizes` ends, none of them empty, with the smallest largest sum."""

    @cache
    def best(start: int, left: int) -> tuple[int, tuple[int, ...]]:
        if left == 1:
            return sum(sizes[start:]), (len(sizes),)
        found = []
        for end in range(start + 1, len(sizes) - left + 2):
            largest, rest = best(end, left - 1)
            found.append((max(largest, sum(sizes[start:end])), (end, *rest)))
        return min(found)

    return best(0, num)[1]
