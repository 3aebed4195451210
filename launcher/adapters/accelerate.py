"""Private names of Accelerate."""

from __future__ import annotations


def ensure_state() -> None:
    """Make the state that Accelerate's trackers ask for, where a run on one named device has none."""
    from accelerate import PartialState

    if not PartialState._shared_state:  # accelerate 1.15.0
        PartialState(cpu=True)
