"""A cluster that took runs before and is away for a moment: what waits for it goes on waiting, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from launcher.errors import NotNow

AWAY_S = 900.0
"""How long a cluster may be away while none of the runs that it took is under way."""
PAUSE_S = (1.0, 30.0)
"""Between two requests that are not taken: at first, and at most. A limit may last for hours, and a controller is everybody's."""
TOGETHER = 1000
"""So many runs are given at most to a pool that takes them together; of SLURM's arrays the most that it is set up for."""

Taken = TypeVar("Taken")


class Patience:
    """Of one driver with its pool. `tell` hears once of each time that the cluster is away."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._met = False
        self._since: float | None = None
        self._next, self._pause = 0.0, PAUSE_S[0]
        self.at_once = TOGETHER
        """How many runs to give together: fewer, once a person's limit was met."""

    def ask(self, submit: Callable[[], Taken], busy: bool, num: int = 1) -> Taken | None:
        """What `submit` returns, which gives `num` runs to the pool; None where it does not take them now, or has not
        taken others a moment ago.

        `busy`: other runs of this driver are under way, which may be what it has to wait for. Raises NotNow where the
        cluster has taken nothing yet, so that a person hears of it at once, and where it has been away for too long.
        """
        if time.monotonic() < self._next:
            return None
        try:
            taken = submit()
        except NotNow as error:
            if error.full and num > 1:
                self.at_once = num // 2
            else:
                self._away(error, busy)
            return None
        self._met, self._since, self._pause = True, None, PAUSE_S[0]
        return taken

    def _away(self, error: NotNow, busy: bool) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
            if self._met:
                self._tell(f"{error}; what waits is submitted as soon as it can be")
        if not self._met or (not busy and now - self._since > AWAY_S):
            raise error
        self._next, self._pause = now + self._pause, min(2 * self._pause, PAUSE_S[1])


NO_STEP = "it left three times, to be resumed, without a step between"


class Standstill:
    """Trials that left, to be resumed, and came no further before they left again."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[int, int]] = {}  # how far a trial had come, and how often it has left there

    def met(self, number: int, result: dict[str, Any] | None) -> bool:
        """Whether a trial that leaves with that result has left there too often to be resumed once more."""
        steps = (result or {}).get("steps") or 0
        before, times = self._left.get(number, (-1, 0))
        self._left[number] = (steps, times + 1 if steps == before else 1)
        return self._left[number][1] >= 3
