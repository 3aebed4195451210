"""A search whose first trials all fail for one reason is stopped: what is wrong is wrong for every one that would follow."""

from __future__ import annotations

import re
from typing import Any

from launcher.launch.outcome import ENDED

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


class Alike:
    """Counts trials that fail alike, in the same words but for the numbers in them, before any has come to an end.

    After one that did not fail nothing is counted any more: some regions of a space may fail by their nature.
    """

    def __init__(self, most: int | None, good_before: bool = False) -> None:
        """Of `most` failures in a row, None of never; `good_before`: some trial of the study has not failed."""
        self._most, self._words, self._numbers = None if good_before else most, "", list[int]()
        self.said: str | None = None
        """Why the search is to be stopped."""

    def ended(self, number: int, result: dict[str, Any]) -> None:
        """A trial has ended, well or not."""
        if self._most is None:
            return
        if result["status"] in ENDED:
            self._most = None
            return
        reason = str(result["reason"]).partition("\n")[0]
        words = _NUMBER.sub("#", reason)
        self._numbers = [*(self._numbers if words == self._words else []), number]
        self._words = words
        if len(self._numbers) >= self._most:
            trials = ", ".join(map(str, sorted(self._numbers)))
            self.said = (
                f"the sweep is stopped: its first trials ({trials}) all failed alike: {reason} "
                f"(hydra.sweeper.max_consecutive_failures={self._most}; null goes on)"
            )
