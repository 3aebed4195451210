"""Numbers that a config states in other words: the lengths of a schedule, how many splits a validation makes."""

from __future__ import annotations

import re
from typing import Any

LENGTHS = ("decay_steps", "total_steps", "steps_per_epoch", "warmup_steps")
"""Words that a scheduler's number of steps may be given as: the steps after the warm-up, all steps, those of an epoch, the warm-up's.

Also a part or a multiple of one: `decay_steps/3`, `10*steps_per_epoch`."""

_LENGTH = re.compile(rf"(?:(\d+(?:\.\d+)?)\*)?({'|'.join(LENGTHS)})(?:/(\d+(?:\.\d+)?))?")


def length(value: Any) -> tuple[float, str] | None:
    """A length in words as (times, word): `decay_steps/4` is (0.25, "decay_steps"). None for what is none."""
    match = _LENGTH.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
    if match is None or float(match[3] or 1) == 0:
        return None
    return float(match[1] or 1) / float(match[3] or 1), match[2]


def num_splits(node: dict[str, Any]) -> int | None:
    """How many splits a node of conf/validation makes, by its arguments alone; None where they do not say."""
    for inside in ("outer", "folds"):
        if inside in node:
            return num_splits(node[inside])
    splits = node.get("n_splits")
    if splits is None:
        return 1 if str(node.get("_target_", "")).startswith("launcher.data.splits.") else None
    return int(splits) * int(node.get("n_repeats", 1))
