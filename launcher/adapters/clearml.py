"""Private names of ClearML's client."""

from __future__ import annotations

from typing import Any


def report(task: Any, metric: str, variant: str, value: float, step: int, at: float) -> None:
    """Report a scalar of a moment, in seconds since 1970: `report_scalar`, which takes no time of its own, makes every
    value as late as it is sent."""
    from clearml.backend_interface.metrics.events import ScalarEvent

    event = ScalarEvent(metric=metric, variant=variant, value=value, iter=step, timestamp=int(at * 1000))
    task._reporter._report(event)  # clearml 2.1.12
