"""A study's storage that is away for a moment, a database that is restarted or a disk that is full: it is waited for."""

from __future__ import annotations

import errno
import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage

from launcher.console.numbers import span
from launcher.errors import ConfigError, TrainingError
from launcher.launch.retry import AWAY_S, PAUSE_S

_NUMBERS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN")
    if hasattr(errno, name)
}
_LOOK_S = 0.25
"""How often who waits looks whether it is to leave."""

Found = TypeVar("Found")


class Waiting:
    """Of one process. `tell` hears once of each time that something is away; `meanwhile` is called while it is, and `leaving`
    says whether it is to be waited for at all."""

    def __init__(self, tell: Callable[[str], None] = lambda said: None) -> None:
        self._tell, self._given_up = tell, False
        self.leaving: Callable[[], bool] = lambda: False
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, what: str, do: Callable[[], Found]) -> Found:
        """What `do` returns, which may be called again. Raises TrainingError where `what` has been away for too long."""
        since, pause = None, PAUSE_S[0]
        while True:
            try:
                found = do()
            except Exception as error:
                if (reason := away(error)) is None:
                    raise
                now = time.monotonic()
                if since is None:
                    since = now
                    self._tell(f"{what}: {reason}; it is waited for")
                if self._given_up or self.leaving() or now - since > AWAY_S:
                    self._given_up = True
                    waited = f" after {span(now - since)}" if now - since > 1 else ""
                    raise TrainingError(f"{what}: {reason}{waited}; the same command goes on when it is back") from None
            else:
                if since is not None:
                    self._tell(f"{what}: it is back after {span(time.monotonic() - since)}")
                return found
            end = time.monotonic() + pause
            while time.monotonic() < end and not self.leaving():
                self.meanwhile()
                time.sleep(_LOOK_S)
            pause = min(2 * pause, PAUSE_S[1])

    @classmethod
    def never(cls) -> Waiting:
        """One that hears of it at once."""
        waiting = cls()
        waiting.leaving = lambda: True
        return waiting

    def storage(self, found: BaseStorage, what: str) -> BaseStorage:
        """The same database, each of whose verbs waits for it."""
        for name, verb in inspect.getmembers(found, inspect.ismethod):
            if not name.startswith("_") and hasattr(BaseStorage, name):
                setattr(found, name, self._patient(found, verb, what))
        return found

    def _patient(self, found: BaseStorage, verb: Callable[..., Any], what: str) -> Callable[..., Any]:
        @functools.wraps(verb)
        def patient(*args: Any, **settings: Any) -> Any:
            tried = 0

            def do() -> Any:
                nonlocal tried
                tried += 1
                try:
                    return verb(*args, **settings)
                except UpdateFinishedTrialError:
                    if tried > 1 and verb.__name__ == "set_trial_state_values":  # the answer was lost, not the question
                        return True
                    raise

            return self(what, do)

        return patient


def away(error: BaseException) -> str | None:
    """Why something is away, in words; None where it is not, and the error is one of another kind."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return (error.strerror or str(error)).lower()
    if isinstance(error, StorageInternalError | ConfigError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OperationalError | InterfaceError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return str(error.orig).strip().partition("\n")[0]
    return None
