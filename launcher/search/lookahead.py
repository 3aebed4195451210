"""Whether the next trial is asked for and composed while the slots are busy."""

from __future__ import annotations

import math
import time

WORTH = 0.05
"""The share of a trial's time from which on its preparation is begun while another one still runs."""


class Ahead:
    """Right where a draw depends on nothing that is still to be learnt (`always`). Else, of several slots, where they would
    stand idle for `WORTH` of their time: then a draw misses what one more trial would have taught."""

    def __init__(self, always: bool, slots: int) -> None:
        """Of no slots it is never."""
        self._always, self._slots = always, slots
        self._preparing_s, self._lasting_s = 0.0, math.inf  # of the last trial

    def prepared(self, since: float) -> None:
        """A trial is ready, whose preparation began at that time of `time.monotonic`."""
        self._preparing_s = time.monotonic() - since

    def ended(self, since: float) -> None:
        """A trial has ended that began then."""
        self._lasting_s = time.monotonic() - since

    def __bool__(self) -> bool:
        worth = self._slots > 1 and self._preparing_s > WORTH * self._lasting_s
        return self._slots > 0 and (self._always or worth)
