"""Moments between which a training is timed, on a CPU by the clock and on a GPU in the device's own stream."""

from __future__ import annotations

import time
from typing import Any

import torch

Moment = Any
"""Seconds, or an event in the stream; both of one kind."""


def moment(on_gpu: bool) -> Moment:
    """Now: on a GPU, when the device will have done all that it was given so far."""
    if not on_gpu:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(before: Moment, after: Moment) -> float:
    """The seconds between two moments; on a GPU it waits until the later one has come."""
    if isinstance(before, float):
        return float(after) - before
    after.synchronize()
    return float(before.elapsed_time(after)) / 1000
