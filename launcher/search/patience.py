"""A cluster that took runs before and is away for a moment: what waits for it goes on waiting, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from launcher.errors import NotNow

AWAY_S = 900.0
"""How long a cluster may be away while none of the runs that it took is under way."""


class Patience:
    """Of one driver with its pool. `tell` hears once of each time that the cluster is away."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._met = False
        self._since: float | None = None

    def met(self) -> None:
        """A run was taken."""
        self._met, self._since = True, None

    def away(self, error: NotNow, busy: bool) -> None:
        """A run was not taken now; `busy`: others of this driver are under way, which may be what it has to wait for.

        Raises the error where the cluster has taken nothing yet, so that a person hears of it at once, and where it
        has been away for too long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            if self._met:
                self._tell(f"{error}; what waits is submitted as soon as it can be")
        if not self._met or (not busy and now - self._since > AWAY_S):
            raise error
